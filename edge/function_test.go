package edge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"perto/edge/fetch"
	"perto/internal/fields"
)

type next = func(*FunctionRequest) (*FunctionResponse, error)

// withFunctions gives the bubble's site functions.
func (b *bubble) withFunctions(list ...Function) {
	b.Helper()
	sites, err := NewSites(Site{Service: "shop.example", Origins: []fetch.Origin{{URL: "http://origin"}}, Functions: list})
	if err != nil {
		b.Fatal(err)
	}
	b.edge.SetSites(sites)
}

func text(status int, body string, header ...string) (*FunctionResponse, error) {
	return &FunctionResponse{Status: status, Header: fields.Of(header...), Body: []byte(body)}, nil
}

func bodyOf(reply string) string {
	_, body, _ := strings.Cut(reply, "\r\n\r\n")
	return body
}

// TestFunctionRunsForItsPaths checks that a function runs for its path and no other,
// before the cache, for each request.
func TestFunctionRunsForItsPaths(t *testing.T) {
	calls := 0
	greet := func(_ context.Context, q *FunctionRequest, _ next) (*FunctionResponse, error) {
		calls++
		who, _ := q.Header.Get("x-who")
		host, _ := q.Header.Get("host")
		return text(200, fmt.Sprintf("%s %s %s %s %s", q.Method, q.URI, who, host, q.Body), "X-A", "b", "Surrogate-Key", "secret", "Connection", "X-Hop", "X-Hop", "1")
	}
	inBubble(t, Config{}, cached("origin"), func(b *bubble) {
		b.withFunctions(Function{Path: "/greet", Handle: greet}, Function{Path: "/below/*", Handle: greet})
		for _, tt := range []struct{ ask, body string }{
			{"GET /greet?a=b HTTP/1.1\r\nConnection: close\r\nHost: Shop.Example\r\nX-Who: ana\r\n\r\n", "GET /greet?a=b ana shop.example "},
			{"GET /gr%65et HTTP/1.1\r\nConnection: close\r\nHost: shop.example\r\n\r\n", "GET /greet  shop.example "},
			{"POST /below/x/y HTTP/1.1\r\nConnection: close\r\nHost: shop.example\r\nContent-Length: 3\r\n\r\nabc", "POST /below/x/y  shop.example abc"},
			{"GET /below HTTP/1.1\r\nConnection: close\r\nHost: shop.example\r\n\r\n", "GET /below  shop.example "},
			{"GET /belowed HTTP/1.1\r\nConnection: close\r\nHost: shop.example\r\n\r\n", "origin"},
			{"GET /greet/x HTTP/1.1\r\nConnection: close\r\nHost: shop.example\r\n\r\n", "origin"},
		} {
			reply := b.ask(tt.ask)
			if got := bodyOf(reply); got != tt.body {
				t.Errorf("%q: got %q, want %q", tt.ask, got, tt.body)
			}
			if tt.body == "origin" {
				continue
			}
			if !strings.Contains(reply, "X-A: b\r\n") || strings.Contains(reply, "secret") || strings.Contains(reply, "X-Hop") || !strings.Contains(reply, "Server-Timing: fn;dur=") {
				t.Errorf("%q: head %q", tt.ask, reply)
			}
		}
		if calls != 4 || b.metric(`perto_http_requests_total{outcome="computed"}`) != 4 {
			t.Errorf("%d calls", calls)
		}
		head := b.ask("HEAD /greet HTTP/1.1\r\nConnection: close\r\nHost: shop.example\r\n\r\n")
		if bodyOf(head) != "" || !strings.Contains(head, "Content-Length: 26") {
			t.Errorf("HEAD: %q", head)
		}
	})
}

// TestMostSpecificFunctionRuns checks that an exact path takes precedence over "/*",
// and then the longest path.
func TestMostSpecificFunctionRuns(t *testing.T) {
	called := func(name string) Function {
		return Function{Path: name, Handle: func(context.Context, *FunctionRequest, next) (*FunctionResponse, error) { return text(200, name) }}
	}
	inBubble(t, Config{}, cached("origin"), func(b *bubble) {
		list := []Function{called("/*"), called("/rc/*"), called("/rc"), called("/rc/a/*"), called("/rc/a"), called("/")}
		for range 2 {
			b.withFunctions(list...)
			for path, want := range map[string]string{"/rc": "/rc", "/rc/": "/rc/*", "/rc/b": "/rc/*", "/rc/a": "/rc/a", "/rc/a/": "/rc/a/*", "/rc/a/b": "/rc/a/*", "/": "/", "/x": "/*", "/rcx": "/*"} {
				if got := bodyOf(b.ask("GET " + path + " HTTP/1.1\r\nConnection: close\r\nHost: shop.example\r\n\r\n")); got != want {
					t.Errorf("%s: %q answers, want %q", path, got, want)
				}
			}
			slices.Reverse(list)
		}
	})
}

