// Responds with edge_info, client_info and its configuration. After a pass it puts the
// response of the next handler between < and >. Built by
//
//	clang --target=wasm32 -Os -nostdlib -ffreestanding -Wl,--no-entry -Wl,--strip-all -Wl,-z,stack-size=4096 -o where.wasm where.c
#define IMPORT(m, n) __attribute__((import_module(m), import_name(n)))
#define EXPORT(n) __attribute__((export_name(n)))
typedef unsigned u32;
typedef unsigned long long u64;

IMPORT("http_handler", "get_uri") u32 get_uri(char *, u32);
IMPORT("http_handler", "get_config") u32 get_config(char *, u32);
IMPORT("http_handler", "write_body") void write_body(u32, const char *, u32);
IMPORT("http_handler", "read_body") u64 read_body(u32, char *, u32);
IMPORT("http_handler", "set_header_value") void set_header_value(u32, const char *, u32, const char *, u32);
IMPORT("http_handler", "log") void log_line(u32, const char *, u32);
IMPORT("perto", "edge_info") u32 edge_info(char *, u32);
IMPORT("perto", "client_info") u32 client_info(char *, u32);

static char buf[1024];

EXPORT("handle_request") u64 handle_request(void) {
	u32 n = get_uri(buf, sizeof buf);
	char last = n > 0 ? buf[n - 1] : 0;
	if (last == '+') return 1; // pass
	if (last == '!')
		for (volatile u32 i = 1; i; i |= 1)
			;
	if (last == '0') __builtin_trap();
	set_header_value(1, "Cache-Control", 13, "no-store", 8);
	write_body(1, buf, get_config(buf, sizeof buf));
	write_body(1, buf, edge_info(buf, sizeof buf));
	write_body(1, buf, client_info(buf, sizeof buf));
	log_line(0, "asked", 5);
	return 0;
}

EXPORT("handle_response") void handle_response(u32 token, u32 is_error) {
	u64 r = read_body(1, buf, 256);
	write_body(1, "<", 1);
	write_body(1, buf, (u32)r);
	write_body(1, ">", 1);
}
