// Part of thumbnail.c: deflate (RFC 1951) of raw[0:raw_n], appended to file: LZ77 by
// chains of what begins alike, and for each block of tokens a Huffman code of its own.

static int full; // the thumbnail would be too large

static void byte_out(u32 v) {
	if (file_n == MOST_BYTES)
		full = 1;
	else
		file[file_n++] = v;
}

static void bits_out(u32 v, u32 n) {
	bits |= (u64)v << bits_n, bits_n += n;
	for (; bits_n >= 8; bits >>= 8, bits_n -= 8) byte_out(bits & 255);
}

// alphabet is a set of symbols, how often each is used, and its code.
struct alphabet {
	u32 n, most; // longest code
	u32 used[288];
	u8 length[288];
	u16 code[288]; // with its first bit lowest
};
static struct alphabet letters, reaches, counts;

// lengths_of finds the lengths of a Huffman code, in place after Moffat and Katajainen
// (1995), and bends what is too long.
static void lengths_of(struct alphabet *a) {
	static u16 sorted[288];
	static u32 w[288]; // weights, then parents, then depths
	u32 many[33] = {0};
	int n = 0;
	for (u32 i = 0; i < a->n; i++)
		if (a->used[i]) n++;
	for (u32 i = 0; n < 2; i++) // a code of one symbol has readers that do not like it
		if (!a->used[i]) a->used[i] = 1, n++;
	n = 0;
	for (u32 i = 0; i < a->n; i++) {
		if (!a->used[i]) continue;
		int k = n++;
		for (; k > 0 && w[k - 1] > a->used[i]; k--) w[k] = w[k - 1], sorted[k] = sorted[k - 1];
		w[k] = a->used[i], sorted[k] = i;
	}
	w[0] += w[1];
	int root = 0, leaf = 2, next = 1;
	for (; next < n - 1; next++) {
		if (leaf >= n || w[root] < w[leaf])
			w[next] = w[root], w[root++] = next;
		else
			w[next] = w[leaf++];
		if (leaf >= n || (root < next && w[root] < w[leaf]))
			w[next] += w[root], w[root++] = next;
		else
			w[next] += w[leaf++];
	}
	w[n - 2] = 0;
	for (next = n - 3; next >= 0; next--) w[next] = w[w[next]] + 1;
	int open = 1, inner = 0, level = 0;
	for (root = n - 2, next = n - 1; open > 0;) {
		for (inner = 0; root >= 0 && (int)w[root] == level; root--) inner++;
		for (; open > inner; open--, next--) many[level < 32 ? level : 32]++;
		open = 2 * inner, level++;
	}
	// Codes that are too long become as long as may be; for each that then has no room
	// a shorter one gives up its place and becomes two of the next length.
	u32 room = 0, l;
	for (l = a->most + 1; l <= 32; l++) many[a->most] += many[l];
	for (l = 1; l <= a->most; l++) room += many[l] << (a->most - l);
	for (; room > 1u << a->most; room--) {
		many[a->most]--;
		for (l = a->most - 1; l > 0 && !many[l]; l--) {}
		many[l]--, many[l + 1] += 2;
	}
	FILL(a->length, 0, sizeof a->length);
	int at = n;
	for (l = 1; l <= a->most; l++)
		for (u32 k = many[l]; k > 0; k--) a->length[sorted[--at]] = l;
}

static void make_code(struct alphabet *a) {
	lengths_of(a);
	u32 code = 0;
	for (u32 l = 1; l <= a->most; l++, code <<= 1)
		for (u32 i = 0; i < a->n; i++) {
			if (a->length[i] != l) continue;
			u32 reversed = 0;
			for (u32 k = 0; k < l; k++) reversed |= (code >> k & 1) << (l - 1 - k);
			a->code[i] = reversed, code++;
		}
}

static void symbol_out(const struct alphabet *a, u32 s) { bits_out(a->code[s], a->length[s]); }

// A token is a literal, or TWIN with the length of what is repeated, less 3, and how
// far back it is, less 1.
#define TWIN (1u << 31)
enum { BLOCK = 1 << 14 };
static u32 tokens[BLOCK], tokens_n;

static u32 log2_of(u32 v) { return 31 - __builtin_clz(v); }

// letter is the symbol of a length, reach that of a distance; *extra is how many of
// its low bits follow.
static u32 letter(u32 n, u32 *extra) {
	*extra = n < 8 || n == 255 ? 0 : log2_of(n) - 2;
	return n == 255 ? 285 : n < 8 ? 257 + n : 257 + 4 * (log2_of(n) - 1) + (n >> *extra & 3);
}

static u32 reach(u32 d, u32 *extra) {
	*extra = d < 4 ? 0 : log2_of(d) - 1;
	return d < 4 ? d : 2 * log2_of(d) + (d >> *extra & 1);
}

