package edge

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"perto/edge/fetch"
	"perto/internal/netx"
	"perto/internal/simnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bubble is an edge and its origin in memory and virtual time.
type bubble struct {
	*testing.T
	net  *simnet.Net
	edge *Edge
	ran  chan error
}

// inBubble runs f beside an edge for shop.example. Its origin is the handler.
func inBubble(t *testing.T, cfg Config, origin http.HandlerFunc, f func(b *bubble)) {
	synctest.Test(t, func(t *testing.T) {
		b := &bubble{T: t, net: simnet.New(0, simnet.Link{}), ran: make(chan error, 1)}
		l, err := b.net.Named("origin").Listen(context.Background(), "tcp", ":80")
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: origin}
		go server.Serve(l)
		cfg.Name, cfg.Network = "gru-1", b.net.Named("edge")
		b.edge = newEdge(t, cfg, "http://origin")
		go func() { b.ran <- b.edge.Run(context.Background()) }()
		synctest.Wait()
		f(b)
		b.edge.Close()
		if err := <-b.ran; err != nil {
			t.Error(err)
		}
		server.Close()
	})
}

func newEdge(t testing.TB, cfg Config, origin string) *Edge {
	t.Helper()
	e, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	sites, err := NewSites(Site{Service: "shop.example", Hosts: []string{"127.0.0.1"}, Origins: []fetch.Origin{{URL: origin}}})
	if err != nil {
		t.Fatal(err)
	}
	e.SetSites(sites)
	return e
}

func (b *bubble) dial() (net.Conn, *bufio.Reader) {
	c, err := b.net.Named("client").DialContext(context.Background(), "tcp", "edge:80")
	if err != nil {
		b.Fatal(err)
	}
	return c, bufio.NewReader(c)
}

// ask sends raw bytes on a new connection and returns all received bytes until the edge
// closes it.
func (b *bubble) ask(raw string) string {
	c, br := b.dial()
	defer c.Close()
	go io.WriteString(c, raw)
	got, _ := io.ReadAll(br)
	return string(got)
}

func (b *bubble) metric(name string) float64 {
	m, err := b.edge.cfg.Metrics.Gather()
	if err != nil {
		b.Fatal(err)
	}
	return m[name]
}

func cached(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header()["Date"] = nil
		io.WriteString(w, body)
	}
}

const get = "GET /a HTTP/1.1\r\nHost: shop.example\r\n\r\n"
const getClose = "GET /a HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n"

func TestAmbiguousRequestsEndTheConnection(t *testing.T) {
	inBubble(t, Config{}, cached("hello"), func(b *bubble) {
		for raw, status := range map[string]string{
			"GET /a HTTP/1.1\nHost: shop.example\n\n": "400",
			"POST /a HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n":       "400",
			"GET /a HTTP/1.2\r\nHost: shop.example\r\n\r\n":                                                                    "505",
			"GET /" + strings.Repeat("a", 20000) + " HTTP/1.1\r\nHost: shop.example\r\n\r\n":                                   "414",
			"GET /a HTTP/1.1\r\nHost: shop.example\r\nA: " + strings.Repeat("a", 70000) + "\r\n\r\n":                           "431",
			"POST /a HTTP/1.1\r\nHost: shop.example\r\nExpect: 200-ok\r\nContent-Length: 1\r\n\r\n":                            "417",
			"GET /a HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 35\r\n\r\nGET /b HTTP/1.1\r\nHost: shop.example\r\n\r\n": "200",
		} {
			got := b.ask(raw + get)
			if !strings.HasPrefix(got, "HTTP/1.1 "+status) || strings.Count(got, "HTTP/1.1 ") != 1 || !strings.Contains(got, "Connection: close\r\n") {
				b.Errorf("%.60q: got %.200q, want one %s and the end", raw, got, status)
			}
		}
		if n := b.metric(`perto_http_requests_total{outcome="refused"}`); n != 6 {
			b.Errorf("%v refused requests counted, want 6", n)
		}
	})
}

