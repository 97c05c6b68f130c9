package api

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"perto"
	"perto/mapping"
)

type fakeSource struct {
	asked struct {
		name     string
		resolver netip.Addr
		ecs      mapping.Subnet
		family   mapping.Family
	}
}

func (f *fakeSource) Status() any { return map[string]string{"name": "ns1"} }

func (f *fakeSource) Explain(name string, resolver netip.Addr, ecs mapping.Subnet, family mapping.Family) (*mapping.Explanation, error) {
	if name == "none.example" {
		return nil, &perto.Error{Op: "find service", Path: name, Kind: perto.KindNotFound}
	}
	f.asked.name, f.asked.resolver, f.asked.ecs, f.asked.family = name, resolver, ecs, family
	return &mapping.Explanation{Why: "because"}, nil
}

func (f *fakeSource) ExplainURL(u *url.URL, resolver netip.Addr, ecs mapping.Subnet, family mapping.Family) (any, error) {
	f.asked.name = u.String()
	return map[string]string{"url": u.String()}, nil
}

func (f *fakeSource) Metrics() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("perto_x 1\n")) })
}

func get(h http.Handler, target, host string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", target, nil)
	r.Host = host
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestAPI(t *testing.T) {
	tests := []struct {
		name, target string
		wantStatus   int
		wantBody     string
	}{
		{"status", "/api/status", 200, `"name": "ns1"`},
		{"metrics", "/metrics", 200, "perto_x 1"},
		{"explain", "/api/explain?name=shop.cdn.example&client=200.144.248.0/24", 200, `"why": "because"`},
		{"no name", "/api/explain?client=1.2.3.4", 400, "name or url is missing"},
		{"no client", "/api/explain?name=x", 400, "client or resolver is missing"},
		{"bad client", "/api/explain?name=x&client=here", 400, "it takes an address or a subnet"},
		{"bad type", "/api/explain?name=x&client=1.2.3.4&type=MX", 400, "it takes A or AAAA"},
		{"unknown service", "/api/explain?name=none.example&client=1.2.3.4", 404, `"kind":"not found"`},
		{"unknown path", "/api/nothing", 404, "404"},
	}
	h := Guard(Handler(&fakeSource{}))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := get(h, tt.target, "127.0.0.1:8080")
			if w.Code != tt.wantStatus || !strings.Contains(w.Body.String(), tt.wantBody) {
				t.Errorf("got %d %s, want %d with %q", w.Code, w.Body, tt.wantStatus, tt.wantBody)
			}
		})
	}
}

func TestExplainParameters(t *testing.T) {
	s := &fakeSource{}
	h := Handler(s)
	get(h, "/api/explain?name=a&client=200.144.248.77&resolver=8.8.8.8&type=aaaa", "localhost")
	want := mapping.Subnet{Addr: netip.MustParseAddr("200.144.248.0"), Bits: 24}
	if s.asked.ecs != want || s.asked.resolver != netip.MustParseAddr("8.8.8.8") || s.asked.family != mapping.IPv6 {
		t.Errorf("got %+v, want the client's /24 and the resolver", s.asked)
	}
	for target, want := range map[string]int{
		"/api/explain?resolver=8.8.8.8&url=http%3A%2F%2Fwww.shop.example%2F": http.StatusOK,
		"/api/explain?resolver=8.8.8.8&url=gopher%3A%2F%2Fx":                 http.StatusBadRequest,
		"/api/explain?resolver=8.8.8.8":                                      http.StatusBadRequest,
	} {
		if got := get(h, target, "localhost"); got.Code != want {
			t.Errorf("%s: got %d %s, want %d", target, got.Code, got.Body, want)
		}
	}
	if s.asked.name != "http://www.shop.example/" {
		t.Errorf("asked for %q", s.asked.name)
	}
	get(h, "/api/explain?name=a&resolver=8.8.4.4", "localhost")
	if s.asked.ecs.Addr.IsValid() || s.asked.resolver != netip.MustParseAddr("8.8.4.4") {
		t.Errorf("got %+v, want no subnet", s.asked)
	}
}

func TestGuardRejectsOtherOrigins(t *testing.T) {
	h := Guard(Handler(&fakeSource{}))
	if w := get(h, "/api/status", "evil.example"); w.Code != http.StatusMisdirectedRequest {
		t.Errorf("foreign host: got %d", w.Code)
	}
	for _, host := range []string{"localhost:8080", "[::1]:8080", "127.0.0.1"} {
		if w := get(h, "/api/status", host); w.Code != 200 {
			t.Errorf("%s: got %d", host, w.Code)
		}
	}
	r := httptest.NewRequest("POST", "/api/status", nil)
	r.Host = "localhost"
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusForbidden {
		t.Errorf("cross-origin POST: got %d", w.Code)
	}
}

func TestWriteErrorIsJSON(t *testing.T) {
	w := httptest.NewRecorder()
	WriteError(w, &perto.Error{Op: "x", Kind: perto.KindConflict, Hint: "wait"})
	var f Failure
	if err := json.Unmarshal(w.Body.Bytes(), &f); err != nil || f.Kind != "conflict" || w.Code != 409 {
		t.Errorf("got %d %s (%v)", w.Code, w.Body, err)
	}
}
