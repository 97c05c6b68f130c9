// Part of thumbnail.c: inflate (RFC 1951), which gives what it reads to rows() until
// that has src_h of them.

enum { FAST = 10 }; // bits of a code that is found at once

struct code {
	u16 fast[1 << FAST]; // symbol << 4 | length; 0: longer, or no code
	u16 count[16], symbol[288];
};
static struct code literals, distances;
static u8 lengths[288 + 32];

static const u8 *in, *in_end;
static u64 bits;
static u32 bits_n;

static u8 window[1 << 16]; // the last bytes, by position
static u32 out_n;          // ends with the picture, which has 16 MB at most

static inline void refill(void) {
	while (bits_n <= 56 && in < in_end) bits |= (u64)*in++ << bits_n, bits_n += 8;
}

// take returns n <= 16 bits, -1 at the end.
static int take(u32 n) {
	refill();
	if (bits_n < n) return -1;
	u32 v = bits & ((1u << n) - 1);
	bits >>= n, bits_n -= n;
	return v;
}

// code_of builds a code of the lengths of its symbols; 0: they contradict each other.
// A code may be incomplete: who then uses what is missing fails in symbol_of.
static int code_of(struct code *c, const u8 *length, u32 n) {
	u16 next[16], at[16];
	FILL(c, 0, sizeof *c);
	for (u32 i = 0; i < n; i++) c->count[length[i]]++;
	c->count[0] = 0;
	u32 code = 0, first = 0;
	for (u32 l = 1; l < 16; l++) {
		code = (code + c->count[l - 1]) << 1;
		if (code + c->count[l] > 1u << l) return 0;
		next[l] = code, at[l] = first, first += c->count[l];
	}
	for (u32 i = 0; i < n; i++) {
		u32 l = length[i];
		if (!l) continue;
		c->symbol[at[l]++] = i;
		u32 v = next[l]++, reversed = 0;
		if (l > FAST) continue;
		for (u32 k = 0; k < l; k++) reversed |= (v >> k & 1) << (l - 1 - k);
		for (u32 k = reversed; k < 1 << FAST; k += 1u << l) c->fast[k] = i << 4 | l;
	}
	return 1;
}

// symbol_of reads a symbol, -1 where there is none.
static inline int symbol_of(const struct code *c) {
	refill();
	u32 e = c->fast[bits & ((1 << FAST) - 1)];
	if (e) {
		u32 l = e & 15;
		if (l > bits_n) return -1;
		bits >>= l, bits_n -= l;
		return e >> 4;
	}
	int code = 0, first = 0, index = 0;
	for (u32 l = 1; l < 16 && l <= bits_n; l++) {
		code |= bits >> (l - 1) & 1;
		int count = c->count[l];
		if (code - first < count) {
			bits >>= l, bits_n -= l;
			return c->symbol[index + code - first];
		}
		index += count, first = (first + count) << 1, code <<= 1;
	}
	return -1;
}

// emit appends a byte; each half of the window goes on when it is full.
static inline int emit(u8 v) {
	window[out_n++ & 0xffff] = v;
	return out_n & 0x7fff ? 1 : rows(window + ((out_n - 0x8000) & 0xffff), 0x8000);
}

// repeat appends n bytes from distance back, which may be its own.
static int repeat(u32 n, u32 distance) {
	while (n) {
		u32 part = 0x8000 - (out_n & 0x7fff), to = out_n & 0xffff; // up to the next half
		if (part > n) part = n;
		for (u32 i = 0; i < part; i++, to++) window[to] = window[(to - distance) & 0xffff];
		n -= part, out_n += part;
		if (!(out_n & 0x7fff) && !rows(window + ((out_n - 0x8000) & 0xffff), 0x8000)) return 0;
	}
	return 1;
}

static int dynamic_codes(void) {
	static const u8 order[19] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
	int nl = take(5), nd = take(5), nc = take(4);
	if (nl < 0 || nd < 0 || nc < 0 || nl > 29 || nd > 29) return 0;
	nl += 257, nd += 1, nc += 4;
	FILL(lengths, 0, sizeof lengths);
	for (int i = 0; i < nc; i++) {
		int l = take(3);
		if (l < 0) return 0;
		lengths[order[i]] = l;
	}
	if (!code_of(&literals, lengths, 19)) return 0;
	for (int i = 0; i < nl + nd;) {
		int s = symbol_of(&literals), v = 0, times = 1;
		if (s < 0) return 0;
		if (s < 16)
			v = s;
		else if (s == 16) {
			if (i == 0) return 0;
			v = lengths[i - 1], times = take(2) + 3;
		} else
			times = s == 17 ? take(3) + 3 : take(7) + 11;
		if (times > nl + nd - i) return 0;
		while (times-- > 0) lengths[i++] = v;
	}
	return code_of(&literals, lengths, nl) && code_of(&distances, lengths + nl, nd);
}

static int stored_block(void) {
	take(bits_n & 7);
	int n = take(16), inverse = take(16);
	if (n < 0 || inverse < 0 || (n ^ inverse) != 0xffff) return 0;
	while (n-- > 0) {
		int v = take(8);
		if (v < 0 || !emit(v)) return 0;
	}
	return 1;
}

static int coded_block(void) {
	while (src_y < src_h) {
		int s = symbol_of(&literals);
		if (s < 0 || s > 285) return 0;
		if (s < 256) {
			if (!emit(s)) return 0;
			continue;
		}
		if (s == 256) return 1;
		s -= 257;
		u32 extra = s < 4 || s == 28 ? 0 : (s >> 2) - 1;
		u32 n = s < 4 ? s + 3 : s == 28 ? 258 : ((4 + (s & 3)) << extra) + 3;
		int more = take(extra);
		if (more < 0) return 0;
		n += more;
		s = symbol_of(&distances);
		if (s < 0 || s > 29) return 0;
		extra = s < 2 ? 0 : (s >> 1) - 1;
		u32 distance = s < 2 ? s + 1 : ((2 + (s & 1)) << extra) + 1;
		more = take(extra);
		if (more < 0) return 0;
		distance += more;
		if (distance > out_n) return 0;
		if (!repeat(n, distance)) return 0;
	}
	return 1;
}

// inflate reads a zlib stream until the picture is complete. Its checksum is not looked
// at: those of the chunks cover the same bytes.
static int inflate(const u8 *p, u32 n) {
	if (n < 2 || (p[0] & 15) != 8 || p[0] >> 4 > 7 || (p[0] << 8 | p[1]) % 31 || p[1] & 32) return 0;
	in = p + 2, in_end = p + n, bits = bits_n = out_n = 0;
	for (int last = 0; !last && src_y < src_h;) {
		last = take(1);
		int ok = 0;
		switch (last < 0 ? -1 : take(2)) {
		case 0: ok = stored_block(); break;
		case 1:
			for (u32 i = 0; i < 288; i++) lengths[i] = i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8;
			FILL(lengths + 288, 5, 30);
			ok = code_of(&literals, lengths, 288) && code_of(&distances, lengths + 288, 30) && coded_block();
			break;
		case 2: ok = dynamic_codes() && coded_block();
		}
		if (!ok) return 0;
	}
	u32 rest = out_n & 0x7fff; // what emit has not passed on yet
	if (!rows(window + ((out_n - rest) & 0xffff), rest)) return 0;
	return src_y == src_h;
}
