// Makes pictures small where they are asked for: /thumb/WIDTH/REST is answered by
// what the next one says of /REST, and a PNG that comes back is scaled down to WIDTH
// pixels. Whatever is no PNG that this file understands passes as it is.
//
// A picture goes through in one pass, so that it is never in memory as a whole:
//
//	chunks -> inflate -> rows -> unfiltered -> RGBA -> sums of areas -> filtered rows
//
// and what remains, which is small, is deflated at the end. Every length comes from
// a stranger: all are checked before they are used, and a trap is a bug.
#define IMPORT(n) __attribute__((import_module("http_handler"), import_name(n)))
#define EXPORT(n) __attribute__((export_name(n)))
#define COPY __builtin_memmove // memory.copy, by -mbulk-memory
#define FILL __builtin_memset  // memory.fill
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned u32;
typedef unsigned long long u64;

IMPORT("get_uri") u32 get_uri(char *, u32);
IMPORT("set_uri") void set_uri(const char *, u32);
IMPORT("get_status_code") u32 get_status_code(void);
IMPORT("set_status_code") void set_status_code(u32);
IMPORT("get_header_values") u64 get_header_values(u32, const char *, u32, char *, u32);
IMPORT("set_header_value") void set_header_value(u32, const char *, u32, const char *, u32);
IMPORT("remove_header") void remove_header(u32, const char *, u32);
IMPORT("read_body") u64 read_body(u32, u8 *, u32);
IMPORT("write_body") void write_body(u32, const void *, u32);

enum {
	RESPONSE = 1, // kind of body and of header fields
	LEAST_WIDTH = 16,
	MOST_WIDTH = 640,
	MOST_SIDE = 2000,     // pixels of a picture that is read, either way
	MOST_BYTES = 2 << 20, // of a PNG, read or written
};

// file is the PNG that was read; when its last row is out it is the one that is
// written.
static u8 file[MOST_BYTES + 1]; // one more byte tells who is too large
static u32 file_n;

static u32 get32(const u8 *p) { return (u32)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3]; }

static void put32(u8 *p, u32 v) {
	p[0] = v >> 24, p[1] = v >> 16, p[2] = v >> 8, p[3] = v;
}

static u32 crc_table[256];

static u32 crc32(const u8 *p, u32 n) {
	if (!crc_table[1])
		for (u32 i = 0; i < 256; i++) {
			u32 c = i;
			for (int k = 0; k < 8; k++) c = c & 1 ? c >> 1 ^ 0xedb88320 : c >> 1;
			crc_table[i] = c;
		}
	u32 c = ~0u;
	for (u32 i = 0; i < n; i++) c = crc_table[(c ^ p[i]) & 255] ^ c >> 8;
	return ~c;
}

static u32 adler32(const u8 *p, u32 n) {
	u32 a = 1, b = 0;
	while (n) {
		u32 part = n < 5552 ? n : 5552; // so many sums fit in 32 bits
		for (u32 i = 0; i < part; i++) a += p[i], b += a;
		a %= 65521, b %= 65521, p += part, n -= part;
	}
	return b << 16 | a;
}

// ---- The thumbnail's rows ----

static u32 src_w, src_h, dst_w, dst_h;
static u32 channels; // of the thumbnail: 3, or 4 with alpha

// raw is the thumbnail as PNG deflates it: each row begins with its filter.
static u8 raw[(1 + 4 * MOST_WIDTH) * MOST_SIDE];
static u32 raw_n;
static u8 above[4 * MOST_WIDTH], line[4 * MOST_WIDTH]; // unfiltered

static u32 paeth(u32 a, u32 b, u32 c) {
	int pa = (int)b - (int)c, pb = (int)a - (int)c, pc = pa + pb;
	if (pa < 0) pa = -pa;
	if (pb < 0) pb = -pb;
	if (pc < 0) pc = -pc;
	return pa <= pb && pa <= pc ? a : pb <= pc ? b : c;
}

// predict is what filter f subtracts, where a is left, b above and c above left.
static inline u32 predict(u32 f, u32 a, u32 b, u32 c) {
	return f == 0 ? 0 : f == 1 ? a : f == 2 ? b : f == 3 ? (a + b) / 2 : paeth(a, b, c);
}

// filter_row appends line to raw by the filter that leaves the smallest differences,
// which is PNG's own advice and mostly right.
static void filter_row(void) {
	u32 n = dst_w * channels, best = 0, least = ~0u;
	for (u32 f = 0; f < 5; f++) {
		u32 sum = 0;
		for (u32 i = 0; i < n && sum < least; i++) {
			u32 a = i < channels ? 0 : line[i - channels], c = i < channels ? 0 : above[i - channels];
			u8 d = line[i] - predict(f, a, above[i], c);
			sum += d < 128 ? d : 256 - d;
		}
		if (sum < least) least = sum, best = f;
	}
	raw[raw_n++] = best;
	for (u32 i = 0; i < n; i++) {
		u32 a = i < channels ? 0 : line[i - channels], c = i < channels ? 0 : above[i - channels];
		raw[raw_n++] = line[i] - predict(best, a, above[i], c);
	}
	COPY(above, line, n);
}

