// Calls one host function with a text of the request: the body, or the decoded query. The
// text's first byte selects the function:
//
//	m VALUE   set_method, then the request passes
//	u VALUE   set_uri, then the request passes
//	f VALUE   fetch; its status becomes the response's, 502 when it failed
//	h N NAME VALUE, a N NAME VALUE   set, add a field of the request (N: length of NAME, one byte), then it passes
//	H N NAME VALUE, A N NAME VALUE   the same for the response
//	l VALUE   log at level info
//	t         trap
//
// Built by
//
//	clang --target=wasm32 -Os -nostdlib -ffreestanding -mbulk-memory -Wl,--no-entry -Wl,--strip-all -Wl,-z,stack-size=4096 -o says.wasm says.c
#define IMPORT(m, n) __attribute__((import_module(m), import_name(n)))
#define EXPORT(n) __attribute__((export_name(n)))
typedef unsigned char u8;
typedef unsigned u32;
typedef unsigned long long u64;

IMPORT("http_handler", "get_uri") u32 get_uri(char *, u32);
IMPORT("http_handler", "set_uri") void set_uri(const char *, u32);
IMPORT("http_handler", "set_method") void set_method(const char *, u32);
IMPORT("http_handler", "set_header_value") void set_header_value(u32, const char *, u32, const char *, u32);
IMPORT("http_handler", "add_header_value") void add_header_value(u32, const char *, u32, const char *, u32);
IMPORT("http_handler", "read_body") u64 read_body(u32, char *, u32);
IMPORT("http_handler", "set_status_code") void set_status_code(u32);
IMPORT("http_handler", "log") void log_line(u32, const char *, u32);
IMPORT("perto", "fetch") int fetch(const char *, u32);

static char buf[32768];

static int hex(char c) {
	if (c >= '0' && c <= '9') return c - '0';
	c |= 32;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// decoded puts the query of a target of n bytes, decoded, to the beginning of buf.
static u32 decoded(u32 n) {
	u32 i = 0, out = 0;
	while (i < n && buf[i] != '?') i++;
	for (i++; i < n; i++) {
		char c = buf[i];
		if (c == '%' && i + 2 < n && hex(buf[i + 1]) >= 0 && hex(buf[i + 2]) >= 0) {
			c = (char)(hex(buf[i + 1]) << 4 | hex(buf[i + 2]));
			i += 2;
		}
		buf[out++] = c;
	}
	return out;
}

EXPORT("handle_request") u64 handle_request(void) {
	u32 n = 0;
	for (u64 r = 0; !(r >> 32) && n < sizeof buf;) n += (u32)(r = read_body(0, buf + n, sizeof buf - n));
	if (n == 0) n = decoded(get_uri(buf, sizeof buf));
	if (n == 0) return 1;
	const char *text = buf + 1, *value;
	u32 len = n - 1, name = 0;
	if (buf[0] == 'h' || buf[0] == 'a' || buf[0] == 'H' || buf[0] == 'A') {
		if (len == 0) return 1;
		name = (u8)*text++;
		len--;
		if (name > len) name = len;
	}
	value = text + name;
	len -= name;
	switch (buf[0]) {
	case 'm': set_method(value, len); return 1;
	case 'u': set_uri(value, len); return 1;
	case 'h': set_header_value(0, text, name, value, len); return 1;
	case 'a': add_header_value(0, text, name, value, len); return 1;
	case 'H': set_header_value(1, text, name, value, len); return 0;
	case 'A': add_header_value(1, text, name, value, len); return 0;
	case 'l': log_line(0, value, len); return 0;
	case 'f': {
		int status = fetch(value, len);
		set_status_code(status < 0 ? 502 : (u32)status);
		return 0;
	}
	case 't': __builtin_trap();
	}
	return 1;
}

EXPORT("handle_response") void handle_response(u32 token, u32 is_error) {}
