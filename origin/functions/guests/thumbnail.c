// Thumbnails: /thumb/WIDTH/REST is the image at /REST, WIDTH pixels wide. It stands
// behind the cache, before the origin: what it makes is stored. An image that it does
// not read (PNG of 8 bits, not interlaced), or that is no wider, passes as it is.
#include "perto.h"

enum {
	MOST_PNG = 4 << 20,    // bytes of an image that is read
	MOST_PIXELS = 4 << 20, // of it
	MOST_OUT = 3 << 20,    // bytes of a thumbnail before it is packed
	LEAST_WIDTH = 16,
	MOST_WIDTH = 640,
};

// Memory behind the module's own, anew for each image.
extern u8 __heap_base;
static u32 heap_used;

static u8 *alloc(u32 n) {
	u32 at = (u32)(unsigned long)&__heap_base + heap_used, end;
	if (n > 64u << 20 || __builtin_add_overflow(at, (n + 15) & ~15u, &end)) return 0;
	u32 have = (u32)__builtin_wasm_memory_size(0) << 16;
	if (end > have && __builtin_wasm_memory_grow(0, (end - have + 0xffff) >> 16) == (u32)-1) return 0;
	heap_used += (n + 15) & ~15u;
	return (u8 *)(unsigned long)at;
}

// Inflate (RFC 1951).
typedef struct {
	const u8 *in;
	u32 len, at, bits, have;
	u8 *out;
	u32 cap, n;
	int bad;
} inflater;

static u32 take(inflater *z, u32 count) {
	while (z->have < count) {
		if (z->at >= z->len) {
			z->bad = 1;
			return 0;
		}
		z->bits |= (u32)z->in[z->at++] << z->have;
		z->have += 8;
	}
	u32 v = z->bits & ((1u << count) - 1);
	z->bits >>= count;
	z->have -= count;
	return v;
}

// code is a canonical Huffman code: how many symbols have each length, and the
// symbols in order.
typedef struct {
	u16 count[16], symbol[288];
} code;

static int make_code(code *c, const u8 *lengths, u32 n) {
	u16 next[16];
	i32 left = 1;
	for (u32 i = 0; i < 16; i++) c->count[i] = 0;
	for (u32 i = 0; i < n; i++) c->count[lengths[i]]++;
	c->count[0] = 0;
	next[1] = 0;
	for (u32 i = 1; i < 16; i++) {
		left = left * 2 - c->count[i];
		if (left < 0) return 0; // more codes than there can be
		if (i < 15) next[i + 1] = next[i] + c->count[i];
	}
	for (u32 i = 0; i < n; i++)
		if (lengths[i]) c->symbol[next[lengths[i]]++] = (u16)i;
	return 1;
}

static u32 decode(inflater *z, const code *c) {
	i32 value = 0, first = 0, index = 0;
	for (u32 len = 1; len < 16; len++) {
		value |= (i32)take(z, 1);
		i32 count = c->count[len];
		if (value - count < first) return c->symbol[index + (value - first)];
		index += count;
		first = (first + count) << 1;
		value <<= 1;
		if (z->bad) return 0;
	}
	z->bad = 1;
	return 0;
}

