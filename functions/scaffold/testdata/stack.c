// Reads the body into static memory, uses as many bytes of stack as the target says, and
// responds with the body.
#include "perto.h"

static void fill(u32 n, u32 *sum) {
	volatile char here[1000];
	for (u32 i = 0; i < sizeof here; i++) here[i] = 'x';
	if (n > sizeof here) fill(n - sizeof here, sum);
	*sum += here[n % sizeof here];
}

HANDLE_REQUEST {
	str uri = get_uri();
	str body = read_body(REQUEST);
	u32 sum = 0;
	fill(str_number(str_from(uri, 1), 0), &sum);
	write_body(sum ? body : S("nothing"));
	return ANSWERED;
}

HANDLE_RESPONSE(token, failed) {}