// ---- Areas ----
//
// A pixel of the thumbnail is the mean of the area that it covers. In units of 1/dst_w
// of a pixel, each source pixel is dst_w wide and each pixel of the thumbnail src_w: all
// weights are whole numbers, and those of a pixel sum up to src_w * src_h.

static u8 rgba[4 * MOST_SIDE];        // a source row
static u32 across[4 * MOST_WIDTH];    // its sums: at most 2000 * 255 * 255
static u64 area[4 * MOST_WIDTH];      // sums of rows
static u32 src_y, dst_y;

// sum_across computes across from rgba. Colours count as much as they can be seen.
static void sum_across(void) {
	u32 left = src_w, step = dst_w; // left of the thumbnail's pixel
	u32 r = 0, g = 0, b = 0, a = 0, *to = across;
	for (u32 x = 0; x < src_w; x++) {
		const u8 *p = rgba + 4 * x;
		u32 alpha = channels == 4 ? p[3] : 1, pr = p[0] * alpha, pg = p[1] * alpha, pb = p[2] * alpha;
		u32 w = step < left ? step : left;
		r += pr * w, g += pg * w, b += pb * w, a += alpha * w;
		left -= w;
		if (left) continue;
		to[0] = r, to[1] = g, to[2] = b, to[3] = a, to += 4;
		w = step - w; // the rest is the next one's; it is smaller than one of them
		r = pr * w, g = pg * w, b = pb * w, a = alpha * w;
		left = src_w - w;
	}
}

static void add_area(u32 weight) {
	for (u32 i = 0; i < 4 * dst_w; i++) area[i] += (u64)across[i] * weight;
}

static void area_done(void) {
	u64 total = (u64)src_w * src_h;
	u8 *to = line;
	for (u32 x = 0; x < dst_w; x++) {
		const u64 *s = area + 4 * x;
		u64 over = channels == 4 ? s[3] : total; // 0: nothing can be seen
		for (u32 c = 0; c < 3; c++) *to++ = over ? (s[c] + over / 2) / over : 0;
		if (channels == 4) *to++ = (s[3] + total / 2) / total;
	}
	FILL(area, 0, sizeof area);
	filter_row();
	dst_y++;
}

// row_shrunk takes the source row in rgba into account. No row covers more than two of
// the thumbnail's, for that is not higher than its source.
static void row_shrunk(void) {
	u32 begin = src_y * dst_h, end = begin + dst_h, bound = (dst_y + 1) * src_h;
	sum_across();
	if (end < bound)
		add_area(dst_h);
	else {
		add_area(bound - begin);
		area_done();
		if (end > bound) add_area(end - bound);
	}
	src_y++;
}

// ---- Rows of the source ----

static u32 depth, colour; // as IHDR says
enum { GREY = 0, RGB = 2, PALETTE = 3, GREY_ALPHA = 4, RGB_ALPHA = 6 };
static u8 palette[256][4];
static int has_key; // one colour stands for nothing
static u32 key[3];

static u8 packed[2][1 + 4 * MOST_SIDE]; // this row and the one before, with their filters
static u32 packed_n, packed_have, bpp;  // bpp: bytes to the left neighbour, for filters
static u32 now;                         // index of this row

static int unfilter(void) {
	u8 *p = packed[now] + 1;
	const u8 *up = packed[!now] + 1;
	u32 n = packed_n - 1;
	switch (packed[now][0]) {
	case 0: break;
	case 1:
		for (u32 i = bpp; i < n; i++) p[i] += p[i - bpp];
		break;
	case 2:
		for (u32 i = 0; i < n; i++) p[i] += up[i];
		break;
	case 3:
		for (u32 i = 0; i < n; i++) p[i] += ((i < bpp ? 0 : p[i - bpp]) + up[i]) / 2;
		break;
	case 4:
		for (u32 i = 0; i < bpp && i < n; i++) p[i] += up[i];
		for (u32 i = bpp; i < n; i++) p[i] += paeth(p[i - bpp], up[i], up[i - bpp]);
		break;
	default: return 0;
	}
	return 1;
}

// sample is number x of a row of less than 8 bits each.
static inline u32 sample(const u8 *p, u32 x) {
	u32 bit = x * depth;
	return p[bit >> 3] >> (8 - depth - (bit & 7)) & ((1u << depth) - 1);
}

