package edge

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"perto/edge/fetch"
)

// session is an origin that sets a new session cookie for each request.
func session() http.HandlerFunc {
	var n atomic.Int32
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=60")
		w.Header().Set("Set-Cookie", fmt.Sprintf("sid=%d", n.Add(1)))
		io.WriteString(w, "page")
	}
}

// TestFunctionRepliesWithCookiesAreNotShared checks that cookies of a function of the
// origin phase are treated like cookies of an origin. A function of the client phase
// receives the cookies of its own client only.
func TestFunctionRepliesWithCookiesAreNotShared(t *testing.T) {
	var n atomic.Int32
	login := func(_ context.Context, _ *FunctionRequest, next next) (*FunctionResponse, error) {
		return text(200, "x", "Cache-Control", "public, max-age=60", "SET-COOKIE", fmt.Sprintf("fn=%d", n.Add(1)))
	}
	through := func(_ context.Context, q *FunctionRequest, next next) (*FunctionResponse, error) { return next(q) }
	inBubble(t, Config{}, session(), func(b *bubble) {
		b.withFunctions(Function{Path: "/origin", Phase: OriginPhase, Handle: login}, Function{Path: "/client", Handle: through},
			Function{Path: "/both", Phase: OriginPhase, Handle: through})
		for _, path := range []string{"/origin", "/client", "/both"} {
			seen := make(map[string]bool)
			for range 3 {
				reply := b.ask("GET " + path + " HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n")
				cookie := fieldOf(reply, "Set-Cookie")
				if cookie == "" || seen[cookie] || strings.Contains(reply, "; hit") {
					t.Errorf("%s: the cookie %q was given before, or the reply is a hit:\n%s", path, cookie, reply)
				}
				seen[cookie] = true
			}
		}
	})
}

func fieldOf(reply, name string) string {
	for line := range strings.SplitSeq(reply, "\r\n") {
		if n, v, ok := strings.Cut(line, ": "); ok && strings.EqualFold(n, name) {
			return v
		}
	}
	return ""
}

// TestCookiesAreStripped checks that the operator's rule removes the cookies of origins
// and of functions behind the cache, for all clients including the first.
func TestCookiesAreStripped(t *testing.T) {
	through := func(_ context.Context, q *FunctionRequest, next next) (*FunctionResponse, error) { return next(q) }
	inBubble(t, Config{}, session(), func(b *bubble) {
		sites, err := NewSites(Site{Service: "shop.example", Origins: []fetch.Origin{{URL: "http://origin"}}, Cookies: StripCookies,
			Paths:     []PathRule{{Path: "/account/*", Cookies: PassCookies}, {Path: "/caf\u00e9", Cookies: PassCookies}},
			Functions: []Function{{Path: "/fn", Phase: OriginPhase, Handle: through}, {Path: "/client", Handle: through}}})
		if err != nil {
			t.Fatal(err)
		}
		b.edge.SetSites(sites)
		for _, tt := range []struct {
			path   string
			passes bool
		}{{"/a", false}, {"/fn", false}, {"/client", false}, {"/account/me", true}, {"/x/../account/me?a=b", true}, {"/caf%c3%a9", true}} {
			for i := range 2 {
				reply := b.ask("GET " + tt.path + " HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n")
				if got := fieldOf(reply, "Set-Cookie") != ""; got != tt.passes {
					t.Errorf("%s, request %d: cookie delivered: %v, want %v", tt.path, i, got, tt.passes)
				}
				if hit := strings.Contains(reply, "; hit"); hit != (i == 1 && !tt.passes) && tt.path != "/client" {
					t.Errorf("%s, request %d: hit: %v:\n%s", tt.path, i, hit, reply)
				}
			}
		}
	})
}

// TestParentTierSharesNoCookie uses an edge that has another edge as its origin.
func TestParentTierSharesNoCookie(t *testing.T) {
	inBubble(t, Config{}, session(), func(b *bubble) {
		child, err := New(Config{Name: "gig-1", Network: b.net.Named("child")})
		if err != nil {
			t.Fatal(err)
		}
		sites, err := NewSites(Site{Service: "shop.example", Origins: []fetch.Origin{{URL: "http://edge"}}})
		if err != nil {
			t.Fatal(err)
		}
		child.SetSites(sites)
		var running sync.WaitGroup
		running.Go(func() { child.Run(context.Background()) })
		synctest.Wait()
		seen := make(map[string]bool)
		for range 3 {
			c, err := b.net.Named("client").DialContext(context.Background(), "tcp", "child:80")
			if err != nil {
				t.Fatal(err)
			}
			io.WriteString(c, getClose)
			reply, _ := io.ReadAll(c)
			c.Close()
			cookie := fieldOf(string(reply), "Set-Cookie")
			if cookie == "" || seen[cookie] {
				t.Errorf("the cookie %q was given before:\n%s", cookie, reply)
			}
			seen[cookie] = true
		}
		child.Close()
		running.Wait()
	})
}

// TestExplainNamesCookie checks that explain returns why a URL is not stored, with a
// hint.
func TestExplainNamesCookie(t *testing.T) {
	inBubble(t, Config{}, session(), func(b *bubble) {
		b.ask(getClose)
		x := b.edge.Explain("shop.example", "/a")
		if x.NotStored != "set-cookie" || x.Cookies != "pass" || !strings.Contains(x.Why, `cookies = "strip"`) {
			t.Errorf("got %+v", x)
		}
	})
}

// TestAuthenticatedConnectionsAreNotShared covers NTLM and Negotiate, with which a
// connection belongs to the client that was authenticated on it.
func TestAuthenticatedConnectionsAreNotShared(t *testing.T) {
	var mu sync.Mutex
	conns := make(map[string]int)
	origin := func(w http.ResponseWriter, q *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		conns[q.RemoteAddr]++
		if q.URL.Path == "/challenge" {
			w.Header().Set("WWW-Authenticate", "NTLM TlRMTVNTUAAC")
			w.WriteHeader(401)
		}
	}
	inBubble(t, Config{}, origin, func(b *bubble) {
		for _, head := range []string{"GET /a HTTP/1.1\r\nAuthorization: Negotiate oYG2\r\n", "GET /challenge HTTP/1.1\r\n", "GET /a HTTP/1.1\r\n"} {
			b.ask(head + "Host: shop.example\r\nConnection: close\r\n\r\n")
		}
		if len(conns) != 3 {
			t.Errorf("three requests used %d connections, want 3", len(conns))
		}
	})
}
