// crypto.h: base64, SHA-256 and HMAC for C guests: signed URLs, cookies and tokens.
#pragma once

#include "perto.h"

static inline void perto_base64(str *t, str s, const char *digits, int padded) {
	for (u32 i = 0; i < s.len; i += 3) {
		u32 n = s.len - i < 3 ? s.len - i : 3, v = 0;
		for (u32 k = 0; k < 3; k++) v = v << 8 | (k < n ? (u8)s.at[i + k] : 0);
		for (u32 k = 0; k < 4; k++) {
			if (k <= n) put_char(t, digits[v >> (18 - 6 * k) & 63]);
			else if (padded) put_char(t, '=');
		}
	}
}

// put_base64 encodes by RFC 4648, section 4. put_base64url encodes by section 5, without
// padding, as JSON web tokens need.
static inline void put_base64(str *t, str s) { perto_base64(t, s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", 1); }
static inline void put_base64url(str *t, str s) { perto_base64(t, s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", 0); }

static inline i32 perto_base64_digit(char c) {
	if (c >= 'A' && c <= 'Z') return c - 'A';
	if (c >= 'a' && c <= 'z') return c - 'a' + 26;
	if (c >= '0' && c <= '9') return c - '0' + 52;
	if (c == '+' || c == '-') return 62;
	if (c == '/' || c == '_') return 63;
	return -1;
}

// base64 decodes both alphabets, with or without padding. ok may be null. It is 0 when
// the text is not base64 or has extra bits at its end.
static inline str base64(str s, int *ok) {
	str t = text_begin();
	u32 v = 0, bits = 0, pads = 0, digits;
	if (ok) *ok = 0;
	while (pads < 2 && s.len && s.at[s.len - 1] == '=') s.len--, pads++;
	digits = s.len % 4;
	if (digits == 1 || (pads && digits + pads != 4)) return (str){t.at, 0};
	for (u32 i = 0; i < s.len; i++) {
		i32 d = perto_base64_digit(s.at[i]);
		if (d < 0) return (str){t.at, 0};
		v = v << 6 | (u32)d, bits += 6;
		if (bits >= 8) {
			bits -= 8;
			put_char(&t, (char)(v >> bits));
			v &= (1u << bits) - 1;
		}
	}
	if (v) return (str){t.at, 0};
	if (ok) *ok = 1;
	return t;
}

// sha256_state is the state of a digest.
typedef struct {
	u32 h[8];
	u8 block[64];
	u64 len;
} sha256_state;

static inline u32 perto_rotated(u32 v, u32 n) { return v >> n | v << (32 - n); }

static inline void perto_sha256_block(sha256_state *s) {
	static const u32 k[64] = {
		0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
		0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
		0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
		0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
		0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
		0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
	u32 w[64], v[8];
	for (u32 i = 0; i < 16; i++) w[i] = (u32)s->block[4 * i] << 24 | (u32)s->block[4 * i + 1] << 16 | (u32)s->block[4 * i + 2] << 8 | s->block[4 * i + 3];
	for (u32 i = 16; i < 64; i++) {
		u32 a = perto_rotated(w[i - 15], 7) ^ perto_rotated(w[i - 15], 18) ^ w[i - 15] >> 3;
		u32 b = perto_rotated(w[i - 2], 17) ^ perto_rotated(w[i - 2], 19) ^ w[i - 2] >> 10;
		w[i] = w[i - 16] + a + w[i - 7] + b;
	}
	for (u32 i = 0; i < 8; i++) v[i] = s->h[i];
	for (u32 i = 0; i < 64; i++) {
		u32 a = v[7] + (perto_rotated(v[4], 6) ^ perto_rotated(v[4], 11) ^ perto_rotated(v[4], 25)) + ((v[4] & v[5]) ^ (~v[4] & v[6])) + k[i] + w[i];
		u32 b = (perto_rotated(v[0], 2) ^ perto_rotated(v[0], 13) ^ perto_rotated(v[0], 22)) + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
		v[7] = v[6], v[6] = v[5], v[5] = v[4], v[4] = v[3] + a, v[3] = v[2], v[2] = v[1], v[1] = v[0], v[0] = a + b;
	}
	for (u32 i = 0; i < 8; i++) s->h[i] += v[i];
}

static inline void sha256_begin(sha256_state *s) {
	static const u32 h[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
	for (u32 i = 0; i < 8; i++) s->h[i] = h[i];
	s->len = 0;
}
static inline void sha256_add(sha256_state *s, const void *at, u32 len) {
	const u8 *p = at;
	for (u32 i = 0; i < len; i++) {
		s->block[s->len++ & 63] = p[i];
		if ((s->len & 63) == 0) perto_sha256_block(s);
	}
}
static inline void sha256_end(sha256_state *s, u8 out[32]) {
	u64 bits = s->len * 8;
	u8 size[8], one = 0x80, zero = 0;
	for (u32 i = 0; i < 8; i++) size[i] = (u8)(bits >> (56 - 8 * i));
	sha256_add(s, &one, 1);
	while ((s->len & 63) != 56) sha256_add(s, &zero, 1);
	sha256_add(s, size, 8);
	for (u32 i = 0; i < 32; i++) out[i] = (u8)(s->h[i / 4] >> (24 - 8 * (i % 4)));
}

// sha256 computes the digest of a text (FIPS 180-4), hmac_sha256 its authentication code
// with a key (RFC 2104).
static inline void sha256(u8 out[32], str s) {
	sha256_state d;
	sha256_begin(&d);
	sha256_add(&d, s.at, s.len);
	sha256_end(&d, out);
}
static inline void hmac_sha256(u8 out[32], str key, str s) {
	u8 k[64] = {0}, pad[64];
	sha256_state d;
	if (key.len > 64) sha256(k, key);
	else
		for (u32 i = 0; i < key.len; i++) k[i] = (u8)key.at[i];
	for (u32 i = 0; i < 64; i++) pad[i] = k[i] ^ 0x36;
	sha256_begin(&d);
	sha256_add(&d, pad, 64);
	sha256_add(&d, s.at, s.len);
	sha256_end(&d, out);
	for (u32 i = 0; i < 64; i++) pad[i] = k[i] ^ 0x5c;
	sha256_begin(&d);
	sha256_add(&d, pad, 64);
	sha256_add(&d, out, 32);
	sha256_end(&d, out);
}

// same compares two codes in constant time.
static inline int same(str a, str b) {
	u8 differ = a.len != b.len;
	for (u32 i = 0; i < a.len && i < b.len; i++) differ |= (u8)(a.at[i] ^ b.at[i]);
	return differ == 0;
}