// TestFunctionCallsNext checks that next leads to the cache, and that the function may
// change request and response. It does not receive the client's conditions.
func TestFunctionCallsNext(t *testing.T) {
	var asked atomic.Int32
	origin := func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("ETag", `"1"`)
		fmt.Fprintf(w, "%s with %q", r.URL, r.Header.Get("X-Added"))
	}
	shout := func(_ context.Context, q *FunctionRequest, next next) (*FunctionResponse, error) {
		q.URI = "/page"
		q.Header = append(q.Header, fields.Of("X-Added", "y")...)
		a, err := next(q)
		if err != nil {
			return nil, err
		}
		if host, _ := q.Header.Get("host"); string(host) != "shop.example" {
			t.Errorf("next has changed the header of the request: %s", q.Header.Append(nil))
		}
		a.Body = []byte(strings.ToUpper(string(a.Body)))
		return a, nil
	}
	inBubble(t, Config{}, origin, func(b *bubble) {
		b.withFunctions(Function{Path: "/shout", Handle: shout})
		want := `/PAGE WITH "Y"`
		first := b.ask("GET /shout HTTP/1.1\r\nConnection: close\r\nHost: shop.example\r\n\r\n")
		if bodyOf(first) != want || !strings.Contains(first, "fwd=uri-miss") {
			t.Errorf("got %q", first)
		}
		second := b.ask("GET /shout HTTP/1.1\r\nConnection: close\r\nHost: shop.example\r\nRange: bytes=0-1\r\n\r\n")
		if bodyOf(second) != want || asked.Load() != 1 {
			t.Errorf("with a range: got %q, %d times from the origin", second, asked.Load())
		}
		if same := b.ask("GET /shout HTTP/1.1\r\nConnection: close\r\nHost: shop.example\r\nIf-None-Match: \"1\"\r\n\r\n"); !strings.HasPrefix(same, "HTTP/1.1 304") {
			t.Errorf("with a condition: got %q", same)
		}
		if plain := b.ask("GET /page HTTP/1.1\r\nConnection: close\r\nHost: shop.example\r\n\r\n"); bodyOf(plain) != `/page with "y"` || !strings.Contains(plain, "; hit") {
			t.Errorf("what is stored is the origin's: got %q", plain)
		}
	})
}

// TestStatusesOfFunctions checks the phrases of the registry, and that 204, 205 and 304
// have no body.
func TestStatusesOfFunctions(t *testing.T) {
	inBubble(t, Config{}, cached("origin"), func(b *bubble) {
		for status, want := range map[int]string{
			201: "201 Created\r\n", 204: "204 No Content\r\n", 205: "205 Reset Content\r\n", 302: "302 Found\r\n", 303: "303 See Other\r\n",
			307: "307 Temporary Redirect\r\n", 401: "401 Unauthorized\r\n", 403: "403 Forbidden\r\n", 418: "418 Client Error\r\n", 422: "422 Unprocessable Content\r\n", 429: "429 Too Many Requests\r\n", 511: "511 Network Authentication Required\r\n", 599: "599 Server Error\r\n",
		} {
			b.withFunctions(Function{Path: "/f", Handle: func(context.Context, *FunctionRequest, next) (*FunctionResponse, error) { return text(status, "body") }})
			reply := b.ask("GET /f HTTP/1.1\r\nConnection: close\r\nHost: shop.example\r\n\r\n")
			length, body := "Content-Length: 4\r\n", "body"
			switch status {
			case 204:
				length, body = "", ""
			case 205:
				length, body = "Content-Length: 0\r\n", ""
			}
			if !strings.HasPrefix(reply, "HTTP/1.1 "+want) || bodyOf(reply) != body || !strings.Contains(reply, length) || length == "" && strings.Contains(reply, "Content-Length") {
				t.Errorf("%d: %q", status, reply)
			}
		}
	})
}

