package shopcode

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"perto"
	"perto/functions"
	"perto/internal/fields"
	"perto/origin"
)

// load loads a module of the shop as at an edge in São Paulo.
func load(t testing.TB, name string, kv map[string]string) *functions.Module {
	t.Helper()
	wasm, err := Module(name + ".wasm")
	if err != nil {
		t.Fatal(err)
	}
	h, err := functions.NewHost(t.Context(), functions.HostConfig{Limits: functions.Limits{Wall: time.Minute},
		Self: functions.Self{Name: "gru-1", PoP: "gru", City: "São Paulo", Country: "BR", Placement: "edge"},
		Locate: func(a netip.Addr) (perto.Place, bool) {
			return perto.Place{Name: "Lisboa", Country: "PT"}, a.String() == "192.0.2.1"
		}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	m, err := h.Load(t.Context(), name, wasm, functions.ModuleOptions{KV: kv})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func ask(t testing.TB, m *functions.Module, uri string, header ...string) (*functions.Response, string) {
	t.Helper()
	r, err := m.Handle(t.Context(), &functions.Request{Method: "GET", URI: uri, Protocol: "HTTP/1.1", Source: netip.MustParseAddrPort("192.0.2.1:1"), Header: fields.Of(header...)}, nil)
	if err != nil {
		t.Fatalf("%s: %v", uri, err)
	}
	return r, string(r.Body)
}

// TestGreetingMatchesShop: the guest's response has the same bytes as the shop's own.
func TestGreetingMatchesShop(t *testing.T) {
	m := load(t, "greeting", nil)
	shop, err := origin.New(origin.Config{})
	if err != nil {
		t.Fatal(err)
	}
	lines := [][]string{{}, {"a=b", "name=Ana"}, {"name=Jo\xc3\xa3o", "name=Ana"}, {"name=Ana", "name=Rui"}}
	for _, one := range []string{"name=Ana", "name=Jo%C3%A3o", "name=", "named=x", `name=<b>&'`, `name="<b>&'"`, "x; name=1;", "name=a=b",
		"a=b; name=Jo\xc3\xa3o; c=d", "name=\xc3; name=z", `name=a"b`, `name=a\b`, "name=a\tb", "name =x", "name= x ", "name", `name="`, `name=""`, "Name=x", "name=" + strings.Repeat("&'", 2000)} {
		lines = append(lines, []string{one})
	}
	rng := rand.New(rand.NewPCG(9, 10))
	const odd = "name=name=;; \"\\<>&'\t\x7f\xc3\xa3x%"
	for range 1000 {
		b := make([]byte, rng.IntN(20))
		for i := range b {
			b[i] = odd[rng.IntN(len(odd))]
		}
		lines = append(lines, []string{strings.TrimSpace("name=" + string(b)), "name=last"})
	}
	for _, cookies := range lines {
		w, q := httptest.NewRecorder(), httptest.NewRequest("GET", "/greeting", nil)
		var header []string
		for _, c := range cookies {
			q.Header.Add("Cookie", c)
			header = append(header, "Cookie", c)
		}
		shop.Handler().ServeHTTP(w, q)
		r, body := ask(t, m, "/greeting", header...)
		if want := w.Body.String(); body != want {
			t.Errorf("%q: got %q, want %q", cookies, body, want)
		}
		for _, name := range []string{"content-type", "cache-control", "vary"} {
			if v, _ := r.Header.Get(name); string(v) != w.Header().Get(name) {
				t.Errorf("%q: %s is %q, want %q", cookies, name, v, w.Header().Get(name))
			}
		}
		if v, _ := r.Header.Get("x-ran-at"); string(v) != "gru-1 (edge)" {
			t.Errorf("it ran at %q", v)
		}
		if strings.Contains(body, "<b>") {
			t.Errorf("not escaped: %q", body)
		}
	}
}

func TestPrices(t *testing.T) {
	m := load(t, "prices", map[string]string{"BR": "BRL 5.40", "JP": "nonsense", "XX": "XXX 0.5", "IR": "IRR 600000", "ZW": "ZWL 99999999"})
	type list struct {
		Country, Currency string
		Prices            []struct {
			ID          int
			Name, Price string
		}
	}
	for _, tt := range []struct{ uri, currency, first string }{
		{"/prices", "EUR", "82.00"}, // 89 dollars, in the currency of the client's country
		{"/prices?country=BR", "BRL", "481.00"},
		{"/prices?country=US", "USD", "89.00"},
		{"/prices?country=JP", "JPY", "13400.00"}, // an invalid rate is ignored
		{"/prices?country=XX", "XXX", "44.50"},
		{"/prices?country=IR", "IRR", "53000000.00"},
		{"/prices?country=ZW", "USD", "89.00"}, // a rate that is too large is ignored
		{"/prices?country=", "USD", "89.00"},
		{"/prices?country=" + strings.Repeat("%01", 2000), "USD", "89.00"},
		{"/prices?country=%22%5C", "USD", "89.00"},
	} {
		_, body := ask(t, m, tt.uri)
		var l list
		if err := json.Unmarshal([]byte(body), &l); err != nil {
			t.Fatalf("%s: %v: %s", tt.uri, err, body)
		}
		if l.Currency != tt.currency || len(l.Prices) < 50 || l.Prices[0].Name != "Hammock" || l.Prices[0].Price != tt.first {
			t.Errorf("%s: got %s %+v, want %s %s", tt.uri, l.Currency, l.Prices[0], tt.currency, tt.first)
		}
	}
}

// found is a result of a search.
type found struct {
	ID    int
	Name  string
	Score int
}

// reference is the search in Go, over runes.
func reference(list []origin.Product, q string, n int) (total int, out []found) {
	folding := strings.NewReplacer("á", "a", "à", "a", "ã", "a", "â", "a", "é", "e", "ê", "e", "í", "i", "ó", "o", "ô", "o", "õ", "o", "ú", "u", "ç", "c", "Á", "a", "É", "e", "Ó", "o", "Ç", "c")
	words := func(s string) []string {
		s = strings.ToLower(folding.Replace(s))
		return strings.FieldsFunc(s, func(r rune) bool { return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9') })
	}
	score := func(text []string, word string) int {
		best := 0
		for _, w := range text {
			if w == word {
				best = 3
			} else if strings.HasPrefix(w, word) {
				best = max(best, 1)
			}
		}
		return best
	}
	asked := words(q)
	asked = asked[:min(len(asked), 8)]
	for _, p := range list {
		sum := 0
		for _, w := range asked {
			s := 4*score(words(p.Name), w) + score(words(p.About), w)
			if s == 0 {
				sum = 0
				break
			}
			sum += s
		}
		if sum > 0 {
			out = append(out, found{p.ID, p.Name, sum})
		}
	}
	slices.SortStableFunc(out, func(a, b found) int { return b.Score - a.Score })
	return len(out), out[:min(n, len(out))]
}

// TestSearchMatchesReference: queries are words of the catalogue and parts of them, in
// any case, with and without accents.
func TestSearchMatchesReference(t *testing.T) {
	m := load(t, "search", nil)
	list, err := origin.Products()
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(11, 12))
	var vocabulary []string
	for _, p := range list {
		vocabulary = append(vocabulary, strings.Fields(p.Name+" "+p.About)...)
	}
	questions := []string{strings.Repeat("xé", 66), "\U0001f9c9 mate", "coffee", "CAFÉ", "cafe", "pao queijo", "jatobá", "jatoba wood", "", "   ", "zzz", "a", "Açaí", "acai", "2"}
	for range 300 {
		var words []string
		for range 1 + rng.IntN(3) {
			w := []rune(vocabulary[rng.IntN(len(vocabulary))])
			words = append(words, string(w[:1+rng.IntN(len(w))]))
		}
		q := strings.Join(words, " ")
		if rng.IntN(3) == 0 {
			q = strings.ToUpper(q)
		}
		questions = append(questions, q)
	}
	for _, q := range questions {
		_, body := ask(t, m, "/search?n=7&q="+url.QueryEscape(q))
		var got struct {
			Query   string
			Total   int
			Results []found
		}
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatalf("%q: %v: %s", q, err, body)
		}
		total, want := reference(list, q, 7)
		if got.Query != q {
			t.Errorf("%q: it says that it was asked for %q", q, got.Query)
		}
		if got.Total != total || fmt.Sprint(got.Results) != fmt.Sprint(want) {
			t.Errorf("%q: got %d %v, want %d %v", q, got.Total, got.Results, total, want)
		}
	}
}

// TestGuestsHandleAnyInput: for random targets and fields the guests respond with JSON
// that is valid UTF-8.
func TestGuestsHandleAnyInput(t *testing.T) {
	const odd = "%?&=q country;name/ \xc3\xa9\"<\\+0Z"
	rng := rand.New(rand.NewPCG(13, 14))
	for _, name := range []string{"greeting", "prices", "search"} {
		m := load(t, name, nil)
		for range 300 {
			b := make([]byte, rng.IntN(3000))
			for i := range b {
				b[i] = odd[rng.IntN(len(odd))]
			}
			r, body := ask(t, m, "/"+name+"?q="+string(b)+"&country="+string(b), "Cookie", "name="+string(b))
			if kind, _ := r.Header.Get("content-type"); r.Status != 200 || !utf8.ValidString(body) || (string(kind) == "application/json" && !json.Valid([]byte(body))) {
				t.Fatalf("%s: %q: %d %q", name, b, r.Status, body)
			}
		}
		if r, _ := ask(t, m, "/"+name+"?q="+strings.Repeat("a", 60<<10)); r.Status != 414 && name != "greeting" {
			t.Errorf("%s: a target of 60 KiB: %d", name, r.Status)
		}
	}
}

func BenchmarkGuests(b *testing.B) {
	for _, name := range []string{"greeting", "prices", "search"} {
		b.Run(name, func(b *testing.B) {
			m := load(b, name, nil)
			for b.Loop() {
				ask(b, m, "/"+name+"?q=coffee", "Cookie", "name=Ana")
			}
		})
	}
}
