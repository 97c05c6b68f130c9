// A guest that uses all of perto.h, for TestBindings.
#include "perto.h"

static int is(str uri, str wanted) { return str_eq(path(uri), wanted); }

HANDLE_REQUEST {
	int found;
	str uri = get_uri(), t;
	http_enable_features(BUFFER_REQUEST | BUFFER_RESPONSE);
	if (uri.len > 8 << 10) {
		str h = get_header(REQUEST, S("X-Long"));
		t = text_begin();
		put_number(&t, uri.len);
		put_char(&t, ' ');
		put_number(&t, h.len);
		write_body(t);
		return ANSWERED;
	}
	if (is(uri, S("/pass"))) {
		remove_header(REQUEST, S("Range"));
		add_header(REQUEST, S("X-Guest"), get_method());
		http_set_uri("/passed", 7);
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
		str a = get_header(REQUEST, S("X-Two")), none = get_header(REQUEST, S("X-None"));
		t = text_begin();
		put(&t, a);
		put_char(&t, '|');
		put(&t, none);
		put_char(&t, '|');
	} else if (is(uri, S("/all"))) {
		t = get_headers(REQUEST, S("X-Two"));
		for (u32 i = 0; i < t.len; i++)
			if (t.at[i] == 0) *(char *)&t.at[i] = '|';
	} else if (is(uri, S("/body"))) {
		t = read_body(REQUEST);
	} else if (is(uri, S("/from"))) {
		t = get_source_addr();
	} else if (is(uri, S("/kv"))) {
		str keys[] = {S("a"), S("empty"), S("none")}, v[3];
		int was[3];
		for (u32 i = 0; i < 3; i++) v[i] = kv(keys[i], &was[i]);
		t = text_begin();
		for (u32 i = 0; i < 3; i++) {
			put(&t, v[i]);
			put(&t, was[i] ? S(" true|") : S(" false|"));
		}
	} else if (is(uri, S("/info"))) {
		write_body(edge_info());
		write_body(client_info());
		t = perto_now() > 1000000000000000000 ? S("true") : S("false");
	} else if (is(uri, S("/fetch"))) {
		i32 status = fetch(S("/other"));
		str b = fetched();
		t = text_begin();
		put_number(&t, (u64)status);
		put_char(&t, ' ');
		put(&t, b);
		put(&t, fetch(S("no-path")) == -1 ? S("|-1 |") : S("?"));
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
	put(&t, failed ? S("true ") : S("false "));
	put_number(&t, http_get_status());
	put_char(&t, ' ');
	put(&t, body);
	write_body(t);
	if (token != 7) http_set_status(500);
}
