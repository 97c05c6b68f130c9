// A guest that uses all of crypto.h, for TestCryptoOfC. The target selects the operation
// on the body.
#include "crypto.h"

static str hex(u8 *p, u32 n) {
	str t = text_begin();
	for (u32 i = 0; i < n; i++) {
		put_char(&t, "0123456789abcdef"[p[i] >> 4]);
		put_char(&t, "0123456789abcdef"[p[i] & 15]);
	}
	return t;
}

HANDLE_REQUEST {
	str uri = get_uri(), b = read_body(REQUEST), t = text_begin();
	u8 out[32];
	int ok;
	if (str_eq(uri, S("/url"))) put_url(&t, b);
	else if (str_eq(uri, S("/base64"))) put_base64(&t, b);
	else if (str_eq(uri, S("/base64url"))) put_base64url(&t, b);
	else if (str_eq(uri, S("/decode"))) {
		t = base64(b, &ok);
		if (!ok) http_set_status(400);
	} else if (str_eq(uri, S("/sha256"))) {
		sha256(out, b);
		t = hex(out, 32);
	} else if (str_starts(uri, S("/hmac/"))) { // the key has as many bytes
		u32 n = str_number(str_from(uri, 6), 0);
		hmac_sha256(out, str_to(b, n), str_from(b, n));
		t = hex(out, 32);
	} else if (str_starts(uri, S("/same/"))) {
		u32 n = str_number(str_from(uri, 6), 0);
		t = same(str_to(b, n), str_from(b, n)) ? S("same") : S("other");
	}
	write_body(t);
	return ANSWERED;
}

HANDLE_RESPONSE(token, failed) {}
