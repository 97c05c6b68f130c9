// perto.h: the http-wasm ABI for guests in C, without a C library.
//
// A guest exports two functions:
//
//	HANDLE_REQUEST { ... return ANSWERED; }      // or PASS: the next handler responds
//	HANDLE_RESPONSE(token, failed) { ... }       // after PASS: read and change the response
//
// Strings are views (`str`): they are not copied and have no zero byte at the end. New
// texts are in an arena, which is emptied for each request.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef int i32;
typedef unsigned long long u64;
typedef long long i64;

#define PERTO_IMPORT(module, name) __attribute__((import_module(module), import_name(name))) extern
#define PERTO_EXPORT(name) __attribute__((export_name(name)))

// The http_handler ABI (https://http-wasm.io/http-handler-abi/).
PERTO_IMPORT("http_handler", "enable_features") u32 http_enable_features(u32 features);
PERTO_IMPORT("http_handler", "get_config") u32 http_get_config(void *buf, u32 limit);
PERTO_IMPORT("http_handler", "log") void http_log(i32 level, const void *text, u32 len);
PERTO_IMPORT("http_handler", "get_method") u32 http_get_method(void *buf, u32 limit);
PERTO_IMPORT("http_handler", "get_source_addr") u32 http_get_source_addr(void *buf, u32 limit);
PERTO_IMPORT("http_handler", "get_uri") u32 http_get_uri(void *buf, u32 limit);
PERTO_IMPORT("http_handler", "set_uri") void http_set_uri(const void *uri, u32 len);
PERTO_IMPORT("http_handler", "get_header_values") u64 http_get_header_values(u32 kind, const void *name, u32 name_len, void *buf, u32 limit);
PERTO_IMPORT("http_handler", "set_header_value") void http_set_header(u32 kind, const void *name, u32 name_len, const void *value, u32 len);
PERTO_IMPORT("http_handler", "add_header_value") void http_add_header(u32 kind, const void *name, u32 name_len, const void *value, u32 len);
PERTO_IMPORT("http_handler", "remove_header") void http_remove_header(u32 kind, const void *name, u32 name_len);
PERTO_IMPORT("http_handler", "read_body") u64 http_read_body(u32 kind, void *buf, u32 limit);
PERTO_IMPORT("http_handler", "write_body") void http_write_body(u32 kind, const void *text, u32 len);
PERTO_IMPORT("http_handler", "get_status_code") u32 http_get_status(void);
PERTO_IMPORT("http_handler", "set_status_code") void http_set_status(u32 status);

// perto's own. A guest that imports none of them runs on every host of the ABI.
PERTO_IMPORT("perto", "now") i64 perto_now(void);
PERTO_IMPORT("perto", "edge_info") u32 perto_edge_info(void *buf, u32 limit);
PERTO_IMPORT("perto", "client_info") u32 perto_client_info(void *buf, u32 limit);
PERTO_IMPORT("perto", "kv_get") i32 perto_kv_get(const void *key, u32 len, void *buf, u32 limit);
PERTO_IMPORT("perto", "fetch") i32 perto_fetch(const void *uri, u32 len);
PERTO_IMPORT("perto", "fetch_body") u64 perto_fetch_body(void *buf, u32 limit);

enum { REQUEST = 0, RESPONSE = 1 }; // kinds of header fields and bodies
enum { BUFFER_REQUEST = 1, BUFFER_RESPONSE = 2, TRAILERS = 4 }; // features: perto always has bodies; some hosts need BUFFER_* to read them
enum { LOG_DEBUG = -1, LOG_INFO = 0, LOG_WARN = 1, LOG_ERROR = 2 };

#define ANSWERED 0ull
#define PASS 1ull
#define PASS_WITH(token) ((u64)(token) << 32 | 1)

static void perto_begin(void);
static u64 perto_request(void);
#define HANDLE_REQUEST \
	static u64 perto_request(void); \
	PERTO_EXPORT("handle_request") u64 perto_handle_request(void) { perto_begin(); return perto_request(); } \
	static u64 perto_request(void)
#define HANDLE_RESPONSE(token, failed) PERTO_EXPORT("handle_response") void perto_handle_response(u32 token, u32 failed)