// TestBadChunkEndsUpload sends an upload with a malformed chunk. The origin has already
// received the head, but its upload ends early, and the client receives a 400.
func TestBadChunkEndsUpload(t *testing.T) {
	uploads := make(chan error, 1)
	origin := func(w http.ResponseWriter, q *http.Request) {
		_, err := io.Copy(io.Discard, q.Body)
		uploads <- err
	}
	inBubble(t, Config{}, origin, func(b *bubble) {
		got := b.ask("POST /a HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n" + get)
		if !strings.HasPrefix(got, "HTTP/1.1 400") || strings.Count(got, "HTTP/1.1 ") != 1 {
			b.Errorf("got %q", got)
		}
		if err := <-uploads; err == nil {
			b.Error("the origin took the upload for whole")
		}
	})
}

func TestUploadsStream(t *testing.T) {
	origin := func(w http.ResponseWriter, q *http.Request) {
		n, err := io.Copy(io.Discard, q.Body)
		fmt.Fprintf(w, "%s %d %v", q.Method, n, err)
	}
	inBubble(t, Config{}, origin, func(b *bubble) {
		c, br := b.dial()
		defer c.Close()
		body := strings.Repeat("x", 1<<20)
		go func() {
			fmt.Fprintf(c, "PUT /a HTTP/1.1\r\nHost: shop.example\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			fmt.Fprintf(c, "POST /a HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body)
		}()
		for _, want := range []string{"PUT 1048576 <nil>", "POST 1048576 <nil>"} {
			res, err := http.ReadResponse(br, nil)
			if err != nil {
				b.Fatal(err)
			}
			if got, err := io.ReadAll(res.Body); string(got) != want || err != nil {
				b.Errorf("got %q, %v; want %q", got, err, want)
			}
		}
		// The edge sends "100 Continue" to a client that waits for it.
		io.WriteString(c, "POST /a HTTP/1.1\r\nHost: shop.example\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
		if line, err := br.ReadString('\n'); line != "HTTP/1.1 100 Continue\r\n" {
			b.Errorf("got %q, %v", line, err)
		}
		br.ReadString('\n')
		io.WriteString(c, "hi")
		if res, err := http.ReadResponse(br, nil); err != nil || res.StatusCode != 200 {
			b.Errorf("after the body: %v, %v", res, err)
		}
	})
}

func TestInterimRepliesPassThroughAndAreNotStored(t *testing.T) {
	origin := func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Link", "</app.css>; rel=preload")
		w.WriteHeader(103)
		w.Header().Del("Link")
		cached("hello")(w, q)
	}
	inBubble(t, Config{}, origin, func(b *bubble) {
		if got := b.ask(getClose); !strings.HasPrefix(got, "HTTP/1.1 103 ") || strings.Count(got, "Link: ") != 1 || !strings.Contains(got, "\r\n\r\nHTTP/1.1 200 OK") {
			b.Errorf("first: %q", got)
		}
		if got := b.ask(getClose); !strings.HasPrefix(got, "HTTP/1.1 200 ") || strings.Contains(got, "Link") || !strings.Contains(got, "; hit") {
			b.Errorf("second: %q", got)
		}
	})
}

func TestHTTP10ClientsGetBodiesThatEndWithTheConnection(t *testing.T) {
	origin := func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Write([]byte("hel"))
		w.(http.Flusher).Flush()
		w.Write([]byte("lo"))
	}
	inBubble(t, Config{}, origin, func(b *bubble) {
		got := b.ask("GET /a HTTP/1.0\r\nHost: shop.example\r\n\r\n")
		if !strings.HasSuffix(got, "\r\n\r\nhello") || strings.Contains(got, "chunked") {
			b.Errorf("got %q", got)
		}
	})
}

func TestLargeObjectsComeWholeAndInParts(t *testing.T) {
	body := make([]byte, 3<<20)
	for i := range body {
		body[i] = byte(i * 7 >> 5)
	}
	origin := func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Write(body)
	}
	inBubble(t, Config{}, origin, func(b *bubble) {
		for i, rng := range []string{"", "", "bytes=262100-1048700", "bytes=-5", "bytes=262144-262144"} {
			c, br := b.dial()
			fmt.Fprintf(c, "GET /a HTTP/1.1\r\nHost: shop.example\r\nX-Pad: 1\r\n")
			want := body
			switch i {
			case 2:
				want = body[262100:1048701]
			case 3:
				want = body[len(body)-5:]
			case 4:
				want = body[262144:262145]
			}
			if rng != "" {
				fmt.Fprintf(c, "Range: %s\r\n", rng)
			}
			io.WriteString(c, "\r\n")
			res, err := http.ReadResponse(br, nil)
			if err != nil {
				b.Fatal(err)
			}
			if got, err := io.ReadAll(res.Body); !bytes.Equal(got, want) || err != nil {
				b.Errorf("%q: %d bytes, %v; want %d", rng, len(got), err, len(want))
			}
			c.Close()
		}
	})
}