static void unpack(void) {
	const u8 *p = packed[now] + 1;
	u8 *to = rgba;
	u32 scale = 255 / ((1u << depth) - 1); // exact for 1, 2, 4 and 8
	for (u32 x = 0; x < src_w; x++, to += 4) {
		u32 v;
		switch (colour) {
		case GREY:
			v = sample(p, x);
			to[0] = to[1] = to[2] = v * scale;
			to[3] = has_key && v == key[0] ? 0 : 255;
			break;
		case RGB:
			to[0] = p[0], to[1] = p[1], to[2] = p[2];
			to[3] = has_key && p[0] == key[0] && p[1] == key[1] && p[2] == key[2] ? 0 : 255;
			p += 3;
			break;
		case PALETTE: COPY(to, palette[sample(p, x)], 4); break;
		case GREY_ALPHA:
			to[0] = to[1] = to[2] = p[0], to[3] = p[1];
			p += 2;
			break;
		case RGB_ALPHA:
			COPY(to, p, 4);
			p += 4;
		}
	}
}

// rows takes the next bytes of the picture; it returns 0 where they make no sense.
// What follows the last row is nobody's.
static int rows(const u8 *p, u32 n) {
	while (n && src_y < src_h) {
		u32 part = packed_n - packed_have;
		if (part > n) part = n;
		COPY(packed[now] + packed_have, p, part);
		p += part, n -= part, packed_have += part;
		if (packed_have < packed_n) break;
		if (!unfilter()) return 0;
		unpack();
		row_shrunk();
		now = !now, packed_have = 0;
	}
	return 1;
}

#include "inflate.h"

// ---- Chunks ----

static int header(const u8 *p, u32 n, u32 width) {
	if (n != 13) return 0;
	src_w = get32(p), src_h = get32(p + 4), depth = p[8], colour = p[9];
	if (src_w <= width || src_w > MOST_SIDE || src_h == 0 || src_h > MOST_SIDE) return 0;
	if (p[10] || p[11] || p[12]) return 0; // p[12]: interlaced, which would need it all in memory
	u32 samples;
	switch (colour) {
	case GREY: case PALETTE: samples = 1; break;
	case GREY_ALPHA: samples = 2; break;
	case RGB: samples = 3; break;
	case RGB_ALPHA: samples = 4; break;
	default: return 0;
	}
	if (depth != 8 && !(samples == 1 && (depth == 1 || depth == 2 || depth == 4))) return 0;
	bpp = depth < 8 ? 1 : samples;
	packed_n = 1 + (src_w * samples * depth + 7) / 8;
	channels = colour == GREY_ALPHA || colour == RGB_ALPHA ? 4 : 3;
	dst_w = width, dst_h = (src_h * width + src_w / 2) / src_w;
	if (dst_h == 0) dst_h = 1;
	return 1;
}

static int transparency(const u8 *p, u32 n) {
	u32 samples = colour == GREY ? 1 : 3;
	switch (colour) {
	case PALETTE:
		if (n > 256) return 0;
		for (u32 i = 0; i < n; i++) palette[i][3] = p[i];
		break;
	case GREY: case RGB:
		if (n != 2 * samples) return 0;
		for (u32 i = 0; i < samples; i++) key[i] = p[2 * i] << 8 | p[2 * i + 1];
		has_key = 1;
		break;
	default: return 0;
	}
	channels = 4;
	return 1;
}

static const u8 signature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};

static int is(const u8 *p, const u8 *q, u32 n) {
	while (n--)
		if (*p++ != *q++) return 0;
	return 1;
}

// CHUNK is a chunk's type as a number.
#define CHUNK(a, b, c, d) ((u32)(a) << 24 | (b) << 16 | (c) << 8 | (d))

