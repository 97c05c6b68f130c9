package lab

import (
	"strings"
	"testing"
	"time"

	"perto"
	"perto/lab/access"
)

// TestTraceAsksTheOriginOnlyWhenTheEdgeDid checks that replies of functions, of the
// edge itself and from the cache have no step to the origin.
func TestTraceAsksTheOriginOnlyWhenTheEdgeDid(t *testing.T) {
	l := sharedLab(t)
	for _, tt := range []struct {
		name, path string
		origin     bool
	}{
		{"a page", "/style.css?trace=1", true},
		{"the same from the cache", "/style.css?trace=1", false},
		{"a function before the cache", "/prices", false},
		{"a function behind the cache", "/thumb/no-such-picture", false},
		{"the edge itself", "/.perto/health", false},
		{"what the origin does not have", "/no-such-page", true},
	} {
		// Tokyo's PoP has one edge, so the second request finds the page in its cache.
		tr, err := l.Trace(t.Context(), at(t, l, "tokyo"), "http://www.shop.example"+tt.path)
		if err != nil {
			t.Fatal(err)
		}
		last := tr.Steps[len(tr.Steps)-1]
		if got := last.To == "origin"; got != tt.origin {
			t.Errorf("%s: the last step is %s > %s, %s; want a step to the origin: %v", tt.name, last.From, last.To, last.Result, tt.origin)
		}
	}
}

// TestTraceHasParentsAndASum: the office's resolver is in London, so the client gets an edge
// there. Its nearest PoP is in Singapore.
func TestTraceHasParentsAndASum(t *testing.T) {
	l := sharedLab(t)
	tr, err := l.Trace(t.Context(), at(t, l, "jakarta-office"), "www.shop.example")
	if err != nil {
		t.Fatal(err)
	}
	if tr.URL != "http://www.shop.example" {
		t.Errorf("the URL is %q", tr.URL)
	}
	var sum perto.Millis
	for i, s := range tr.Steps {
		if s.Number != i+1 || s.Parent >= s.Number {
			t.Errorf("step %d has the number %d and the parent %d", i+1, s.Number, s.Parent)
		}
		if s.Parent == 0 {
			sum += s.Took
			continue
		}
		cause := tr.Steps[s.Parent-1]
		if cause.To != s.From || cause.Took < s.Took {
			t.Errorf("%s asks %s for %s, but its parent asks %s for %s", s.From, s.To, s.Took, cause.To, cause.Took)
		}
	}
	if sum != tr.Total {
		t.Errorf("the client's steps take %s, the total is %s", sum, tr.Total)
	}
	p := tr.Proximity
	if p == nil || p.Nearest != "sin" || p.PoP == "sin" || p.DistanceKm < p.NearestDistanceKm+5000 || p.Lost != p.RTT-p.NearestRTT || p.Lost.Duration() < 50*time.Millisecond {
		t.Errorf("the proximity is %+v, want sin as the nearest PoP and a long way to another", p)
	}
}

func TestParseURLNeedsNoScheme(t *testing.T) {
	for text, want := range map[string]string{"a.example": "http://a.example", "a.example:8080/x?y": "http://a.example:8080/x?y", "http://a.example/": "http://a.example/"} {
		if u, err := access.ParseURL(text); err != nil || u.String() != want {
			t.Errorf("%q: got %v, %v", text, u, err)
		}
	}
	for text, want := range map[string]string{"": "not an http URL", "http://": "not an http URL", "gopher://x/": "not an http URL", "https://a.example/": "no https",
		"a.example:99999": "between 1 and 65535", "a.example:": "the port is missing", "http:/a": "port"} {
		if u, err := access.ParseURL(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, %v, want %q", text, u, err, want)
		}
	}
}

func TestOriginStepReadsCacheStatus(t *testing.T) {
	for status, want := range map[string]string{
		"": "", "e; hit; ttl=5": "", "e; fwd=uri-miss; fwd-status=200; stored": "200", "e; fwd=stale; ttl=-1; detail=origin-unreachable": "no reply: origin-unreachable",
		"e; fwd=uri-miss; detail=origin-down": "", "e; fwd=uri-miss; detail=fn-crash": "", "e; fwd=uri-miss; ttl=5; collapsed": "",
		"o; fwd=uri-miss; fwd-status=200, e; hit": "", "o; hit, e; fwd=uri-miss; fwd-status=404": "404",
	} {
		if got, asked := originStep([]string{status}); got != want || asked != (want != "") {
			t.Errorf("%q: got %q, %v", status, got, asked)
		}
	}
	if _, asked := originStep(nil); asked {
		t.Error("without Cache-Status the origin counts as asked")
	}
}
