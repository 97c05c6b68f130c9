// Prices in the client's currency: /prices, for the country of its address, or for
// ?country=XX. The function's data may have a rate for each country, in units for a
// dollar ("BRL 5.40"). The table in this file has default rates.
#include "perto.h"
#include "catalogue.h"

static const struct {
	char country[2], currency[3];
	u32 rate; // in ten-thousandths
} rates[] = {
	{"US", "USD", 10000}, {"BR", "BRL", 54000}, {"AR", "ARS", 14250000}, {"CL", "CLP", 9500000}, {"CO", "COP", 41000000},
	{"MX", "MXN", 185000}, {"CA", "CAD", 13900}, {"GB", "GBP", 7700}, {"PT", "EUR", 9200}, {"ES", "EUR", 9200},
	{"FR", "EUR", 9200}, {"DE", "EUR", 9200}, {"IT", "EUR", 9200}, {"NL", "EUR", 9200}, {"IE", "EUR", 9200},
	{"CH", "CHF", 8800}, {"SE", "SEK", 106000}, {"PL", "PLN", 39500}, {"TR", "TRY", 420000}, {"ZA", "ZAR", 181000},
	{"NG", "NGN", 15500000}, {"KE", "KES", 1290000}, {"EG", "EGP", 490000}, {"IN", "INR", 850000}, {"CN", "CNY", 71500},
	{"JP", "JPY", 1510000}, {"KR", "KRW", 13900000}, {"SG", "SGD", 13300}, {"ID", "IDR", 160000000}, {"AU", "AUD", 15300},
};

enum {
	MOST_RATE = 10000000, // units for a dollar: products of prices stay within 64 bits
	LONGEST_URI = 8 << 10,
};

// rate_of returns a country's currency and rate: from the data, from the table, or dollars.
static u64 rate_of(str country, str *currency) {
	int found;
	str v = kv(country, &found);
	if (found && v.len >= 5 && v.at[3] == ' ') {
		u64 whole = 0, part = 0;
		u32 digits = 0, dot = 0, ok = 1;
		for (u32 i = 4; i < v.len; i++) {
			char c = v.at[i];
			if (c == '.' && !dot) dot = 1;
			else if (c < '0' || c > '9' || whole > MOST_RATE / 10) ok = 0;
			else if (!dot) whole = whole * 10 + (u64)(c - '0');
			else if (digits < 4) part = part * 10 + (u64)(c - '0'), digits++;
		}
		for (; digits < 4; digits++) part *= 10;
		if (ok && (whole || part)) {
			*currency = str_to(v, 3);
			return whole * 10000 + part;
		}
		log_line(LOG_WARN, S("a rate of the function's data cannot be read"));
	}
	for (u32 i = 0; i < sizeof rates / sizeof rates[0]; i++)
		if (country.len == 2 && rates[i].country[0] == country.at[0] && rates[i].country[1] == country.at[1]) {
			*currency = (str){rates[i].currency, 3};
			return rates[i].rate;
		}
	*currency = S("USD");
	return 10000;
}

// price rounds to common prices: 0.90, 9.90, 45, 450, 4,500.
static u64 price(u64 cents, u64 rate) {
	u64 v = (cents * rate + 5000) / 10000, step = 1;
	while (step * 500 < v) step *= 10;
	return (v + step / 2) / step * step;
}

HANDLE_REQUEST {
	int asked;
	str uri = get_uri();
	if (uri.len == 0 || uri.len > LONGEST_URI) { // 0: it is longer than the arena
		http_set_status(414);
		return ANSWERED;
	}
	str country = query(uri, S("country"), &asked);
	if (asked && country.len != 2) country.len = 0; // not a country
	if (!asked) country = json_text(client_info(), S("country"));
	str currency;
	u64 rate = rate_of(country, &currency);
	str ran = json_text(edge_info(), S("name"));
	set_header(RESPONSE, S("Content-Type"), S("application/json"));
	set_header(RESPONSE, S("Cache-Control"), S("private, max-age=60"));
	set_header(RESPONSE, S("X-Ran-At"), ran);
	str t = text_begin();
	put(&t, S("{\"country\":\""));
	put_json(&t, country);
	put(&t, S("\",\"currency\":\""));
	put_json(&t, currency);
	put(&t, S("\",\"prices\":["));
	for (u32 i = 0; i < CATALOGUE_LEN; i++) {
		u64 v = price(catalogue[i].cents, rate);
		if (i) put_char(&t, ',');
		put(&t, S("\n{\"id\":"));
		put_number(&t, i + 1);
		put(&t, S(",\"name\":\""));
		put_json(&t, (str){catalogue[i].name, catalogue[i].name_len});
		put(&t, S("\",\"price\":\""));
		put_number(&t, v / 100);
		put_char(&t, '.');
		put_char(&t, (char)('0' + v / 10 % 10));
		put_char(&t, (char)('0' + v % 10));
		put(&t, S("\"}"));
	}
	put(&t, S("\n]}\n"));
	write_body(t);
	return ANSWERED;
}

HANDLE_RESPONSE(token, failed) {}