// TestSlowClientDelaysNoOther has one client that reads nothing while the object fills.
// The other clients and the cache receive all of it.
func TestSlowClientDelaysNoOther(t *testing.T) {
	body := strings.Repeat("x", 4<<20)
	inBubble(t, Config{}, cached(body), func(b *bubble) {
		slow, _ := b.dial()
		defer slow.Close()
		io.WriteString(slow, get)
		synctest.Wait()
		begin := time.Now()
		if got := b.ask(getClose); !strings.HasSuffix(got, body) {
			b.Errorf("%d bytes came", len(got))
		}
		if d := time.Since(begin); d > time.Second {
			b.Errorf("it took %v", d)
		}
		// After one write filled the connection, the client reads nothing for longer than
		// the write timeout.
		time.Sleep(3 * b.edge.limits.Load().StallTimeout)
		if n := b.metric("perto_http_connections"); n != 0 {
			b.Errorf("%v connections are open, want the slow one cut", n)
		}
	})
}

func TestTooLargeReplyPassesThrough(t *testing.T) {
	const size = 4 << 20
	for name, origin := range map[string]http.HandlerFunc{
		"known length": func(w http.ResponseWriter, q *http.Request) {
			w.Header().Set("Cache-Control", "max-age=60")
			w.Header().Set("Content-Length", fmt.Sprint(size))
			w.Write(make([]byte, size))
		},
		"unknown length": func(w http.ResponseWriter, q *http.Request) {
			w.Header().Set("Cache-Control", "max-age=60")
			for range size / 4096 {
				w.Write(make([]byte, 4096))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, Config{Limits: Limits{CacheBytes: 1 << 20}}, origin, func(b *bubble) {
				c, br := b.dial()
				defer c.Close()
				io.WriteString(c, get)
				res, err := http.ReadResponse(br, nil)
				if err != nil {
					b.Fatal(err)
				}
				if n, err := io.Copy(io.Discard, res.Body); n != size || err != nil {
					b.Errorf("%d bytes, %v", n, err)
				}
				synctest.Wait()
				if s := b.edge.CacheStats(); s.Objects != 0 || s.Filling != 0 {
					b.Errorf("the cache holds %+v", s)
				}
			})
		})
	}
}