// Functions of the C library that compilers call by themselves. The linker drops unused
// ones.
static inline void *perto_copy(void *to, const void *from, u32 n) { return __builtin_memcpy(to, from, n); }
void *memcpy(void *to, const void *from, unsigned long n) {
	u8 *d = to;
	const u8 *s = from;
	while (n--) *d++ = *s++;
	return to;
}
void *memset(void *to, int c, unsigned long n) {
	u8 *d = to;
	while (n--) *d++ = (u8)c;
	return to;
}
void *memmove(void *to, const void *from, unsigned long n) {
	u8 *d = to;
	const u8 *s = from;
	if (d <= s) return memcpy(to, from, n); // copies from low to high addresses
	while (n--) d[n] = s[n];
	return to;
}
int memcmp(const void *a, const void *b, unsigned long n) {
	const u8 *x = a, *y = b;
	for (; n; n--, x++, y++)
		if (*x != *y) return *x - *y;
	return 0;
}

// str is a view of a text.
typedef struct {
	const char *at;
	u32 len;
} str;
#define S(literal) ((str){literal, sizeof(literal) - 1})

static inline int str_eq(str a, str b) {
	if (a.len != b.len) return 0;
	for (u32 i = 0; i < a.len; i++)
		if (a.at[i] != b.at[i]) return 0;
	return 1;
}
static inline int str_starts(str s, str prefix) { return s.len >= prefix.len && str_eq((str){s.at, prefix.len}, prefix); }

// str_find returns the position of the first byte c, or the length.
static inline u32 str_find(str s, char c) {
	u32 i = 0;
	while (i < s.len && s.at[i] != c) i++;
	return i;
}
static inline str str_from(str s, u32 begin) { return begin < s.len ? (str){s.at + begin, s.len - begin} : (str){s.at, 0}; }
static inline str str_to(str s, u32 end) { return (str){s.at, end < s.len ? end : s.len}; }
static inline str str_trim(str s) {
	while (s.len && (s.at[0] == ' ' || s.at[0] == '\t')) s = str_from(s, 1);
	while (s.len && (s.at[s.len - 1] == ' ' || s.at[s.len - 1] == '\t')) s.len--;
	return s;
}

// str_number reads a decimal number of at most nine digits. It returns missing otherwise.
static inline u32 str_number(str s, u32 missing) {
	u32 v = 0;
	if (s.len == 0 || s.len > 9) return missing;
	for (u32 i = 0; i < s.len; i++) {
		if (s.at[i] < '0' || s.at[i] > '9') return missing;
		v = v * 10 + (u32)(s.at[i] - '0');
	}
	return v;
}

// The arena. A text that does not fit is cut; room() is then 0.
#ifndef PERTO_ARENA
#define PERTO_ARENA (48 << 10)
#endif
static char perto_arena[PERTO_ARENA];
static u32 perto_used;
static void perto_begin(void) { perto_used = 0; }
static inline u32 room(void) { return PERTO_ARENA - perto_used; }

// text_begin starts a text at the end of the arena. Only the newest text may grow.
static inline str text_begin(void) { return (str){perto_arena + perto_used, 0}; }
static inline void put_char(str *t, char c) {
	if (room() == 0) return;
	perto_arena[perto_used++] = c;
	t->len++;
}
static inline void put(str *t, str s) {
	for (u32 i = 0; i < s.len; i++) put_char(t, s.at[i]);
}
static inline void put_number(str *t, u64 v) {
	char digits[20];
	u32 n = 0;
	do digits[n++] = (char)('0' + v % 10);
	while (v /= 10);
	while (n) put_char(t, digits[--n]);
}

// put_html escapes the special characters of HTML, as Go's html/template does.
static inline void put_html(str *t, str s) {
	for (u32 i = 0; i < s.len; i++) switch (s.at[i]) {
		case '&': put(t, S("&amp;")); break;
		case '<': put(t, S("&lt;")); break;
		case '>': put(t, S("&gt;")); break;
		case '"': put(t, S("&#34;")); break;
		case '\'': put(t, S("&#39;")); break;
		default: put_char(t, s.at[i]);
		}
}