// TestHEADThroughFunction checks that the length is that of the reply to GET, from the
// origin and from the cache, in both phases. There is no length when the function has
// changed the body.
func TestHEADThroughFunction(t *testing.T) {
	body := strings.Repeat("x", 1000)
	origin := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000")
		w.Header().Set("Cache-Control", "max-age=60")
		if r.Method != "HEAD" {
			fmt.Fprint(w, body)
		}
	}
	pass := func(_ context.Context, q *FunctionRequest, next next) (*FunctionResponse, error) { return next(q) }
	make := func(context.Context, *FunctionRequest, next) (*FunctionResponse, error) { return text(200, "hello") }
	silent := func(context.Context, *FunctionRequest, next) (*FunctionResponse, error) { return text(200, "") }
	for _, phase := range []Phase{ClientPhase, OriginPhase} {
		inBubble(t, Config{}, origin, func(b *bubble) {
			b.withFunctions(Function{Path: "/pass/*", Phase: phase, Handle: pass}, Function{Path: "/make", Phase: phase, Handle: make}, Function{Path: "/silent", Phase: phase, Handle: silent})
			head := func(path string) string {
				reply := b.ask("HEAD " + path + " HTTP/1.1\r\nConnection: close\r\nHost: shop.example\r\n\r\n")
				if !strings.HasPrefix(reply, "HTTP/1.1 200") || bodyOf(reply) != "" {
					t.Errorf("HEAD %s: %q", path, reply)
				}
				if strings.Count(reply, "Content-Length") > 1 {
					t.Errorf("HEAD %s: %q", path, reply)
				}
				_, length, _ := strings.Cut(reply, "Content-Length: ")
				length, _, _ = strings.Cut(length, "\r\n")
				return length
			}
			if got := head("/pass/a"); got != "1000" {
				t.Errorf("%v phase, from the origin: %q", phase, got)
			}
			b.ask("GET /pass/a HTTP/1.1\r\nConnection: close\r\nHost: shop.example\r\n\r\n")
			if got := head("/pass/a"); got != "1000" {
				t.Errorf("%v phase, stored: %q", phase, got)
			}
			if got := head("/make"); got != "5" {
				t.Errorf("%v phase, made: %q", phase, got)
			}
			if got := head("/silent"); got != "" {
				t.Errorf("%v phase, made without a body: %q", phase, got)
			}
		})
	}
}

// TestAFunctionOfTheOriginPhase checks that its responses are stored, and removed when
// its code changes.
func TestAFunctionOfTheOriginPhase(t *testing.T) {
	var calls atomic.Int32
	small := func(_ context.Context, q *FunctionRequest, next next) (*FunctionResponse, error) {
		n := calls.Add(1)
		if q.Source.IsValid() && q.Method == "GET" {
			t.Errorf("it sees a client: %v", q.Source)
		}
		q.URI = strings.Replace(q.URI, "/small", "", 1)
		a, err := next(q)
		if err != nil {
			return nil, err
		}
		a.Body = fmt.Appendf(nil, "small %s %d", a.Body, n)
		return a, nil
	}
	inBubble(t, Config{}, cached("picture"), func(b *bubble) {
		set := func(version string) {
			b.withFunctions(Function{Path: "/small/*", Phase: OriginPhase, Version: version, Handle: small})
		}
		set("1")
		const ask = "GET /small/1.png HTTP/1.1\r\nConnection: close\r\nHost: shop.example\r\n\r\n"
		for _, want := range []string{"stored", "; hit"} {
			if got := b.ask(ask); bodyOf(got) != "small picture 1" || !strings.Contains(got, want) {
				t.Errorf("got %q, want %s", got, want)
			}
		}
		set("1")
		if got := b.ask(ask); bodyOf(got) != "small picture 1" {
			t.Errorf("after sites were set: %q", got)
		}
		set("2")
		if got := b.ask(ask); bodyOf(got) != "small picture 2" {
			t.Errorf("after its code changed: %q", got)
		}
		if got := b.ask("HEAD /small/2.png HTTP/1.1\r\nConnection: close\r\nHost: shop.example\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 200") {
			t.Errorf("HEAD: %q", got)
		}
	})
}

// TestFailedFunctionFailsItsRequest checks that a failure ends one request only, and
// that its reply has a reason.
func TestFailedFunctionFailsItsRequest(t *testing.T) {
	fails := func(_ context.Context, q *FunctionRequest, next next) (*FunctionResponse, error) {
		switch q.URI {
		case "/f/deadline":
			return nil, &FunctionError{Status: 504, Detail: "fn-deadline", Err: errors.New("too long")}
		case "/f/next":
			q.URI = "/%00"
			a, err := next(q)
			if err == nil && a.Status == 400 {
				return a, nil
			}
			return nil, fmt.Errorf("got %v, %w", a, err)
		}
		return nil, errors.New("odd")
	}
	inBubble(t, Config{}, cached("x"), func(b *bubble) {
		b.withFunctions(Function{Path: "/f/*", Handle: fails}, Function{Path: "/o/*", Phase: OriginPhase, Handle: fails})
		for target, want := range map[string]string{"/f/deadline": "504 fn-deadline", "/f/next": "400 ", "/o/x": "50"} {
			got := b.ask("GET " + target + " HTTP/1.1\r\nConnection: close\r\nHost: shop.example\r\n\r\n")
			status, detail, _ := strings.Cut(want, " ")
			if !strings.HasPrefix(got, "HTTP/1.1 "+status) || !strings.Contains(got, detail) {
				t.Errorf("%s: got %q", target, got)
			}
		}
		big := b.ask("POST /f/x HTTP/1.1\r\nConnection: close\r\nHost: shop.example\r\nContent-Length: 99999999\r\n\r\n")
		if !strings.HasPrefix(big, "HTTP/1.1 413") || !strings.Contains(big, "Connection: close") {
			t.Errorf("a large upload: %q", big)
		}
	})
}

