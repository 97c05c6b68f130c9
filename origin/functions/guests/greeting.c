// The greeting on every page. It differs for each person, so no cache can store it. It
// needs no data of the origin. Path /greeting, cookie name=...
#include "perto.h"

HANDLE_REQUEST {
	str name = cookie(S("name"), 0);
	if (name.len == 0) name = S("you");
	str info = edge_info();
	str ran = text_begin();
	put(&ran, json_text(info, S("name")));
	put(&ran, S(" ("));
	put(&ran, json_text(info, S("placement")));
	put(&ran, S(")"));
	set_header(RESPONSE, S("Content-Type"), S("text/html; charset=utf-8"));
	set_header(RESPONSE, S("Cache-Control"), S("private, no-store"));
	set_header(RESPONSE, S("Vary"), S("Cookie"));
	set_header(RESPONSE, S("X-Ran-At"), ran);
	str t = text_begin();
	put(&t, S("<p>Good to see "));
	put_html(&t, name);
	put(&t, S(".</p>\n"));
	write_body(t);
	return ANSWERED;
}

HANDLE_RESPONSE(token, failed) {}