static const u16 length_base[29] = {3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
static const u8 length_more[29] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
static const u16 distance_base[30] = {1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};
static const u8 distance_more[30] = {0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13};

static void inflate_block(inflater *z, const code *literals, const code *distances) {
	while (!z->bad) {
		u32 s = decode(z, literals);
		if (s == 256) return;
		if (s < 256) {
			if (z->n >= z->cap) z->bad = 1;
			else z->out[z->n++] = (u8)s;
			continue;
		}
		s -= 257;
		if (s >= 29) break;
		u32 length = length_base[s] + take(z, length_more[s]), d = decode(z, distances);
		if (d >= 30) break;
		u32 distance = distance_base[d] + take(z, distance_more[d]);
		if (distance > z->n || length > z->cap - z->n) break;
		for (; length; length--, z->n++) z->out[z->n] = z->out[z->n - distance];
	}
	z->bad = 1;
}

static code literals, distances;

static int read_codes(inflater *z) {
	static const u8 order[19] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
	u8 lengths[288 + 32];
	u32 nlit = take(z, 5) + 257, ndist = take(z, 5) + 1, ncode = take(z, 4) + 4;
	if (nlit > 286 || ndist > 30) return 0;
	for (u32 i = 0; i < 19; i++) lengths[order[i]] = i < ncode ? (u8)take(z, 3) : 0;
	if (!make_code(&literals, lengths, 19)) return 0;
	for (u32 i = 0; i < nlit + ndist;) {
		u32 s = decode(z, &literals), repeat = 1;
		u8 v = (u8)s;
		if (z->bad) return 0;
		if (s == 16) {
			if (i == 0) return 0;
			v = lengths[i - 1];
			repeat = 3 + take(z, 2);
		} else if (s > 16) {
			v = 0;
			repeat = s == 17 ? 3 + take(z, 3) : 11 + take(z, 7);
		}
		if (i + repeat > nlit + ndist) return 0;
		while (repeat--) lengths[i++] = v;
	}
	return make_code(&literals, lengths, nlit) && make_code(&distances, lengths + nlit, ndist);
}

// inflate unpacks a zlib stream (RFC 1950) into cap bytes; 0 unless it is just as much.
static int inflate(const u8 *in, u32 len, u8 *out, u32 cap) {
	if (len < 2 || (in[0] & 15) != 8 || in[1] & 32) return 0;
	inflater z = {in, len, 2, 0, 0, out, cap, 0, 0};
	for (u32 last = 0; !last && !z.bad;) {
		last = take(&z, 1);
		switch (take(&z, 2)) {
		case 0: {
			z.bits = z.have = 0;
			if (z.at + 4 > len) return 0;
			u32 n = in[z.at] | (u32)in[z.at + 1] << 8;
			z.at += 4;
			if (n > len - z.at || n > cap - z.n) return 0;
			perto_copy(out + z.n, in + z.at, n);
			z.n += n;
			z.at += n;
			break;
		}
		case 1: {
			u8 lengths[288];
			for (u32 i = 0; i < 288; i++) lengths[i] = i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8;
			make_code(&literals, lengths, 288);
			for (u32 i = 0; i < 30; i++) lengths[i] = 5;
			make_code(&distances, lengths, 30);
			inflate_block(&z, &literals, &distances);
			break;
		}
		case 2:
			if (!read_codes(&z)) return 0;
			inflate_block(&z, &literals, &distances);
			break;
		default:
			return 0;
		}
	}
	return !z.bad && z.n == cap;
}

// Deflate: fixed codes, matches by a hash of three bytes.
typedef struct {
	u8 *out;
	u32 n, bits, have;
} packer;

static void emit(packer *p, u32 v, u32 count) {
	p->bits |= v << p->have;
	p->have += count;
	while (p->have >= 8) {
		p->out[p->n++] = (u8)p->bits;
		p->bits >>= 8;
		p->have -= 8;
	}
}

// emit_code writes a Huffman code, whose bits stand the other way round.
static void emit_code(packer *p, u32 v, u32 count) {
	u32 r = 0;
	for (u32 i = 0; i < count; i++) r |= ((v >> i) & 1) << (count - 1 - i);
	emit(p, r, count);
}

static void emit_literal(packer *p, u32 s) {
	if (s < 144) emit_code(p, 0x30 + s, 8);
	else if (s < 256) emit_code(p, 0x190 + s - 144, 9);
	else if (s < 280) emit_code(p, s - 256, 7);
	else emit_code(p, 0xc0 + s - 280, 8);
}

static u32 match_length(const u8 *a, const u8 *b, u32 most) {
	u32 n = 0;
	while (n < most && a[n] == b[n]) n++;
	return n;
}

// deflate packs n bytes as a zlib stream and returns its length. out has room for
// n * 9 / 8 + 64.
static u32 deflate(const u8 *in, u32 n, u8 *out) {
	enum { HASH = 1 << 13, CHAIN = 16 };
	i32 *head = (i32 *)alloc(HASH * 4), *before = (i32 *)alloc((n + 1) * 4);
	packer p = {out, 0, 0, 0};
	out[p.n++] = 0x78;
	out[p.n++] = 0x9c;
	emit(&p, 1, 1);
	emit(&p, 1, 2);
	if (head) for (u32 i = 0; i < HASH; i++) head[i] = -1;
	for (u32 i = 0; i < n;) {
		u32 best = 0, distance = 0;
		if (head && before && i + 3 <= n) {
			u32 h = ((u32)in[i] * 2654435u ^ (u32)in[i + 1] * 40503u ^ in[i + 2] * 97u) & (HASH - 1);
			u32 most = n - i < 258 ? n - i : 258, depth = CHAIN;
			for (i32 j = head[h]; j >= 0 && i - (u32)j <= 32768 && depth--; j = before[j]) {
				u32 len = match_length(in + j, in + i, most);
				if (len > best) {
					best = len;
					distance = i - (u32)j;
				}
			}
			before[i] = head[h];
			head[h] = (i32)i;
		}
		if (best < 4) {
			emit_literal(&p, in[i++]);
			continue;
		}
		u32 l = 28, d = 29;
		while (length_base[l] > best) l--;
		while (distance_base[d] > distance) d--;
		emit_literal(&p, 257 + l);
		emit(&p, best - length_base[l], length_more[l]);
		emit_code(&p, d, 5);
		emit(&p, distance - distance_base[d], distance_more[d]);
		i += best;
	}
	emit_literal(&p, 256);
	emit(&p, 0, 7); // to a whole byte
	u32 a = 1, b = 0; // Adler-32
	for (u32 i = 0; i < n; i++) {
		a = (a + in[i]) % 65521;
		b = (b + a) % 65521;
	}
	u32 sum = b << 16 | a;
	for (i32 shift = 24; shift >= 0; shift -= 8) out[p.n++] = (u8)(sum >> shift);
	return p.n;
}

// PNG (ISO 15948).
static const u8 signature[8] = {0x89, 'P', 'N', 'G', 13, 10, 26, 10};

static u32 big(const u8 *p) { return (u32)p[0] << 24 | (u32)p[1] << 16 | (u32)p[2] << 8 | p[3]; }
static void put_big(u8 *p, u32 v) {
	for (u32 i = 0; i < 4; i++) p[i] = (u8)(v >> (24 - 8 * i));
}

static u32 crc(const u8 *p, u32 n) {
	static u32 table[256];
	if (!table[1])
		for (u32 i = 0; i < 256; i++) {
			u32 c = i;
			for (u32 k = 0; k < 8; k++) c = c & 1 ? c >> 1 ^ 0xedb88320 : c >> 1;
			table[i] = c;
		}
	u32 c = ~0u;
	for (u32 i = 0; i < n; i++) c = table[(c ^ p[i]) & 255] ^ c >> 8;
	return ~c;
}

typedef struct {
	u32 width, height, kind, channels; // kind: the colour type
	u8 *rows;                          // each with its filter in front
	u8 palette[256][4];
	int alpha;
} image;

static int absolute(int v) { return v < 0 ? -v : v; }

static u8 paeth(int a, int b, int c) {
	int p = a + b - c, pa = absolute(p - a), pb = absolute(p - b), pc = absolute(p - c);
	return (u8)(pa <= pb && pa <= pc ? a : pb <= pc ? b : c);
}

static int unfilter(image *m) {
	u32 stride = m->width * m->channels, bpp = m->channels;
	for (u32 y = 0; y < m->height; y++) {
		u8 *row = m->rows + y * (stride + 1) + 1, *up = y ? row - stride - 1 : 0;
		u8 filter = row[-1];
		if (filter > 4) return 0;
		if (filter == 0) continue;
		for (u32 x = 0; x < stride; x++) {
			int a = x >= bpp ? row[x - bpp] : 0, b = up ? up[x] : 0, c = up && x >= bpp ? up[x - bpp] : 0;
			row[x] += filter == 1 ? (u8)a : filter == 2 ? (u8)b : filter == 3 ? (u8)((a + b) / 2) : paeth(a, b, c);
		}
	}
	return 1;
}

// read_png unpacks an image; 0 for what it does not read.
static int read_png(image *m, const u8 *png, u32 len) {
	static const u8 channels[7] = {1, 0, 3, 1, 2, 0, 4};
	if (len < 57) return 0;
	for (u32 i = 0; i < 8; i++)
		if (png[i] != signature[i]) return 0;
	u8 *packed = alloc(len);
	u32 packed_len = 0, colours = 0;
	if (!packed) return 0;
	m->width = 0;
	for (u32 at = 8; at + 12 <= len;) {
		u32 n = big(png + at);
		const u8 *type = png + at + 4, *data = png + at + 8;
		if (n > len - at - 12) return 0;
		u32 t = big(type);
		// Whose bytes were damaged on their way shall look it, and not get a sum of ours.
		if (crc(type, n + 4) != big(data + n)) return 0;
		if (t == 0x49484452) { // IHDR
			if (n != 13 || m->width) return 0;
			m->width = big(data);
			m->height = big(data + 4);
			m->kind = data[9];
			if (!m->width || !m->height || m->width > MOST_PIXELS || m->height > MOST_PIXELS / m->width) return 0;
			if (data[8] != 8 || m->kind > 6 || !channels[m->kind] || data[10] || data[11] || data[12]) return 0;
			m->channels = channels[m->kind];
			m->alpha = m->kind >= 4;
		} else if (t == 0x504c5445) { // PLTE
			if (n % 3 || n > 768) return 0;
			for (colours = 0; colours < n / 3; colours++) {
				for (u32 k = 0; k < 3; k++) m->palette[colours][k] = data[3 * colours + k];
				m->palette[colours][3] = 255;
			}
		} else if (t == 0x74524e53) { // tRNS
			if (m->kind != 3 || n > colours) return 0; // a transparent colour: not read
			for (u32 i = 0; i < n; i++) m->palette[i][3] = data[i];
			m->alpha = 1;
		} else if (t == 0x6163544c) { // acTL: it moves
			return 0;
		} else if (t == 0x49444154) { // IDAT
			perto_copy(packed + packed_len, data, n);
			packed_len += n;
		} else if (t == 0x49454e44) // IEND
			break;
		at += n + 12;
	}
	if (!m->width || (m->kind == 3 && !colours)) return 0;
	for (u32 i = colours; i < 256; i++) put_big(m->palette[i], 255); // opaque black
	u32 size = (m->width * m->channels + 1) * m->height;
	m->rows = alloc(size);
	return m->rows && inflate(packed, packed_len, m->rows, size) && unfilter(m);
}

// pixel returns one as red, green, blue, alpha.
static void pixel(const image *m, u32 x, u32 y, u8 *out) {
	const u8 *p = m->rows + y * (m->width * m->channels + 1) + 1 + x * m->channels;
	switch (m->kind) {
	case 0: case 4:
		out[0] = out[1] = out[2] = p[0];
		out[3] = m->kind == 4 ? p[1] : 255;
		break;
	case 3:
		perto_copy(out, m->palette[p[0]], 4);
		break;
	default:
		perto_copy(out, p, 3);
		out[3] = m->kind == 6 ? p[3] : 255;
	}
}

// average is the mean of a box of pixels; the colour of one counts as much as it is
// opaque.
static void average(const image *m, u32 x0, u32 x1, u32 y0, u32 y1, u8 *out) {
	u64 sum[4] = {0, 0, 0, 0};
	for (u32 y = y0; y < y1; y++)
		for (u32 x = x0; x < x1; x++) {
			u8 p[4];
			pixel(m, x, y, p);
			for (u32 k = 0; k < 3; k++) sum[k] += (u64)p[k] * p[3];
			sum[3] += p[3];
		}
	u64 n = (u64)(x1 - x0) * (y1 - y0);
	for (u32 k = 0; k < 3; k++) out[k] = sum[3] ? (u8)((sum[k] + sum[3] / 2) / sum[3]) : 0;
	out[3] = (u8)((sum[3] + n / 2) / n);
}

// filtered writes a row under one of the filters 0 to 2 and 4, and returns how far
// from zero its bytes are.
static u32 filtered(u8 *to, const u8 *row, const u8 *up, u32 stride, u32 bpp, u32 filter) {
	u32 sum = 0;
	to[0] = (u8)filter;
	for (u32 x = 0; x < stride; x++) {
		int a = x >= bpp ? row[x - bpp] : 0, b = up ? up[x] : 0, c = up && x >= bpp ? up[x - bpp] : 0;
		u8 v = (u8)(row[x] - (filter == 0 ? 0 : filter == 1 ? a : filter == 2 ? b : paeth(a, b, c)));
		to[1 + x] = v;
		sum += (u32)absolute((signed char)v);
	}
	return sum;
}

// chunk ends one whose data stand at out + 8, and returns its length.
static u32 chunk(u8 *out, u32 type, u32 n) {
	put_big(out, n);
	put_big(out + 4, type);
	put_big(out + 8 + n, crc(out + 4, n + 4));
	return n + 12;
}

// thumbnail makes the image width pixels wide; its length, or 0.
static u32 thumbnail(const image *m, u32 width, u8 **result) {
	u32 height = (u32)((u64)m->height * width / m->width), bpp = m->alpha ? 4 : 3;
	if (height == 0) height = 1;
	u32 stride = width * bpp;
	if ((u64)(stride + 1) * height > MOST_OUT) return 0;
	u8 *small = alloc(stride * height), *raw = alloc((stride + 1) * height), *try = alloc(stride + 1);
	u8 *out = alloc((stride + 1) * height / 8 * 9 + 256);
	if (!small || !raw || !try || !out) return 0;
	for (u32 y = 0; y < height; y++)
		for (u32 x = 0; x < width; x++) {
			u8 p[4];
			u32 x0 = (u32)((u64)x * m->width / width), x1 = (u32)((u64)(x + 1) * m->width / width);
			u32 y0 = (u32)((u64)y * m->height / height), y1 = (u32)((u64)(y + 1) * m->height / height);
			average(m, x0, x1 > x0 ? x1 : x0 + 1, y0, y1 > y0 ? y1 : y0 + 1, p);
			perto_copy(small + y * stride + x * bpp, p, bpp);
		}
	static const u8 filters[4] = {0, 1, 2, 4};
	for (u32 y = 0; y < height; y++) {
		u8 *to = raw + y * (stride + 1), *row = small + y * stride, *up = y ? row - stride : 0;
		u32 best = filtered(to, row, up, stride, bpp, 0);
		for (u32 i = 1; i < 4; i++) {
			u32 sum = filtered(try, row, up, stride, bpp, filters[i]);
			if (sum < best) {
				best = sum;
				perto_copy(to, try, stride + 1);
			}
		}
	}
	u32 n = 8;
	perto_copy(out, signature, 8);
	put_big(out + n + 8, width);
	put_big(out + n + 12, height);
	out[n + 16] = 8;
	out[n + 17] = m->alpha ? 6 : 2;
	out[n + 18] = out[n + 19] = out[n + 20] = 0;
	n += chunk(out + n, 0x49484452, 13);
	n += chunk(out + n, 0x49444154, deflate(raw, (stride + 1) * height, out + n + 8));
	n += chunk(out + n, 0x49454e44, 0);
	*result = out;
	return n;
}

HANDLE_REQUEST {
	str uri = get_uri(), rest = str_from(uri, sizeof "/thumb/" - 1);
	u32 slash = str_find(rest, '/'), width = str_number(str_to(rest, slash), 0);
	// A width has one name, so that a cache keeps it once.
	if (!str_starts(uri, S("/thumb/")) || slash == rest.len || rest.at[0] == '0' || width < LEAST_WIDTH || width > MOST_WIDTH) {
		http_set_status(404);
		set_header(RESPONSE, S("Content-Type"), S("text/plain; charset=utf-8"));
		write_body(S("A thumbnail is at /thumb/WIDTH/ and the path of an image; WIDTH is 16 to 640.\n"));
		return ANSWERED;
	}
	http_enable_features(BUFFER_RESPONSE);
	// A part of the image is no part of the thumbnail.
	remove_header(REQUEST, S("Range"));
	remove_header(REQUEST, S("If-Range"));
	str image = str_from(rest, slash);
	http_set_uri(image.at, image.len);
	return PASS_WITH(width);
}

HANDLE_RESPONSE(width, failed) {
	if (failed || http_get_status() != 200) return;
	heap_used = 0;
	perto_begin();
	u8 *png = alloc(MOST_PNG);
	if (!png) return;
	u32 len = 0;
	for (u64 r = 0; r >> 32 == 0;) {
		if (len == MOST_PNG) return;
		r = http_read_body(RESPONSE, png + len, MOST_PNG - len);
		len += (u32)r;
	}
	static image m;
	u8 *out;
	if (!read_png(&m, png, len) || m.width <= width) return;
	u32 n = thumbnail(&m, width, &out);
	if (n == 0) return;
	// Other bytes: what was a strong validator of the image is a weak one of this.
	str etag = get_header(RESPONSE, S("etag"));
	if (etag.len && etag.at[0] == '"') {
		str weak = text_begin();
		put(&weak, S("W/"));
		put(&weak, etag);
		set_header(RESPONSE, S("ETag"), weak);
	}
	set_header(RESPONSE, S("Content-Type"), S("image/png"));
	http_write_body(RESPONSE, out, n);
}
