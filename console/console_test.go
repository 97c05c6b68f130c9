package console

import (
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"perto"
)

// testState is a small world: two PoPs and three vantages. The resolver of one is far
// away.
func testState() *State {
	recife := perto.Place{Name: "Recife", Country: "BR", Lat: -8.05, Lon: -34.9}
	tokyo := perto.Place{Name: "Tokyo", Country: "JP", Lat: 35.7, Lon: 139.7}
	london := perto.Place{Name: "London", Country: "GB", Lat: 51.5, Lon: -.1}
	return &State{At: time.Now(), Title: "A test", Site: "www.shop.example",
		PoPs:  []PoP{{Name: "rec", Place: recife, Provider: "alfa"}, {Name: "nrt", Place: tokyo}},
		Edges: []Edge{{Name: "rec-1", PoP: "rec", State: "up", Reason: "heartbeats", Since: time.Now()}, {Name: "nrt-1", PoP: "nrt", State: "down", Reason: "silent <b>", Since: time.Now(), Fault: "killed"}},
		Vantages: []Vantage{
			{Name: "recife", Place: recife, Kind: "isp", Resolver: "isp-recife", ResolverPlace: recife, PoP: "rec", Edges: []string{"rec-1"}, Km: 1, Nearest: "rec", NearestKm: 1},
			{Name: "tokyo", Place: tokyo, Kind: "isp", Resolver: "isp-tokyo", ResolverPlace: tokyo, Nearest: "rec", NearestKm: 16000},
			{Name: "tokyo-office", Place: tokyo, Kind: "office", Resolver: "office-lhr", ResolverPlace: london, PoP: "rec", Edges: []string{"rec-1"}, Km: 16000, Nearest: "nrt", NearestKm: 2, Door: "127.0.0.1:5322"},
		},
		Services: []Service{{Name: "shop.cdn.example", Aliases: []string{"www.shop.example"}, Classes: 7, Answers: []Answer{{PoP: "rec", Edges: []string{"rec-1"}, TTL: 20}}}},
		Origins:  []Origin{{Name: "origin.shop.example:80", Text: "3 connections failed in a row"}},
		Events:   []Event{{At: time.Now(), Edge: "nrt-1", From: "up", To: "down", Reason: "silent <b>"}},
		Servers:  []Server{{Name: "ns1", Role: "name server", Place: london}, {Name: "origin", Role: "origin", Place: london}},
	}
}

