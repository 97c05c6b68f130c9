package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"perto/internal/netx"
	"perto/internal/simnet"
)

// TestUnreadBodyIsNoRequest checks a reply that the edge makes itself, without reading
// the body of the request. If the edge read the body as the next request, a proxy in
// front would not have checked that request.
func TestUnreadBodyIsNoRequest(t *testing.T) {
	inBubble(t, Config{}, cached("hello"), func(b *bubble) {
		for _, head := range []string{
			"POST " + HealthPath + " HTTP/1.1\r\nHost: shop.example\r\n",
			"PUT /a HTTP/1.1\r\nHost: shop.example\r\nCDN-Loop: perto-gru-1\r\n",
			"POST /a HTTP/1.1\r\nHost: unknown\r\n",
			"POST /%00 HTTP/1.1\r\nHost: shop.example\r\n",
			"DELETE /a HTTP/1.1\r\nHost: shop.example\r\nCDN-Loop: perto-gru-1\r\nTransfer-Encoding: chunked\r\nX: ",
		} {
			got := b.ask(fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", head, len(getClose), getClose))
			if strings.Count(got, "HTTP/1.1 ") != 1 || !strings.Contains(got, "Connection: close\r\n") {
				b.Errorf("%.60q: got %q, want one reply and the end", head, got)
			}
		}
	})
}

// TestRequestNoStorePurgesNothing checks that no-store in a request keeps its own reply
// out of the cache, and has no other effect.
func TestRequestNoStorePurgesNothing(t *testing.T) {
	origin := func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("ETag", `"v1"`)
		if q.Header.Get("If-None-Match") == `"v1"` {
			w.WriteHeader(304)
			return
		}
		io.WriteString(w, "hello")
	}
	inBubble(t, Config{}, origin, func(b *bubble) {
		b.ask(getClose)
		for _, field := range []string{"Cache-Control: no-cache, no-store", "Cache-Control: no-cache\r\nAuthorization: Basic eDp5"} {
			b.ask(strings.Replace(getClose, "\r\n\r\n", "\r\n"+field+"\r\n\r\n", 1))
			if got := b.ask(getClose); !strings.Contains(got, "; hit") {
				b.Errorf("after %q: %q", field, got)
			}
		}
	})
}

// TestUnforwardedFieldSelectsNoVariant checks a field that Connection names. It does
// not reach the origin, so the reply is not the variant for its value.
func TestUnforwardedFieldSelectsNoVariant(t *testing.T) {
	origin := func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Vary", "X-Language")
		io.WriteString(w, "language "+q.Header.Get("X-Language"))
	}
	inBubble(t, Config{}, origin, func(b *bubble) {
		b.ask("GET /a HTTP/1.1\r\nHost: shop.example\r\nX-Language: pt\r\nConnection: close, X-Language\r\n\r\n")
		got := b.ask("GET /a HTTP/1.1\r\nHost: shop.example\r\nX-Language: pt\r\nConnection: close\r\n\r\n")
		if !strings.HasSuffix(got, "language pt") {
			b.Errorf("got %q", got)
		}
	})
}

// TestUnsatisfiedRangeIsNotCacheable checks that a 416 does not have the object's
// freshness. Otherwise a cache in front of the edge could store the 416 and use it for
// requests without Range (the attack called cache-poisoned denial of service).
func TestUnsatisfiedRangeIsNotCacheable(t *testing.T) {
	origin := func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("ETag", `"v1"`)
		w.Header().Set("Content-Encoding", "x")
		w.Header().Set("CDN-Cache-Control", "max-age=60")
		w.Header().Set("Expires", "Sun, 06 Nov 2094 08:49:37 GMT")
		cached("hello")(w, q)
	}
	inBubble(t, Config{}, origin, func(b *bubble) {
		b.ask(getClose)
		got := b.ask("GET /a HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\nRange: bytes=5-\r\n\r\n")
		if !strings.HasPrefix(got, "HTTP/1.1 416 ") || !strings.Contains(got, "Content-Range: bytes */5\r\n") ||
			!strings.Contains(got, "Cache-Control: no-store\r\n") || strings.Contains(got, "max-age") || strings.Contains(got, "Expires") ||
			strings.Contains(got, "Content-Encoding") {
			b.Errorf("got %q", got)
		}
	})
}

// TestPurgeUsesHostOfClients purges by a host with its port, if that is not the
// default.
func TestPurgeUsesHostOfClients(t *testing.T) {
	inBubble(t, Config{}, cached("hello"), func(b *bubble) {
		for _, host := range []string{"shop.example", "shop.example:80", "SHOP.example.", "shop.example:0080", "shop.example.:80"} {
			b.ask("GET /a HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n")
			if got := b.ask("GET /a HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n"); !strings.Contains(got, "; hit") {
				b.Errorf("%s is another object: %q", host, got)
			}
			if n, err := b.edge.Purge(host, "/a"); n != 1 || err != nil {
				b.Errorf("%s: purged %d", host, n)
			}
		}
		b.ask("GET /a HTTP/1.1\r\nHost: shop.example:8080\r\nConnection: close\r\n\r\n")
		if n, err := b.edge.Purge("shop.example:8080", "/a"); n != 1 || err != nil {
			b.Errorf("with a port: purged %d", n)
		}
	})
}