func TestSlowHeadsAndIdleConnectionsEnd(t *testing.T) {
	inBubble(t, Config{}, cached("hello"), func(b *bubble) {
		begin := time.Now()
		c, br := b.dial()
		defer c.Close()
		var writing sync.WaitGroup
		writing.Go(func() { // one byte a second
			for _, ch := range get + strings.Repeat("x", 100) {
				if _, err := c.Write([]byte{byte(ch)}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		})
		got, _ := io.ReadAll(br)
		took := time.Since(begin)
		c.Close()
		writing.Wait()
		if d := took; !strings.HasPrefix(string(got), "HTTP/1.1 408") || d > 15*time.Second {
			b.Errorf("after %v: %.80q", d, got)
		}
		begin = time.Now()
		if got := b.ask(""); got != "" || time.Since(begin) > 70*time.Second || time.Since(begin) < 50*time.Second {
			b.Errorf("an idle connection lasted %v and got %q", time.Since(begin), got)
		}
	})
}

func TestConnectionsAreLimited(t *testing.T) {
	inBubble(t, Config{Limits: Limits{MaxConns: 2}}, cached("hello"), func(b *bubble) {
		one, _ := b.dial()
		two, _ := b.dial()
		defer one.Close()
		defer two.Close()
		synctest.Wait()
		if got := b.ask(getClose); got != "" {
			b.Errorf("a third connection got %q", got)
		}
		if b.edge.Load() != 1 || b.metric("perto_http_turned_away_total") != 1 {
			b.Errorf("load %v, turned away %v", b.edge.Load(), b.metric("perto_http_turned_away_total"))
		}
		one.Close()
		synctest.Wait()
		if got := b.ask(getClose); !strings.HasPrefix(got, "HTTP/1.1 200") {
			b.Errorf("after one left: %q", got)
		}
	})
}

func TestCloseLetsRunningRequestsFinish(t *testing.T) {
	origin := func(w http.ResponseWriter, q *http.Request) {
		time.Sleep(3 * time.Second)
		cached("hello")(w, q)
	}
	inBubble(t, Config{}, origin, func(b *bubble) {
		idle, idleReader := b.dial()
		defer idle.Close()
		io.WriteString(idle, get)
		if res, err := http.ReadResponse(idleReader, nil); err != nil {
			b.Fatal(err)
		} else {
			io.Copy(io.Discard, res.Body)
		}
		fresh, freshReader := b.dial() // accepted, and its request is on its way
		defer fresh.Close()
		quiet, quietReader := b.dial()
		defer quiet.Close()
		c, br := b.dial()
		defer c.Close()
		io.WriteString(c, strings.Replace(get, "/a", "/slow", 1))
		synctest.Wait()
		begin := time.Now()
		go b.edge.Close()
		synctest.Wait()
		for name, c := range map[string]struct {
			net.Conn
			*bufio.Reader
		}{"a kept connection": {idle, idleReader}, "a new connection": {fresh, freshReader}} {
			io.WriteString(c, get)
			if res, err := http.ReadResponse(c.Reader, nil); err != nil || res.StatusCode != 200 || !res.Close {
				b.Errorf("%s: a request just after the end began: %v, %v", name, res, err)
			}
		}
		if n, err := quietReader.Read(make([]byte, 1)); n != 0 || err != io.EOF || time.Since(begin) != drainGrace {
			b.Errorf("a connection without a request: %v after %v, want its end after %v", err, time.Since(begin), drainGrace)
		}
		if b.edge.Listening() {
			b.Error("still says that it listens")
		}
		res, err := http.ReadResponse(br, nil)
		if err != nil || res.StatusCode != 200 || !res.Close {
			b.Fatalf("the running request: %v, %v", res, err)
		}
		if _, err := b.net.Named("client").DialContext(context.Background(), "tcp", "edge:80"); err == nil {
			b.Error("a new connection was accepted")
		}
	})
}

func TestCloseWaitsForDrainTimeout(t *testing.T) {
	origin := func(w http.ResponseWriter, q *http.Request) { <-q.Context().Done() }
	inBubble(t, Config{Limits: Limits{DrainTimeout: 5 * time.Second}}, origin, func(b *bubble) {
		c, br := b.dial()
		defer c.Close()
		io.WriteString(c, get)
		synctest.Wait()
		begin := time.Now()
		b.edge.Close()
		if d := time.Since(begin); d < 5*time.Second || d > 6*time.Second {
			b.Errorf("closing took %v, want the drain time", d)
		}
		io.Copy(io.Discard, br)
	})
}

func TestPurges(t *testing.T) {
	origin := func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Surrogate-Key", "shop p1")
		cached("hello")(w, q)
	}
	inBubble(t, Config{}, origin, func(b *bubble) {
		isHit := func() bool { return strings.Contains(b.ask(getClose), "; hit") }
		if isHit(); !isHit() {
			b.Fatal("not stored")
		}
		if n, err := b.edge.Purge("Shop.Example.", "/x/../a"); n != 1 || err != nil || isHit() {
			b.Errorf("purged %d by URL", n)
		}
		if n := b.edge.PurgeTag("p1"); n != 1 || isHit() {
			b.Errorf("purged %d by tag", n)
		}
		for host, target := range map[string]string{"unknown.example": "/a", "shop.example": "/%00"} {
			if n, err := b.edge.Purge(host, target); n != 0 || err == nil {
				b.Errorf("%s%s: purged %d, error %v", host, target, n, err)
			}
		}
		isHit()
		if n := b.edge.PurgeAll(); n != 1 || isHit() || b.edge.CacheStats().Objects != 1 {
			b.Errorf("purged %d of all", n)
		}
	})
}

func TestRecentRequestsAreKept(t *testing.T) {
	inBubble(t, Config{}, cached("hello"), func(b *bubble) {
		b.ask(getClose)
		b.ask(getClose)
		b.ask("GET /b HTTP/1.1\r\nHost: nobody\r\nConnection: close\r\n\r\n")
		got := b.edge.Requests(10)
		if len(got) != 3 {
			b.Fatalf("%d requests", len(got))
		}
		for i, want := range []struct {
			url     string
			outcome Outcome
			status  int
		}{{"nobody/b", Refused, 421}, {"shop.example/a", Hit, 200}, {"shop.example/a", Miss, 200}} {
			if g := got[i]; g.URL != want.url || g.Outcome != want.outcome || g.Status != want.status || g.Bytes < 100 || !strings.HasPrefix(g.Client, "198.18.") {
				b.Errorf("%d: %+v, want %+v", i, g, want)
			}
		}
		for i := range 2 * keptRequests {
			b.edge.log.add(&request{c: &conn{}, progress: progress{now: time.Now(), status: i}}, 0)
		}
		if n := len(b.edge.Requests(1 << 20)); n != keptRequests {
			b.Errorf("%d requests are kept, want %d", n, keptRequests)
		}
	})
}

func TestSitesAreChecked(t *testing.T) {
	o := []fetch.Origin{{URL: "http://o"}}
	for name, sites := range map[string][]Site{
		"no name":       {{Origins: o}},
		"no origin":     {{Service: "a"}},
		"bad origin":    {{Service: "a", Origins: []fetch.Origin{{URL: "x"}}}},
		"not canonical": {{Service: "a", Hosts: []string{"B."}, Origins: o}},
		"taken":         {{Service: "a", Hosts: []string{"b"}, Origins: o}, {Service: "b", Origins: o}},
	} {
		if _, err := NewSites(sites...); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := New(Config{}); err == nil {
		t.Error("an edge without name was accepted")
	}
}

func TestListenErrorsAreReturned(t *testing.T) {
	n := simnet.New(0, simnet.Link{})
	if _, err := n.Named("edge").Listen(t.Context(), "tcp", ":80"); err != nil {
		t.Fatal(err)
	}
	e, err := New(Config{Name: "x", Network: n.Named("edge")})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Run(t.Context()); err == nil || e.Listening() {
		t.Errorf("Run gave %v", err)
	}
	e.Close()
}

// TestRealSockets runs hits and misses over the operating system's TCP, with real
// gathered writes and half closes.
func TestRealSockets(t *testing.T) {
	small, large := "hello", strings.Repeat("x", 600_000)
	origin := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body := small
		if q.URL.Path == "/large" {
			body = large
		}
		cached(body)(w, q)
	})}
	var network netx.OS
	l, err := network.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go origin.Serve(l)
	defer origin.Close()
	e := newEdge(t, Config{Name: "gru-1", Network: &network, Listen: []string{"127.0.0.1:0"}}, "http://"+l.Addr().String())
	ran := make(chan error, 1)
	go func() { ran <- e.Run(context.Background()) }()
	for !e.Listening() {
		select {
		case err := <-ran:
			t.Fatal(err)
		case <-time.After(time.Millisecond):
		}
	}
	client := &http.Client{Transport: &http.Transport{}}
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			path, want := "/small", small
			if i%2 == 1 {
				path, want = "/large", large
			}
			for range 5 {
				res, err := client.Get("http://" + e.Addrs()[0].String() + path)
				if err != nil {
					t.Error(err)
					return
				}
				got, err := io.ReadAll(res.Body)
				res.Body.Close()
				if string(got) != want || err != nil {
					t.Errorf("%s: %d bytes, %v", path, len(got), err)
				}
			}
		})
	}
	wg.Wait()
	client.CloseIdleConnections()
	// The reply to a refused upload must arrive although the client still sends.
	c, err := net.Dial("tcp", e.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "POST / HTTP/1.1\r\nHost: unknown\r\nContent-Length: 100000\r\n\r\n"+strings.Repeat("x", 60000))
	if got, _ := io.ReadAll(c); !strings.HasPrefix(string(got), "HTTP/1.1 421") {
		t.Errorf("got %.100q", got)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ran; err != nil {
		t.Error(err)
	}
}