// testConsole starts a console of testState.
func testConsole(t *testing.T, cfg Config) *Console {
	t.Helper()
	if cfg.State == nil {
		cfg.State = func(context.Context) *State { return testState() }
	}
	if cfg.Totals == nil {
		cfg.Totals = func(context.Context) map[string]Counters { return nil }
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func serve(t *testing.T, c *Console) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	c.Register(mux)
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

// TestPagesWithoutScripts: every page has its facts in HTML, and texts of the world
// cannot become markup.
func TestPagesWithoutScripts(t *testing.T) {
	visits := new(Visits)
	visits.Add("recife", 40*time.Millisecond)
	visits.Add("recife", 60*time.Millisecond)
	acted := ""
	c := testConsole(t, Config{Visits: visits,
		Visit: func(_ context.Context, from, target string, remember bool) (*Visit, error) {
			if from == "tokyo" {
				return nil, errors.New("DNS: <no> address")
			}
			v := &Visit{Vantage: from, URL: target, Edge: "rec-1", Status: 200, Bytes: 1234, Cache: "rec-1; fwd=uri-miss; stored", DNS: 20, Connect: 10, FirstByte: 60, Total: 100}
			if remember {
				v.Cache, v.DNS, v.FirstByte, v.Total = "rec-1; hit; ttl=60", 0, 10, 25
			}
			return v, nil
		},
		Trace: func(_ context.Context, from, target string) (*Trace, error) {
			return &Trace{URL: target, Total: 130, Steps: []Step{{Number: 1, From: from, To: "isp-recife", What: "where is it?", Result: "rec-1", Took: 12.6}, {Number: 2, Depth: 1, From: "isp-recife", To: "ns1", What: "A", Result: "<i>", Took: 90}}}, nil
		},
		Act: func(_ context.Context, host, action string) error {
			if host == "atlantis" {
				return &perto.Error{Op: action, Path: host, Kind: perto.KindNotFound, Err: errors.New("no such host")}
			}
			acted += host + " " + action + " "
			return nil
		}})
	s := serve(t, c)
	for path, wants := range map[string][]string{
		"/": {"1 of 2 edges serve, the origin fails: 3 connections failed in a row", `data-vantage="recife"`, `class="vantage office far"`, `class="pop down"`, "tokyo, Tokyo, JP: no edge serves it",
			"silent &lt;b&gt;", `class="origin failing"`, "origin: 3 connections failed in a row", `<svg xmlns`, `Its resolver is in London`, `value="heal" aria-label="heal nrt-1"`, `value="kill" aria-label="kill rec-1"`},
		"/pop/rec":                                  {"<h1>PoP rec</h1>", "provider alfa", "rec-1", "tokyo-office"},
		"/pop/rec?fragment=1":                       {"provider alfa"},
		"/vantage/tokyo-office":                     {"office-lhr in London", "not used", "dig @127.0.0.1 -p 5322 www.shop.example"},
		"/vantage/recife?trace=/x":                  {"http://www.shop.example/x", "isp-recife → ns1", "13 ms", "A = &lt;i&gt;", "Last 2 visits, the newest 60 ms"},
		"/vantage/recife?trace=ftp://x/":            {"not an http URL"},
		"/service/shop.cdn.example":                 {"7 classes", "20 s", "7 classes"},
		"/visit?url=/&again=1":                      {`verdict miss`, `verdict hit`, "first byte 60 ms", "DNS: &lt;no&gt; address", "1.2 kB", `width="60"`},
		"/visit?url=gopher://x":                     {"not an http URL"},
		"/visit?url=/&from=recife&from=atlantis":    {"recife"},
		"/static/console.css":                       {"Okabe"},
		"/favicon.ico":                              {"<svg"},
		"/pop/xyz":                                  {"There is no PoP &#34;xyz&#34;"},
		"/vantage/" + url.PathEscape("<script>x"):   {"There is no vantage &#34;&lt;script&gt;x&#34;"},
		"/visit?url=" + url.QueryEscape("<script>"): {"&lt;script&gt;"},
	} {
		r, err := http.Get(s.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range wants {
			if !strings.Contains(string(body), want) {
				t.Errorf("%s (%d): no %q in %s", path, r.StatusCode, want, body)
			}
		}
		for _, bad := range []string{"<script>x", "<i>", "<no>", "ZgotmplZ", "<b>\n", "NaN"} {
			if strings.Contains(string(body), bad) {
				t.Errorf("%s: %q in %s", path, bad, body)
			}
		}
		if strings.Contains(r.Header.Get("Content-Type"), "html") && !strings.Contains(r.Header.Get("Content-Security-Policy"), "script-src 'self'") {
			t.Errorf("%s has no policy", path)
		}
		if full := !strings.Contains(path, "fragment"); strings.Contains(string(body), "<html") != (full && strings.Contains(r.Header.Get("Content-Type"), "html")) {
			t.Errorf("%s: page and fragment are mixed up", path)
		}
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, tt := range []struct {
		host, do, referer string
		status            int
		location          string
	}{
		{"rec-1", "kill", s.URL + "/pop/rec", 303, "/pop/rec"},
		{"rec-1", "heal", "http://evil.example/pop/rec", 303, "/"},
		{"rec-1", "heal", s.URL + "//evil.example/", 303, "/"},
		{"atlantis", "kill", "", 404, ""},
	} {
		q, err := http.NewRequest("POST", s.URL+"/act", strings.NewReader(url.Values{"host": {tt.host}, "do": {tt.do}}.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		q.Header.Set("Referer", tt.referer)
		r, err := client.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != tt.status || r.Header.Get("Location") != tt.location {
			t.Errorf("%+v: got %d, %q", tt, r.StatusCode, r.Header.Get("Location"))
		}
	}
	if acted != "rec-1 kill rec-1 heal rec-1 heal " {
		t.Errorf("acted: %q", acted)
	}
}

// TestLabelsDoNotOverlap: a map with hundreds of PoPs shows the names that have a place.
func TestLabelsDoNotOverlap(t *testing.T) {
	var l labels
	drawn := 0
	for i := range 300 {
		if l.add(float64(i*7%340-165), float64(i*11%120-70), "pop-with-a-long-name", i%2 == 0) != "" {
			drawn++
		}
	}
	if drawn == 0 || drawn > 100 || drawn != len(l) {
		t.Errorf("%d labels", drawn)
	}
	for i, a := range l {
		for _, b := range l[i+1:] {
			if a.left < b.right && b.left < a.right && math.Abs(a.y-b.y) < labelSize {
				t.Fatalf("%v and %v overlap", a, b)
			}
		}
	}
	var edge labels
	if got := edge.add(178, 0, "suva", false); !strings.Contains(got, `text-anchor="end"`) {
		t.Errorf("at the edge of the map: got %q", got)
	}
}

// TestUnreportedEdges: the page of an edge has no report of the other edges. It does not
// count them as serving, and their state has no age.
func TestUnreportedEdges(t *testing.T) {
	state := &State{Title: "gru-1", PoPs: []PoP{{Name: "gru"}, {Name: "fra"}},
		Edges: []Edge{{Name: "gru-1", PoP: "gru", State: "up", Since: time.Now()}, {Name: "fra-1", PoP: "fra", State: "unknown"}}}
	page := func() string {
		c := testConsole(t, Config{State: func(context.Context) *State { return state }})
		r, err := http.Get(serve(t, c).URL + "/")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	if got := page(); !strings.Contains(got, "1 of 1 edges serve, the state of 1 more is unknown here") || strings.Contains(got, " days<") {
		t.Errorf("one of two: got %s", got)
	}
	state.Edges = state.Edges[1:]
	if got := page(); !strings.Contains(got, "the state of the edges is unknown here") {
		t.Errorf("none: got %s", got)
	}
	state.Edges = nil
	if got := page(); !strings.Contains(got, "there are no edges") {
		t.Errorf("without edges: got %s", got)
	}
}

// TestReadOnly: without actions and vantages there are no buttons, and requests to act
// are rejected.
func TestReadOnly(t *testing.T) {
	state := testState()
	state.Vantages = nil
	s := serve(t, testConsole(t, Config{State: func(context.Context) *State { return state }}))
	r, err := http.PostForm(s.URL+"/act", url.Values{"host": {"rec-1"}, "do": {"kill"}})
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != http.StatusForbidden {
		t.Errorf("act: got %d", r.StatusCode)
	}
	for _, path := range []string{"/", "/pop/rec", "/visit"} {
		r, err := http.Get(s.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(r.Body)
		r.Body.Close()
		if strings.Contains(string(body), "<button") {
			t.Errorf("%s has buttons: %s", path, body)
		}
	}
}

func TestCitiesAreFarApart(t *testing.T) {
	at := func(name string, lat, lon float64) Vantage {
		return Vantage{Name: name, Place: perto.Place{Lat: lat, Lon: lon}}
	}
	names := func(list []*Vantage) (out []string) {
		for _, v := range list {
			out = append(out, v.Name)
		}
		return out
	}
	got := strings.Join(names(cities([]Vantage{at("sao-paulo", -23.5, -46.6), at("rio", -22.9, -43.2), at("tokyo", 35.7, 139.7), at("london", 51.5, -.1), at("paris", 48.9, 2.4)}))[:3], " ")
	if got != "sao-paulo tokyo london" && got != "sao-paulo tokyo paris" {
		t.Errorf("got %v", got)
	}
	if got := names(cities([]Vantage{at("tokyo", 35.7, 139.7), at("tokyo-public", 35.7, 139.7)})); len(got) != 2 || got[1] != "tokyo-public" {
		t.Errorf("two at one place: got %v", got)
	}
	if cities(nil) != nil {
		t.Error("there are cities without vantages")
	}
}

// TestSeries: samples are rates, a restarted node counts from zero, and the ring keeps
// its length.
func TestSeries(t *testing.T) {
	var s series
	at := time.Unix(1000, 0)
	total := Counters{Queries: 100, Requests: 50, Hits: 20}
	of := func(c Counters) map[string]Counters { return map[string]Counters{"ns1": c} }
	s.add(at, of(total), 0)
	total.Queries, total.Requests, total.Hits = 120, 60, 25
	s.add(at.Add(2*time.Second), map[string]Counters{"ns1": total, "new": {Queries: 1000}}, 33)
	s.add(at.Add(3*time.Second), of(Counters{Queries: 7}), 0) // the other one is gone
	list := s.after(0)
	if len(list) != 2 || list[0].Queries != 10 || list[0].Requests != 5 || list[0].HitRatio != .5 || list[0].FirstByte != 33 {
		t.Errorf("got %+v", list)
	}
	if list[1].Queries != 7 || list[1].HitRatio != -1 {
		t.Errorf("after a restart: got %+v", list[1])
	}
	for i := range 2 * keptSamples {
		s.add(at.Add(time.Duration(4+i)*time.Second), of(total), 0)
	}
	list = s.after(0)
	if len(list) != keptSamples || list[0].At >= list[keptSamples-1].At {
		t.Errorf("got %d samples", len(list))
	}
	if late := s.after(list[len(list)-3].At); len(late) != 2 {
		t.Errorf("got %d late samples, want 2", len(late))
	}
}

// TestBars: the parts of a waterfall fill its width, whatever the clock measured.
func TestBars(t *testing.T) {
	for _, v := range []Visit{{DNS: 20, Connect: 30, FirstByte: 40, Total: 100}, {Total: .001}, {DNS: 5, Total: 3}, {FirstByte: 80, Connect: 20, Total: 100}} {
		sum := 0.0
		for _, b := range v.bars(max(1, v.Total, v.DNS)) {
			if b.Width <= 0 || math.IsNaN(b.Width) {
				t.Errorf("%+v: bar %+v", v, b)
			}
			sum += b.Width
		}
		if sum > 100.1 {
			t.Errorf("%+v fills %f %%", v, sum)
		}
	}
}