// TestCredentialsDoNotEndCollapsing checks that a reply which is not shared because of
// one client's credentials does not stop request coalescing for other clients.
func TestCredentialsDoNotEndCollapsing(t *testing.T) {
	var asked atomic.Int32
	origin := func(w http.ResponseWriter, q *http.Request) {
		asked.Add(1)
		time.Sleep(time.Second)
		cached("hello")(w, q)
	}
	inBubble(t, Config{}, origin, func(b *bubble) {
		var all sync.WaitGroup
		all.Go(func() {
			b.ask("GET /a HTTP/1.1\r\nHost: shop.example\r\nAuthorization: Basic eDp5\r\nConnection: close\r\n\r\n")
		})
		synctest.Wait()
		for range 10 {
			all.Go(func() {
				if got := b.ask(getClose); !strings.HasSuffix(got, "hello") {
					b.Errorf("got %q", got)
				}
			})
		}
		all.Wait()
		if n := asked.Load(); n != 2 {
			b.Errorf("the origin was asked %d times, want once for the credentials and once for all others", n)
		}
	})
}

// TestSlowClientGetsLargeObject uses a client that is slow but has not stalled.
func TestSlowClientGetsLargeObject(t *testing.T) {
	const size, perSecond = 3 << 20, 8 << 10
	origin := func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Cache-Control", "max-age=3600")
		io.WriteString(w, strings.Repeat("x", size))
	}
	inBubble(t, Config{}, origin, func(b *bubble) {
		for _, outcome := range []string{"uri-miss", "; hit"} {
			c, br := b.dial()
			defer c.Close()
			io.WriteString(c, get)
			res, err := http.ReadResponse(br, nil)
			if err != nil {
				b.Fatal(err)
			}
			n := int64(0)
			for err == nil {
				var k int64
				k, err = io.CopyN(io.Discard, res.Body, perSecond)
				n += k
				time.Sleep(time.Second)
			}
			if n != size || !strings.Contains(res.Header.Get("Cache-Status"), outcome) {
				b.Errorf("%s: %d bytes, then %v", outcome, n, err)
			}
		}
	})
}

// TestSlowUploadEnds checks the minimum rate of uploads, which hold a permit of the
// origin.
func TestSlowUploadEnds(t *testing.T) {
	origin := func(w http.ResponseWriter, q *http.Request) { io.Copy(io.Discard, q.Body) }
	inBubble(t, Config{}, origin, func(b *bubble) {
		c, br := b.dial()
		begin := time.Now()
		var sending sync.WaitGroup
		sending.Go(func() {
			io.WriteString(c, "POST /a HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 1000\r\n\r\n")
			for range 1000 {
				if _, err := io.WriteString(c, "x"); err != nil {
					return
				}
				time.Sleep(10 * time.Second)
			}
		})
		io.Copy(io.Discard, br)
		c.Close()
		sending.Wait()
		if d := time.Since(begin); d > 3*b.edge.limits.Load().StallTimeout {
			b.Errorf("it lasted %v", d)
		}
		if h := b.edge.Origins(); h[0].Running != 0 {
			b.Errorf("the origin is still busy: %+v", h)
		}
	})
}

// TestTruncatedBodyResetsHTTP10 checks that a truncated body ends with a reset in
// HTTP/1.0. There the end of the connection is the end of the body, so a proxy could
// otherwise store half of it.
func TestTruncatedBodyResetsHTTP10(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Cache-Control", q.URL.RawQuery)
		io.WriteString(w, "half")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}))
	defer origin.Close()
	origin.Config.ErrorLog = log.New(io.Discard, "", 0)
	e := newEdge(t, Config{Name: "gru-1", Network: new(netx.OS), Listen: []string{"127.0.0.1:0"}}, origin.URL)
	if err := e.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	ran := make(chan error, 1)
	go func() { ran <- e.Run(context.Background()) }()
	for _, kind := range []string{"max-age=60", "no-store"} {
		c, err := net.Dial("tcp", e.Addrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "GET /?%s HTTP/1.0\r\nHost: shop.example\r\n\r\n", kind)
		if got, err := io.ReadAll(c); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: got %q and %v, want a reset", kind, got, err)
		}
		c.Close()
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ran; err != nil {
		t.Error(err)
	}
}

// TestCloseReleasesAddress calls Close after Start, with and without Run.
func TestCloseReleasesAddress(t *testing.T) {
	n := simnet.New(0, simnet.Link{})
	taken, err := n.Named("edge").Listen(t.Context(), "tcp", ":81")
	if err != nil {
		t.Fatal(err)
	}
	e := newEdge(t, Config{Name: "x", Network: n.Named("edge"), Listen: []string{":80", ":81"}}, "http://origin")
	if err := e.Start(t.Context()); err == nil {
		t.Fatal("opened an address that is taken")
	}
	taken.Close()
	if err := e.Start(t.Context()); err != nil || len(e.Addrs()) != 2 {
		t.Fatalf("a second attempt: %v, %v", err, e.Addrs())
	}
	e.Close()
	l, err := n.Named("edge").Listen(t.Context(), "tcp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}