// player is a connection that repeats the same requests without end, for tests and
// benchmarks of the hit path.
type player struct {
	net.Conn
	request []byte
	left    int
	wrote   int
}

func (p *player) Read(b []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	p.left--
	return copy(b, p.request), nil
}
func (p *player) Write(b []byte) (int, error)      { p.wrote += len(b); return len(b), nil }
func (p *player) Close() error                     { return nil }
func (p *player) RemoteAddr() net.Addr             { return nil }
func (p *player) SetReadDeadline(time.Time) error  { return nil }
func (p *player) SetWriteDeadline(time.Time) error { return nil }

// warm returns an edge that has stored /a of n bytes, and a function that stops it.
func warm(t testing.TB, n int) *Edge {
	t.Helper()
	net := simnet.New(0, simnet.Link{})
	l, err := net.Named("origin").Listen(context.Background(), "tcp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: cached(strings.Repeat("x", n))}
	go server.Serve(l)
	e := newEdge(t, Config{Name: "gru-1", Network: net.Named("edge")}, "http://origin")
	newConn(e, &player{request: []byte(get), left: 1}).serve()
	e.fetcher.Wait()
	if e.CacheStats().Objects != 1 {
		t.Fatal("nothing was stored")
	}
	t.Cleanup(func() {
		server.Close()
		e.Close()
	})
	return e
}

const browserGet = "GET /a HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)\r\n" +
	"Accept: text/html,*/*;q=0.8\r\nAccept-Encoding: gzip, br\r\nAccept-Language: pt-BR,pt;q=0.9\r\nCookie: a=b; c=d\r\nConnection: keep-alive\r\n\r\n"

func TestAHitAllocatesNothing(t *testing.T) {
	for _, tc := range []struct {
		name, request string
		size          int
	}{
		{"small", browserGet, 1024},
		{"large", browserGet, 300_000},
		{"range", "GET /a HTTP/1.1\r\nHost: SHOP.example:80\r\nIf-None-Match: \"x\"\r\n\r\n", 1024},
		{"head", "HEAD /x/../a HTTP/1.1\r\nHost: shop.example\r\n\r\n", 1024},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := warm(t, tc.size)
			p := &player{request: []byte(tc.request)}
			c := newConn(e, p)
			one := func() {
				if err := c.reader.ReadRequest(&c.req.q); err != nil {
					t.Fatal(err)
				}
				c.req.begin(time.Now())
				c.req.run()
				c.req.end()
			}
			p.left = 1000
			one()
			if c.req.outcome != Hit || c.req.closing {
				t.Fatalf("outcome %v", c.req.outcome)
			}
			if n := testing.AllocsPerRun(100, one); n != 0 {
				t.Errorf("%v allocations a hit, want 0", n)
			}
		})
	}
}

