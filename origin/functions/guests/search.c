// Search in the catalogue, which is a data segment of the module: /search?q=...
// A product matches when it has every word of the query, as a word or as the beginning
// of a word. Case and accents do not matter. A match in the name scores more than one in
// the description, and a whole word more than a beginning.
#include "perto.h"
#include "catalogue.h"

enum { MAX_WORDS = 8, LONGEST = 200, LONGEST_URI = 8 << 10, MOST = 50, USUAL = 10 };

// fold converts a letter of Latin-1 (in UTF-8) to lower case without accent. Characters
// between words become 0. It returns the number of bytes read.
static u32 fold(const char *s, u32 len, char *out) {
	static const char latin[64] = "aaaaaaaceeeeiiiidnooooo ouuuuypsaaaaaaaceeeeiiiidnooooo ouuuuypy"; // U+00C0 to U+00FF
	u8 c = (u8)s[0];
	if (c >= 'A' && c <= 'Z') c |= 32;
	if (c < 0x80) {
		*out = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ? (char)c : 0;
		return 1;
	}
	if (c == 0xc3 && len > 1 && ((u8)s[1] & 0xc0) == 0x80) {
		char l = latin[(u8)s[1] & 0x3f];
		*out = l == ' ' ? 0 : l;
		return 2;
	}
	*out = 0;
	return 1;
}

// fold_text folds a text into the arena.
static str fold_text(const char *s, u32 len) {
	str t = text_begin();
	for (u32 i = 0; i < len;) {
		char c;
		i += fold(s + i, len - i, &c);
		put_char(&t, c ? c : ' ');
	}
	return t;
}

// score_in returns the score of a word in a folded text; 0: no match.
static u32 score_in(str text, str word) {
	u32 best = 0;
	for (u32 i = 0; i + word.len <= text.len; i++) {
		if (i && text.at[i - 1] != ' ') continue;
		if (!str_starts(str_from(text, i), word)) continue;
		u32 end = i + word.len;
		u32 s = end == text.len || text.at[end] == ' ' ? 3 : 1;
		if (s > best) best = s;
	}
	return best;
}

HANDLE_REQUEST {
	str uri = get_uri();
	if (uri.len == 0 || uri.len > LONGEST_URI) { // 0: it is longer than the arena
		http_set_status(414);
		return ANSWERED;
	}
	str asked = query(uri, S("q"), 0);
	if (asked.len > LONGEST)
		for (asked.len = LONGEST; asked.len && ((u8)asked.at[asked.len] & 0xc0) == 0x80;) asked.len--; // do not cut a character
	u32 most = str_number(query(uri, S("n"), 0), USUAL);
	if (most > MOST) most = MOST;
	str q = fold_text(asked.at, asked.len), words[MAX_WORDS];
	u32 n = 0;
	for (u32 i = 0; i < q.len && n < MAX_WORDS;) {
		if (q.at[i] == ' ') {
			i++;
			continue;
		}
		words[n] = str_to(str_from(q, i), str_find(str_from(q, i), ' '));
		i += words[n++].len;
	}
	static u16 score[CATALOGUE_LEN];
	u32 total = 0;
	for (u32 i = 0; i < CATALOGUE_LEN; i++) {
		u32 mark = perto_used; // the folded texts are freed at the end of this round
		str name = fold_text(catalogue[i].name, catalogue[i].name_len), about = fold_text(catalogue[i].about, catalogue[i].about_len);
		u32 sum = 0;
		for (u32 w = 0; w < n; w++) {
			u32 s = 4 * score_in(name, words[w]) + score_in(about, words[w]);
			if (s == 0) {
				sum = 0;
				break;
			}
			sum += s;
		}
		score[i] = (u16)sum;
		total += sum > 0;
		perto_used = mark;
	}
	set_header(RESPONSE, S("Content-Type"), S("application/json"));
	set_header(RESPONSE, S("Cache-Control"), S("public, max-age=60"));
	set_header(RESPONSE, S("X-Ran-At"), json_text(edge_info(), S("name")));
	str t = text_begin();
	put(&t, S("{\"query\":\""));
	put_json(&t, asked);
	put(&t, S("\",\"total\":"));
	put_number(&t, total);
	put(&t, S(",\"results\":["));
	for (u32 k = 0; k < most; k++) {
		u32 best = 0;
		for (u32 i = 1; i < CATALOGUE_LEN; i++)
			if (score[i] > score[best]) best = i; // the first of equal scores
		if (score[best] == 0) break;
		if (k) put_char(&t, ',');
		put(&t, S("\n{\"id\":"));
		put_number(&t, best + 1);
		put(&t, S(",\"name\":\""));
		put_json(&t, (str){catalogue[best].name, catalogue[best].name_len});
		put(&t, S("\",\"score\":"));
		put_number(&t, score[best]);
		put(&t, S(",\"price_cents\":"));
		put_number(&t, catalogue[best].cents);
		put_char(&t, '}');
		score[best] = 0;
	}
	put(&t, S("]}\n"));
	write_body(t);
	return ANSWERED;
}

HANDLE_RESPONSE(token, failed) {}
