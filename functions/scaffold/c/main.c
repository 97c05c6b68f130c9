// FUNCTION responds with a greeting. perto.h has the functions of the host.
#include "perto.h"

HANDLE_REQUEST {
	str name = query(get_uri(), S("name"), 0);
	if (name.len == 0) name = S("world");
	str t = text_begin();
	put(&t, S("Hello, "));
	put_html(&t, name);
	put(&t, S("!\n"));
	set_header(RESPONSE, S("Content-Type"), S("text/html; charset=utf-8"));
	set_header(RESPONSE, S("Cache-Control"), S("no-store"));
	write_body(t);
	return ANSWERED; // PASS lets the cache and the origin respond
}

// HANDLE_RESPONSE runs after PASS. It can read and change the response.
HANDLE_RESPONSE(token, failed) {}