// rawOrigin listens on port 80 of the host "origin" of n. It gives each connection to
// serve, in a goroutine of its own, and closes the connection after it.
func rawOrigin(t testing.TB, n *simnet.Net, serve func(net.Conn)) net.Listener {
	return rawOriginAt(t, n, ":80", serve)
}

func rawOriginAt(t testing.TB, n *simnet.Net, address string, serve func(net.Conn)) net.Listener {
	l, err := n.Named("origin").Listen(context.Background(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c)
			}()
		}
	}()
	return l
}

func BenchmarkHit(b *testing.B) {
	for _, tc := range []struct {
		name, request string
		size          int
	}{
		{"curl/1KiB", get, 1 << 10}, {"browser/1KiB", browserGet, 1 << 10}, {"browser/100KiB", browserGet, 100 << 10},
	} {
		b.Run(tc.name, func(b *testing.B) {
			e := warm(b, tc.size)
			p := &player{request: []byte(tc.request)}
			c := newConn(e, p)
			b.ReportAllocs()
			now := time.Now()
			for b.Loop() {
				p.left = 1
				c.await(now)
				if err := c.reader.ReadRequest(&c.req.q); err != nil {
					b.Fatal(err)
				}
				c.req.begin(time.Now())
				c.req.run()
				now = c.req.end()
			}
		})
	}
}