// put_url encodes a text for a path segment or a query's value (RFC 3986, section 2.3).
// Use it for text of clients: perto ends a guest that sets a target with a space or a
// control byte.
static inline void put_url(str *t, str s) {
	static const char hex[] = "0123456789ABCDEF";
	for (u32 i = 0; i < s.len; i++) {
		u8 c = (u8)s.at[i], letter = c | 32;
		if ((letter >= 'a' && letter <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~') {
			put_char(t, (char)c);
			continue;
		}
		put_char(t, '%');
		put_char(t, hex[c >> 4]);
		put_char(t, hex[c & 15]);
	}
}

// utf8 returns the length in bytes of the first character of a text. It returns 0 when
// it is not UTF-8 (RFC 3629: no overlong forms, no surrogates, at most U+10FFFF).
static inline u32 utf8(str s) {
	if (s.len == 0) return 0;
	u8 c = (u8)s.at[0];
	u32 n = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
	if (n > s.len) return 0;
	for (u32 i = 1; i < n; i++)
		if (((u8)s.at[i] & 0xc0) != 0x80) return 0;
	u8 next = n > 1 ? (u8)s.at[1] : 0;
	if ((c == 0xe0 && next < 0xa0) || (c == 0xed && next > 0x9f) || (c == 0xf0 && next < 0x90) || (c == 0xf4 && next > 0x8f)) return 0;
	return n;
}

// put_json writes the inside of a JSON string. It replaces bytes that are not UTF-8 with
// U+FFFD.
static inline void put_json(str *t, str s) {
	static const char hex[] = "0123456789abcdef";
	for (u32 i = 0; i < s.len; i++) {
		u8 c = (u8)s.at[i];
		if (c >= 0x80) {
			u32 n = utf8(str_from(s, i));
			put(t, n ? (str){s.at + i, n} : S("\xef\xbf\xbd"));
			i += n ? n - 1 : 0;
			continue;
		}
		if (c == '"' || c == '\\') put_char(t, '\\');
		if (c < 0x20) {
			put(t, S("\\u00"));
			put_char(t, hex[c >> 4]);
			put_char(t, hex[c & 15]);
		} else put_char(t, (char)c);
	}
}

// PERTO_GET copies a value of the host into the arena.
#define PERTO_GET(call) \
	do { \
		str t = text_begin(); \
		u32 n = (call); \
		t.len = n <= room() ? n : 0; \
		perto_used += t.len; \
		return t; \
	} while (0)
static inline str get_uri(void) { PERTO_GET(http_get_uri(perto_arena + perto_used, room())); }
static inline str get_method(void) { PERTO_GET(http_get_method(perto_arena + perto_used, room())); }
static inline str get_source_addr(void) { PERTO_GET(http_get_source_addr(perto_arena + perto_used, room())); }
static inline str get_config(void) { PERTO_GET(http_get_config(perto_arena + perto_used, room())); }
static inline str edge_info(void) { PERTO_GET(perto_edge_info(perto_arena + perto_used, room())); }
static inline str client_info(void) { PERTO_GET(perto_client_info(perto_arena + perto_used, room())); }

// get_headers returns all values of a field, each followed by a zero byte.
static inline str get_headers(u32 kind, str name) { PERTO_GET((u32)http_get_header_values(kind, name.at, name.len, perto_arena + perto_used, room())); }

// get_header returns the first value of a field, "" when there is none.
static inline str get_header(u32 kind, str name) {
	str all = get_headers(kind, name);
	return str_to(all, str_find(all, 0));
}
static inline void set_header(u32 kind, str name, str value) { http_set_header(kind, name.at, name.len, value.at, value.len); }
static inline void add_header(u32 kind, str name, str value) { http_add_header(kind, name.at, name.len, value.at, value.len); }
static inline void remove_header(u32 kind, str name) { http_remove_header(kind, name.at, name.len); }

// PERTO_ALL reads a body part by part until the arena is full. The next call returns the
// rest.
#define PERTO_ALL(call) \
	do { \
		str t = text_begin(); \
		for (u64 r = 0; r >> 32 == 0 && room();) { \
			r = (call); \
			perto_used += (u32)r; \
			t.len += (u32)r; \
		} \
		return t; \
	} while (0)
static inline str read_body(u32 kind) { PERTO_ALL(http_read_body(kind, perto_arena + perto_used, room())); }

// fetch requests another path of the service and returns its status. -1: it failed. -2:
// the limit of subrequests is reached. fetched returns the body.
static inline i32 fetch(str uri) { return perto_fetch(uri.at, uri.len); }
static inline str fetched(void) { PERTO_ALL(perto_fetch_body(perto_arena + perto_used, room())); }

// write_body appends to the response's body. The first call replaces the old body.
static inline void write_body(str s) {
	if (s.len) http_write_body(RESPONSE, s.at, s.len);
}
static inline void log_line(i32 level, str s) { http_log(level, s.at, s.len); }

// kv returns a value of the function's data; found may be null.
static inline str kv(str key, int *found) {
	str t = text_begin();
	i32 n = perto_kv_get(key.at, key.len, perto_arena + perto_used, room());
	if (found) *found = n >= 0;
	if (n > 0 && (u32)n <= room()) {
		t.len = (u32)n;
		perto_used += (u32)n;
	}
	return t;
}

// json_text returns a string member of a flat JSON object, without decoding it.
static inline str json_text(str json, str name) {
	for (u32 i = 0; i + name.len + 4 < json.len; i++) {
		if (json.at[i] != '"' || !str_starts(str_from(json, i + 1), name)) continue;
		str rest = str_from(json, i + 1 + name.len);
		if (!str_starts(rest, S("\":\""))) continue;
		rest = str_from(rest, 3);
		return str_to(rest, str_find(rest, '"'));
	}
	return (str){json.at, 0};
}

static inline i32 perto_hex(char c) {
	if (c >= '0' && c <= '9') return c - '0';
	if ((c | 32) >= 'a' && (c | 32) <= 'f') return (c | 32) - 'a' + 10;
	return -1;
}

// query returns a parameter of a target's query, decoded; found may be null.
static inline str query(str uri, str name, int *found) {
	str q = str_from(uri, str_find(uri, '?') + 1);
	if (found) *found = 0;
	while (q.len) {
		str pair = str_to(q, str_find(q, '&'));
		q = str_from(q, pair.len + 1);
		u32 eq = str_find(pair, '=');
		if (!str_eq(str_to(pair, eq), name)) continue;
		if (found) *found = 1;
		str raw = str_from(pair, eq + 1), t = text_begin();
		for (u32 i = 0; i < raw.len; i++) {
			char c = raw.at[i];
			if (c == '+') c = ' ';
			if (c == '%' && i + 2 < raw.len && perto_hex(raw.at[i + 1]) >= 0 && perto_hex(raw.at[i + 2]) >= 0) {
				c = (char)(perto_hex(raw.at[i + 1]) << 4 | perto_hex(raw.at[i + 2]));
				i += 2;
			}
			put_char(&t, c);
		}
		return t;
	}
	return (str){uri.at, 0};
}

// path returns a target without its query.
static inline str path(str uri) { return str_to(uri, str_find(uri, '?')); }

// cookie returns a cookie's value without quotes around it; found may be null. Like
// net/http, it skips values that RFC 6265 does not allow, so that C code and a Go server
// behind it read the same session. Browsers do send UTF-8. Programs that set such values
// must encode them (encodeURIComponent).
static inline str cookie(str name, int *found) {
	str lines = get_headers(REQUEST, S("cookie"));
	if (found) *found = 0;
	for (u32 i = 0; i < lines.len; i++) // each pair ends with ";" or with its line
		if (lines.at[i] == 0) perto_arena[(u32)(lines.at - perto_arena) + i] = ';';
	while (lines.len) {
		str pair = str_to(lines, str_find(lines, ';'));
		lines = str_from(lines, pair.len + 1);
		pair = str_trim(pair);
		u32 eq = str_find(pair, '=');
		if (!str_eq(str_trim(str_to(pair, eq)), name)) continue;
		str v = str_from(pair, eq + 1);
		if (v.len >= 2 && v.at[0] == '"' && v.at[v.len - 1] == '"') v = (str){v.at + 1, v.len - 2};
		u32 n = 0;
		while (n < v.len && v.at[n] >= 0x20 && v.at[n] < 0x7f && v.at[n] != '"' && v.at[n] != '\\') n++;
		if (n < v.len) continue;
		if (found) *found = 1;
		return v;
	}
	return lines;
}