// decode reads file and leaves the thumbnail in raw; 0: it is to be left alone.
static int decode(u32 width) {
	u32 at = 8, data_n = 0, coloured = 0;
	if (file_n < 8 || !is(file, signature, 8)) return 0;
	src_w = 0, has_key = 0;
	for (u32 i = 0; i < 256; i++) palette[i][0] = palette[i][1] = palette[i][2] = 0, palette[i][3] = 255;
	for (u32 end = 0; !end;) {
		if (file_n - at < 12) return 0;
		u32 n = get32(file + at), type = get32(file + at + 4);
		const u8 *p = file + at + 8;
		if (n > file_n - at - 12 || crc32(p - 4, n + 4) != get32(p + n)) return 0;
		if ((at == 8) != (type == CHUNK('I', 'H', 'D', 'R'))) return 0;
		at += 12 + n;
		switch (type) {
		case CHUNK('I', 'H', 'D', 'R'):
			if (!header(p, n, width)) return 0;
			break;
		case CHUNK('P', 'L', 'T', 'E'):
			if (n == 0 || n > 768 || n % 3) return 0;
			for (u32 i = 0; i < n; i++) palette[i / 3][i % 3] = p[i];
			coloured = 1;
			break;
		case CHUNK('t', 'R', 'N', 'S'):
			if (!transparency(p, n)) return 0;
			break;
		case CHUNK('I', 'D', 'A', 'T'): // all of them are one stream, which is moved to the front
			COPY(file + data_n, p, n);
			data_n += n;
			break;
		case CHUNK('I', 'E', 'N', 'D'): end = 1; break;
		default:
			if (!(type >> 24 & 32)) return 0; // it is critical
		}
	}
	if (colour == PALETTE && !coloured) return 0;
	raw_n = packed_have = now = src_y = dst_y = 0;
	FILL(packed, 0, sizeof packed);
	FILL(area, 0, sizeof area);
	FILL(above, 0, sizeof above);
	return inflate(file, data_n) && dst_y == dst_h;
}

#include "deflate.h"

// ---- The PNG that is written ----

static u32 chunk_begin(const char *type) {
	u32 at = file_n;
	for (u32 i = 0; i < 8; i++) byte_out(i < 4 ? 0 : type[i - 4]);
	return at;
}

static void number_out(u32 v) {
	for (int shift = 24; shift >= 0; shift -= 8) byte_out(v >> shift);
}

static void chunk_end(u32 at) {
	if (full) return;
	put32(file + at, file_n - at - 8);
	number_out(crc32(file + at + 4, file_n - at - 4));
}

// encode writes raw to file; 0: there is no room.
static int encode(void) {
	file_n = full = 0;
	for (u32 i = 0; i < 8; i++) byte_out(signature[i]);
	u32 at = chunk_begin("IHDR");
	number_out(dst_w), number_out(dst_h);
	byte_out(8), byte_out(channels == 4 ? RGB_ALPHA : RGB);
	byte_out(0), byte_out(0), byte_out(0);
	chunk_end(at);
	at = chunk_begin("IDAT");
	byte_out(0x78), byte_out(0x9c);
	deflate();
	number_out(adler32(raw, raw_n));
	chunk_end(at);
	chunk_end(chunk_begin("IEND"));
	return !full;
}

// ---- What the host calls ----

static char text[4096];

EXPORT("handle_request") u64 handle_request(void) {
	u32 n = get_uri(text, sizeof text), at = 7, width = 0;
	if (n <= sizeof text && n > at && is((u8 *)text, (u8 *)"/thumb/", 7) && text[at] != '0') { // one name for each width
		for (; at < n && at < 10 && text[at] >= '0' && text[at] <= '9'; at++) width = 10 * width + text[at] - '0';
		if (width >= LEAST_WIDTH && width <= MOST_WIDTH && at < n && text[at] == '/') {
			set_uri(text + at, n - at);
			return (u64)width << 32 | 1;
		}
	}
	set_status_code(404);
	set_header_value(RESPONSE, "content-type", 12, "text/plain; charset=utf-8", 25);
	write_body(RESPONSE, "Thumbnails are at /thumb/WIDTH/PATH, with a WIDTH of 16 to 640.\n", 64);
	return 0;
}

// weaken makes a strong entity tag weak: it names other bytes than those that go out
// now, which mean the same.
static void weaken(void) {
	u64 r = get_header_values(RESPONSE, "etag", 4, text + 2, sizeof text - 2);
	u32 n = r; // of all values, each with a zero at its end
	if (r >> 32 == 0 || n < 2) return;
	if (r >> 32 > 1 || n > sizeof text - 2) {
		remove_header(RESPONSE, "etag", 4); // nobody knows what it means
		return;
	}
	if (n > 2 && text[2] == 'W' && text[3] == '/') return;
	text[0] = 'W', text[1] = '/';
	set_header_value(RESPONSE, "etag", 4, text, n + 1);
}

EXPORT("handle_response") void handle_response(u32 width, u32 is_error) {
	if (is_error || width < LEAST_WIDTH || width > MOST_WIDTH || get_status_code() != 200) return;
	for (file_n = 0;;) {
		u64 r = read_body(RESPONSE, file + file_n, sizeof file - file_n);
		file_n += (u32)r;
		if (file_n > MOST_BYTES) return;
		if (r >> 32) break;
		if (!(u32)r) return; // a host that gives nothing and does not end
	}
	if (!decode(width) || !encode()) return;
	set_header_value(RESPONSE, "content-type", 12, "image/png", 9);
	weaken();
	write_body(RESPONSE, file, file_n);
}
