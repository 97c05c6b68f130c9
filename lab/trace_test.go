package lab

import "testing"

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
