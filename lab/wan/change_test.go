package wan

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"perto"
)

func TestAPI(t *testing.T) {
	w, err := New(Config{Regions: []Region{gru, fra, syd}, Out: func([]byte) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	h := w.Handler()
	do := func(method, host, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "/v1/wan", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Host = host
		rw := httptest.NewRecorder()
		h.ServeHTTP(rw, r)
		return rw
	}
	tests := []struct {
		name, body string
		status     int
		want       string // part of the reply
	}{
		{"everything at once", "from=gru&to=fra&delay=80ms&jitter=1.5ms&reorder=true&loss=1%25&bandwidth=10Mbps&cut=true", 200,
			`"from": "gru", "to": "fra", "delay_ms": 80, "jitter_ms": 1.5, "reorder": true, "loss": 0.01, "bits_per_second": 10000000, "is_cut": true`},
		{"loss as a share", "from=gru&to=fra&loss=0.5", 200, `"loss": 0.5`},
		{"no limit", "from=gru&to=fra&bandwidth=none", 200, `"bits_per_second": 0`},
		{"reset of everything", "reset=true", 200, `"from": "syd", "to": "fra"`},
		{"no region of this name", "from=gru&to=atlantis&cut=true", 404, "there are gru, fra, syd"},
		{"misspelt", "from=gru&dealy=80ms", 400, "no such value"},
		{"twice", "from=gru&delay=1ms&delay=2ms", 400, "more than once"},
		{"no unit", "from=gru&delay=80", 400, "such as 80ms"},
		{"negative delay", "from=gru&delay=-1ms", 400, "a time from 0s to 10s"},
		{"endless delay", "from=gru&jitter=1h", 400, "a time from 0s to 10s"},
		{"too much loss", "from=gru&loss=120%25", 400, "from 0% to 100%"},
		{"loss of nothing", "from=gru&loss=NaN", 400, "from 0% to 100%"},
		{"bandwidth without unit", "from=gru&bandwidth=10", 400, "such as 10Mbps"},
		{"bandwidth too small", "from=gru&bandwidth=10bps", 400, "1kbps or more"},
		{"cut by what", "from=gru&cut=yes", 400, "true or false"},
		{"nothing to do", "from=gru", 400, "nothing to change"},
		{"to without from", "to=gru&cut=true", 400, "to is given without from"},
		{"one way from nowhere", "one_way=true&cut=true", 400, "one_way needs from"},
		{"to itself", "from=gru&to=gru&cut=true", 400, "the same region"},
		{"no form", "%zz", 400, "invalid"},
		{"too long", "from=" + strings.Repeat("x", maxForm), 400, "too large"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			before := w.State()
			rw := do("POST", "127.0.0.1", test.body)
			got := strings.Join(strings.Fields(rw.Body.String()), " ")
			if rw.Code != test.status || !strings.Contains(got, test.want) {
				t.Errorf("answered %d %s", rw.Code, got)
			}
			if after := w.State(); test.status != 200 && after.Pairs[0] != before.Pairs[0] {
				t.Errorf("half of it was done: %+v", after.Pairs[0])
			}
		})
	}
	var s State
	if rw := do("GET", "127.0.0.1:8090", ""); json.Unmarshal(rw.Body.Bytes(), &s) != nil || len(s.Pairs) != 6 || len(s.Regions) != 3 || s.Regions[2].Place != "Sydney, AU" {
		t.Errorf("GET answered %s", rw.Body)
	}
	if rw := do("GET", "evil.example", ""); rw.Code != http.StatusMisdirectedRequest {
		t.Errorf("a foreign host got %d", rw.Code)
	}
	if rw := do("DELETE", "127.0.0.1", ""); rw.Code != http.StatusMethodNotAllowed {
		t.Errorf("DELETE got %d", rw.Code)
	}
}

func TestNewRefusesInvalidConfig(t *testing.T) {
	out := func([]byte) error { return nil }
	one := func(name string, prefixes ...string) Region {
		r := Region{Name: name}
		for _, p := range prefixes {
			r.Prefixes = append(r.Prefixes, netip.MustParsePrefix(p))
		}
		return r
	}
	tests := []struct {
		name string
		cfg  Config
		want string
	}{
		{"one region", Config{Regions: []Region{gru}, Out: out}, "two regions or more"},
		{"no way out", Config{Regions: []Region{gru, fra}}, "output function is missing"},
		{"no name", Config{Regions: []Region{gru, one("", "10.0.0.0/8")}, Out: out}, "no name"},
		{"a name twice", Config{Regions: []Region{gru, one("gru", "10.0.0.0/8")}, Out: out}, "two regions have this name"},
		{"no network", Config{Regions: []Region{gru, one("a")}, Out: out}, "no network"},
		{"a host's prefix", Config{Regions: []Region{gru, one("a", "10.0.0.1/8")}, Out: out}, "bits are set"},
		{"overlap", Config{Regions: []Region{gru, one("a", "198.18.0.0/15")}, Out: out}, "198.18.0.0/15 overlaps 198.18.1.0/24 of gru"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := New(test.cfg)
			e, ok := errors.AsType[*perto.Error](err)
			if !ok || e.Kind != perto.KindInvalid || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestTableFindsTheRegion(t *testing.T) {
	table, err := newTable([]Region{syd, gru, fra})
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]int{"198.18.3.0": 0, "198.18.3.255": 0, "198.18.1.7": 1, "198.18.2.0": 2, "2001:db8:2::9": 2, "2001:db8:1:1::": -1,
		"198.18.0.255": -1, "198.18.4.0": -1, "0.0.0.0": -1, "255.255.255.255": -1, "::": -1, "ffff::": -1, "::ffff:198.18.1.7": -1} {
		if got := table.find(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s is of region %d, want %d", addr, got, want)
		}
	}
}

func TestParse(t *testing.T) {
	place := func(q string) (perto.Place, error) {
		if q != "São Paulo, SP, BR" {
			return perto.Place{}, errors.New("no city of this name")
		}
		return gru.Place, nil
	}
	region := func(s string) error { _, err := ParseRegion(s, place); return err }
	route := func(s string) error { _, err := ParseRoute(s); return err }
	user := func(s string) error { _, err := ParseUser(s); return err }
	tests := []struct {
		parse      func(string) error
		text, want string // "" for success
	}{
		{region, "gru=198.18.1.0/24@São Paulo, SP, BR", ""},
		{region, "gru=198.18.1.0/24,2001:db8::/64@São Paulo, SP, BR", ""},
		{region, "gru=198.18.1.0/24@Atlantis", "no city"},
		{region, "gru=198.18.1.0/24", "missing"},
		{region, "=198.18.1.0/24@São Paulo, SP, BR", "missing"},
		{region, "gru=198.18.1.0@São Paulo, SP, BR", `"198.18.1.0" is no prefix`},
		{route, "198.18.0.0/15=198.18.1.254", ""},
		{route, "2001:db8::/32=2001:db8::1", ""},
		{route, "198.18.0.0/15", "it takes NET=VIA"},
		{route, "198.18.1.0/15=198.18.1.254", "do you mean 198.18.0.0/15"},
		{route, "198.18.0.0/15=2001:db8::1", "both sides"},
		{route, "fe80::/10=fe80::1%eth0", "without a zone"},
		{user, "65532:65532", ""},
		{user, "65532", ""},
		{user, "0:65532", "must not be 0"},
		{user, "65532:0", "must not be 0"},
		{user, "nobody", "in numbers"},
		{user, "1:-1", "in numbers"},
		{user, "4294967295:1", "in numbers"}, // the kernel would leave the user unchanged
	}
	for _, test := range tests {
		switch err := test.parse(test.text); {
		case test.want == "" && err != nil:
			t.Errorf("%q: %v", test.text, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%q: got %v, want %q", test.text, err, test.want)
		}
	}
	if _, err := ParseChange(url.Values{"from": {}}); err == nil {
		t.Error("a value without text was accepted")
	}
}