// TestFunctionCannotForgeRequests checks that a function cannot write a second request
// to the origin, in both phases, even if its runtime checks nothing.
func TestFunctionCannotForgeRequests(t *testing.T) {
	var asked atomic.Int32
	origin := func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.Header().Set("Cache-Control", "max-age=60")
	}
	inBubble(t, Config{}, origin, func(b *bubble) {
		for _, tt := range [][2]string{
			{"GET", "/a HTTP/1.1\r\nHost: shop.example\r\n\r\nGET /b"}, {"GET", "/a\r"}, {"GET", "/a\n"}, {"GET", "/ b"}, {"GET", "/\t"}, {"GET", "/\x00"}, {"GET", "/\x7f"}, {"GET", "/\x80"},
			{"GET", ""}, {"GET", "b"}, {"GET", "http://other/"}, {"GET", "*"},
			{"", "/"}, {"GET /b HTTP/1.1\r\n", "/"}, {"G T", "/"}, {"GET\t", "/"}, {"GET:", "/"}, {"CONNECT", "/"}, {"TRACE", "/"},
		} {
			var got error
			f := func(_ context.Context, q *FunctionRequest, next next) (*FunctionResponse, error) {
				q.Method, q.URI = tt[0], tt[1]
				a, err := next(q)
				got = err
				return a, err
			}
			for _, phase := range []Phase{ClientPhase, OriginPhase} {
				got = nil
				b.withFunctions(Function{Path: "/f", Phase: phase, Handle: f})
				reply := b.ask("GET /f HTTP/1.1\r\nConnection: close\r\nHost: shop.example\r\n\r\n")
				if !strings.HasPrefix(reply, "HTTP/1.1 500") || !strings.Contains(reply, "fn-crash") || got == nil || asked.Load() != 0 {
					t.Errorf("%q in the %s phase: %v, %q, the origin was asked %d times", tt, phase, got, reply, asked.Load())
				}
			}
		}
	})
}

// TestModulesArePulled loads a module by its digest, from every host.
func TestModulesArePulled(t *testing.T) {
	cfg := Config{Module: func(digest string) ([]byte, bool) { return []byte("code"), digest == "abc" }}
	inBubble(t, cfg, cached("x"), func(b *bubble) {
		if got := b.ask("GET " + ModulePath + "abc HTTP/1.1\r\nConnection: close\r\nHost: any\r\n\r\n"); bodyOf(got) != "code" || !strings.Contains(got, "application/wasm") {
			t.Errorf("got %q", got)
		}
		if got := b.ask("GET " + ModulePath + "abd HTTP/1.1\r\nConnection: close\r\nHost: any\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 404") {
			t.Errorf("got %q", got)
		}
	})
}

// TestOriginIsNamedOnlyWhenItWasAsked checks that a function behind the cache which
// does not call next has no fwd-status and no time of an origin.
func TestOriginIsNamedOnlyWhenItWasAsked(t *testing.T) {
	alone := func(context.Context, *FunctionRequest, next) (*FunctionResponse, error) {
		return text(200, "alone", "Cache-Control", "max-age=60")
	}
	through := func(_ context.Context, q *FunctionRequest, next next) (*FunctionResponse, error) { return next(q) }
	inBubble(t, Config{}, cached("x"), func(b *bubble) {
		b.withFunctions(Function{Path: "/alone", Phase: OriginPhase, Handle: alone}, Function{Path: "/through", Phase: OriginPhase, Handle: through})
		for path, asked := range map[string]bool{"/alone": false, "/through": true} {
			got := b.ask("GET " + path + " HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n")
			if strings.Contains(got, "fwd-status=200") != asked || !strings.Contains(got, "fwd=uri-miss") || strings.Contains(got, "\r\nAge:") {
				t.Errorf("%s: got %q", path, got)
			}
		}
	})
}
