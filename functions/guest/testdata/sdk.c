// What perto.h has, as one guest that a test asks.
#include "../c/perto.h"

static int is(str uri, str wanted) { return str_eq(path(uri), wanted); }

HANDLE_REQUEST {
	int found;
	str uri = get_uri(), t;
	http_enable_features(BUFFER_REQUEST | BUFFER_RESPONSE);
	if (is(uri, S("/pass"))) {
		remove_header(REQUEST, S("Range"));
		add_header(REQUEST, S("X-Guest"), get_method());
		return PASS_WITH(7);
	}
	if (is(uri, S("/query"))) {
		str v = query(uri, S("v"), &found);
		t = text_begin();
		put_number(&t, (u64)found);
		put_char(&t, ' ');
		put_html(&t, v);
	} else if (is(uri, S("/json"))) {
		str v = query(uri, S("v"), 0);
		t = text_begin();
		put_json(&t, v);
	} else if (is(uri, S("/cookie"))) {
		str v = cookie(S("name"), &found);
		t = text_begin();
		put_number(&t, (u64)found);
		put_char(&t, ' ');
		put(&t, v);
	} else if (is(uri, S("/headers"))) {
		t = get_headers(REQUEST, S("X-Two"));
		for (u32 i = 0; i < t.len; i++)
			if (t.at[i] == 0) *(char *)&t.at[i] = '|';
	} else if (is(uri, S("/body"))) {
		t = read_body(REQUEST);
	} else if (is(uri, S("/from"))) {
		t = get_source_addr();
	} else if (is(uri, S("/numbers"))) {
		t = text_begin();
		put_number(&t, ~0ull);
		put_char(&t, ' ');
		put_number(&t, str_number(S("000123"), 9));
		put_number(&t, str_number(S("12x"), 9));
		put_number(&t, str_number(S("9999999999"), 9));
	} else if (is(uri, S("/memory"))) { // by functions that are not built into the compiler
		void *(*volatile move)(void *, const void *, unsigned long) = memmove;
		int (*volatile compare)(const void *, const void *, unsigned long) = memcmp;
		char b[9] = "12345678";
		move(b + 2, b, 6);
		int up = str_eq((str){b, 8}, S("12123456"));
		move(b, b + 2, 6);
		int down = str_eq((str){b, 8}, S("12345656"));
		t = text_begin();
		put_number(&t, (u64)(up && down && compare("a", "b", 1) < 0 && compare("\xff", "a", 1) > 0 && compare("ax", "ay", 1) == 0));
	} else {
		http_set_status(404);
		t = S("");
	}
	write_body(t);
	return ANSWERED;
}

HANDLE_RESPONSE(token, failed) {
	perto_begin();
	str body = read_body(RESPONSE), t = text_begin();
	put_number(&t, token);
	put_char(&t, failed ? '!' : ' ');
	put(&t, body);
	write_body(t);
}