// codes_out writes the lengths of both codes. Runs are said in short.
static void codes_out(void) {
	static u16 runs[288 + 32]; // symbol, and above it what follows
	static const u8 order[19] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
	u32 n = 286 + 30, runs_n = 0, most = 19;
	COPY(lengths, letters.length, 286);
	COPY(lengths + 286, reaches.length, 30);
	FILL(counts.used, 0, sizeof counts.used);
	for (u32 i = 0; i < n;) {
		u32 same = 1, v = lengths[i], s = v, more = 0;
		while (i + same < n && lengths[i + same] == v && same < 138) same++;
		if (v == 0 && same >= 11)
			s = 18, more = same - 11;
		else if (v == 0 && same >= 3)
			s = 17, more = same - 3;
		else if (v && i && lengths[i - 1] == v && same >= 3)
			same = same < 6 ? same : 6, s = 16, more = same - 3;
		else
			same = 1;
		runs[runs_n++] = more << 8 | s, counts.used[s]++, i += same;
	}
	counts.n = 19, counts.most = 7;
	make_code(&counts);
	while (most > 4 && !counts.length[order[most - 1]]) most--;
	bits_out(286 - 257, 5), bits_out(30 - 1, 5), bits_out(most - 4, 4);
	for (u32 i = 0; i < most; i++) bits_out(counts.length[order[i]], 3);
	for (u32 i = 0; i < runs_n; i++) {
		u32 s = runs[i] & 255;
		symbol_out(&counts, s);
		if (s >= 16) bits_out(runs[i] >> 8, s == 16 ? 2 : s == 17 ? 3 : 7);
	}
}

static void block_out(int last) {
	u32 extra;
	FILL(letters.used, 0, sizeof letters.used);
	FILL(reaches.used, 0, sizeof reaches.used);
	letters.n = 286, reaches.n = 30, letters.most = reaches.most = 15;
	for (u32 i = 0; i < tokens_n; i++) {
		u32 t = tokens[i];
		if (t & TWIN)
			letters.used[letter(t >> 16 & 255, &extra)]++, reaches.used[reach(t & 0x7fff, &extra)]++;
		else
			letters.used[t]++;
	}
	letters.used[256] = 1; // the end
	make_code(&letters), make_code(&reaches);
	bits_out(last | 2 << 1, 3);
	codes_out();
	for (u32 i = 0; i < tokens_n && !full; i++) {
		u32 t = tokens[i];
		if (!(t & TWIN)) {
			symbol_out(&letters, t);
			continue;
		}
		u32 n = t >> 16 & 255, d = t & 0x7fff;
		symbol_out(&letters, letter(n, &extra)), bits_out(n & ((1u << extra) - 1), extra);
		symbol_out(&reaches, reach(d, &extra)), bits_out(d & ((1u << extra) - 1), extra);
	}
	symbol_out(&letters, 256);
	tokens_n = 0;
}

static void token(u32 t) {
	if (tokens_n == BLOCK) block_out(0);
	tokens[tokens_n++] = t;
}

// Strings of three bytes are not looked for: in filtered pictures they cost as much as
// they save, and a chain of four is shorter.
enum { LEAST = 4, HEADS = 1 << 14, BACK = 1 << 15, TRIES = 24, GOOD = 64 };
static u32 heads[HEADS], chain[BACK]; // positions + 1 that begin alike; 0: no more

static u32 hash(const u8 *p) { return get32(p) * 0x9e3779b1u >> 18; }

static void learn(u32 at) {
	if (at + LEAST > raw_n) return;
	u32 *head = &heads[hash(raw + at)];
	chain[at % BACK] = *head, *head = at + 1;
}

// twin finds the longest string before at that goes on as at does.
static u32 twin(u32 at, u32 *distance) {
	u32 most = raw_n - at < 258 ? raw_n - at : 258, best = 0;
	if (most < LEAST) return 0;
	u32 c = heads[hash(raw + at)];
	for (u32 i = 0; i < TRIES && c && at - (c - 1) < BACK; i++, c = chain[(c - 1) % BACK]) {
		const u8 *p = raw + c - 1, *q = raw + at;
		if (best && p[best] != q[best]) continue; // best < most
		u32 n = 0;
		while (n < most && p[n] == q[n]) n++;
		if (n <= best || n < LEAST) continue;
		best = n, *distance = at - (c - 1);
		if (n == most || n >= GOOD) break;
	}
	return best;
}

// deflate writes raw. A match waits for whether the next byte begins a longer one.
static void deflate(void) {
	u32 held = 0, held_n = 0, held_d = 0, at = 0;
	FILL(heads, 0, sizeof heads);
	bits = bits_n = tokens_n = 0;
	while (at < raw_n && !full) {
		u32 d = 0, n = held_n >= GOOD ? 0 : twin(at, &d);
		learn(at);
		if (held_n && held_n >= n) {
			token(TWIN | (held_n - 3) << 16 | (held_d - 1));
			u32 end = at - 1 + held_n;
			while (++at < end) learn(at);
			held = held_n = 0;
			continue;
		}
		if (held) token(raw[at - 1]);
		held = 1, held_n = n, held_d = d, at++;
	}
	if (held && !full) token(raw[at - 1]);
	block_out(1);
	if (bits_n) bits_out(0, 8 - bits_n);
}
