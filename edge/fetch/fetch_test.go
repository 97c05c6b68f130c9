package fetch

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"perto/edge/cache"
	"perto/edge/rfc9111"
	"perto/internal/fields"
	"perto/internal/simnet"
)

// world is one edge host and its origins in memory.
type world struct {
	t      *testing.T
	net    *simnet.Net
	client *Client
	hits   atomic.Int32 // requests at all origins
}

// inWorld runs a test in virtual time.
func inWorld(t *testing.T, f func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New(0, simnet.Link{})
		w := &world{t: t, net: n, client: NewClient(Config{Name: "perto-test", Network: n.Named("edge")})}
		f(w)
		w.client.Close()
	})
}

// origin starts an origin that runs the script for each request. The script writes the
// raw reply. The origin ends with the test.
func (w *world) origin(name string, script func(c net.Conn, q *http.Request) (keep bool)) {
	l, err := w.net.Named(name).Listen(w.t.Context(), "tcp", ":80")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				br := bufio.NewReader(c)
				for {
					q, err := http.ReadRequest(br)
					if err != nil {
						return
					}
					w.hits.Add(1)
					if !script(c, q) {
						return
					}
				}
			}()
		}
	}()
}

// says returns a script that writes the same bytes for each request.
func says(reply string) func(net.Conn, *http.Request) bool {
	return func(c net.Conn, q *http.Request) bool {
		io.Copy(io.Discard, q.Body)
		io.WriteString(c, reply)
		return true
	}
}

func (w *world) upstream(hosts ...string) *Upstream {
	var origins []Origin
	for _, h := range hosts {
		origins = append(origins, Origin{URL: "http://" + h})
	}
	u, err := w.client.Upstream(origins)
	if err != nil {
		w.t.Fatal(err)
	}
	return u
}

func get(target string) *Exchange {
	return &Exchange{Method: "GET", Target: target, Host: "shop.example", Via: "1.1"}
}

func (w *world) do(u *Upstream, x *Exchange) (string, error) {
	r, err := u.Do(context.Background(), x)
	if err != nil {
		return "", err
	}
	defer r.Close()
	body, err := io.ReadAll(r)
	return fmt.Sprint(r.Status, " ", string(body)), err
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nCache-Control: max-age=60\r\n\r\nhi"

func TestConnectionsAreReused(t *testing.T) {
	inWorld(t, func(w *world) {
		conns := make(map[net.Conn]bool)
		w.origin("o", func(c net.Conn, q *http.Request) bool {
			conns[c] = true
			return says(ok)(c, q)
		})
		u := w.upstream("o")
		for range 3 {
			if got, err := w.do(u, get("/")); got != "200 hi" || err != nil {
				t.Errorf("got %q, %v", got, err)
			}
		}
		if len(conns) != 1 {
			t.Errorf("%d connections, want 1", len(conns))
		}
		time.Sleep(time.Minute)
		if h := w.client.Health(); h[0].Idle != 0 || h[0].Running != 0 {
			t.Errorf("after a minute: %+v", h[0])
		}
	})
}

func TestStaleConnectionIsReplacedOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		first := true
		w.origin("o", func(c net.Conn, q *http.Request) bool {
			says(ok)(c, q)
			keep := !first
			first = false
			return keep // the first connection is closed after its reply
		})
		u := w.upstream("o")
		w.do(u, get("/"))
		synctest.Wait()
		if got, err := w.do(u, get("/")); got != "200 hi" || err != nil {
			t.Errorf("got %q, %v; want the request to be repeated", got, err)
		}
		if _, err := w.do(u, &Exchange{Method: "POST", Target: "/", Host: "a", Via: "1.1"}); err != nil {
			t.Errorf("POST on a living connection: %v", err)
		}
	})
}

func TestRequestIsComposed(t *testing.T) {
	inWorld(t, func(w *world) {
		var got *http.Request
		var body []byte
		w.origin("o", func(c net.Conn, q *http.Request) bool {
			got = q
			body, _ = io.ReadAll(q.Body)
			io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: </s>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"+ok)
			return true
		})
		var interim []int
		_, err := w.do(w.upstream("o"), &Exchange{Method: "PUT", Target: "/x?y", Host: "shop.example", Via: "1.1",
			Header: fields.Of("CDN-Loop", "other", "A", "b"), Client: "192.0.2.1", Scheme: "http", Body: strings.NewReader(strings.Repeat("b", 50000)), Length: -1,
			Interim: func(status int, h fields.Header) { interim = append(interim, status) }})
		if err != nil {
			t.Fatal(err)
		}
		if got.Host != "shop.example" || got.RequestURI != "/x?y" || got.Header.Get("A") != "b" || got.Header.Get("X-Forwarded-For") != "192.0.2.1" ||
			got.Header.Get("Via") != "1.1 perto-test" || strings.Join(got.Header["Cdn-Loop"], ",") != "other,perto-test" || len(body) != 50000 {
			t.Errorf("the origin saw %s %s %v and %d bytes", got.Host, got.RequestURI, got.Header, len(body))
		}
		if len(interim) != 1 || interim[0] != 103 {
			t.Errorf("interim replies %v, want 103", interim)
		}
	})
}

func TestFailuresHaveCauses(t *testing.T) {
	for _, tc := range []struct {
		name   string
		script func(net.Conn, *http.Request) bool
		want   Cause
		body   bool // the failure is in the body, not in the head
	}{
		{"closes", func(net.Conn, *http.Request) bool { return false }, Closed, false},
		{"says nothing", func(c net.Conn, q *http.Request) bool { io.Copy(io.Discard, c); return false }, ReplyTimeout, false},
		{"no HTTP", says("SSH-2.0-x\r\n\r\n"), BadReply, false},
		{"length and chunked", says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), BadReply, false},
		{"huge head", says("HTTP/1.1 200 OK\r\nA: " + strings.Repeat("x", 70000) + "\r\n\r\n"), BadReply, false},
		{"1xx flood", says(strings.Repeat("HTTP/1.1 103 X\r\n\r\n", 100)), BadReply, false},
		{"cut", func(c net.Conn, _ *http.Request) bool {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi")
			return false
		}, BodyCut, true},
		{"stalls", func(c net.Conn, _ *http.Request) bool {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi")
			io.Copy(io.Discard, c)
			return false
		}, BodyTimeout, true},
		{"bad chunk", says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nhi\r\n0\r\n\r\n"), BodyCut, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.origin("o", tc.script)
				got, err := w.do(w.upstream("o"), get("/"))
				if err == nil || CauseOf(err) != tc.want || (got != "") != tc.body {
					t.Errorf("got %q, %v; want %v", got, err, tc.want)
				}
				if h := w.client.Health()[0]; h.Running != 0 || h.Idle != 0 {
					t.Errorf("left behind: %+v", h)
				}
			})
		})
	}
}

func TestNextOriginTakesOver(t *testing.T) {
	inWorld(t, func(w *world) {
		w.origin("b", says(ok))
		u := w.upstream("a", "b") // a has no listener
		for range breakAfter + 2 {
			if got, err := w.do(u, get("/")); got != "200 hi" || err != nil {
				t.Fatalf("got %q, %v", got, err)
			}
		}
		_, err := w.do(w.upstream("a"), get("/"))
		if CauseOf(err) != Broken || CauseOf(err).Status() != 503 {
			t.Errorf("alone: %v, want the breaker open", err)
		}
		// After a pause it allows one attempt, and closes when the attempt succeeds.
		w.origin("a", says(ok))
		time.Sleep(breakFirst)
		if got, err := w.do(w.upstream("a"), get("/")); got != "200 hi" || err != nil {
			t.Errorf("half open: got %q, %v", got, err)
		}
	})
}

func TestOneBadURLKeepsBreakerClosed(t *testing.T) {
	inWorld(t, func(w *world) {
		w.origin("o", func(c net.Conn, q *http.Request) bool {
			return q.URL.Path != "/crash" && says(ok)(c, q)
		})
		u := w.upstream("o")
		for range 3 * breakAfter {
			if _, err := w.do(u, get("/crash")); CauseOf(err) != Closed {
				w.t.Fatalf("got %v", err)
			}
		}
		if got, err := w.do(u, get("/")); got != "200 hi" || err != nil {
			w.t.Errorf("got %q, %v", got, err)
		}
	})
}

func TestExchangesAreCapped(t *testing.T) {
	inWorld(t, func(w *world) {
		w.client = NewClient(Config{Name: "x", Network: w.net.Named("edge"), Limits: Limits{MaxExchanges: 1}})
		w.origin("o", says(ok))
		u := w.upstream("o")
		held, err := u.Do(context.Background(), get("/"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.do(u, get("/")); CauseOf(err) != Busy {
			t.Errorf("got %v, want busy", err)
		}
		held.Close()
		if _, err := w.do(u, get("/")); err != nil {
			t.Error(err)
		}
	})
}

func TestOriginsAreChecked(t *testing.T) {
	c := NewClient(Config{})
	for _, url := range []string{"", "origin.example", "ftp://a", "http://", "http://u@a", "http://a/path", "http://a?x", "http://a b"} {
		if _, err := c.Upstream([]Origin{{URL: url}}); err == nil {
			t.Errorf("%q was accepted", url)
		}
	}
	if _, err := c.Upstream(nil); err == nil {
		t.Error("no origin was accepted")
	}
}

// want returns a Want for a key, as the edge makes it.
func (w *world) want(u *Upstream, key string, pairs ...string) *Want {
	h := fields.Of(pairs...)
	x := get(key)
	x.Header = h
	return &Want{Upstream: u, Key: key, Request: rfc9111.Request{Method: "GET", Header: h}, Exchange: *x, Compose: func(*cache.Object) {}}
}

// read reads the result of a fetch to its end.
func read(g Got) (string, error) {
	defer g.Close()
	if g.Reply != nil {
		b, err := io.ReadAll(g.Reply)
		return string(b), err
	}
	if chunks, _, whole := g.Object.Body.Whole(); whole && g.Reader == nil {
		var b []byte
		for _, c := range chunks {
			b = append(b, c...)
		}
		return string(b), nil
	}
	var out []byte
	for {
		p, err := g.Reader.Next()
		out = append(out, p...)
		if err == io.EOF {
			return string(out), nil
		}
		if err != nil {
			return string(out), err
		}
	}
}

func TestConcurrentRequestsShareOneFetch(t *testing.T) {
	inWorld(t, func(w *world) {
		w.origin("o", func(c net.Conn, q *http.Request) bool {
			time.Sleep(time.Second)
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\nCache-Control: max-age=60\r\n\r\nhello")
			time.Sleep(time.Second)
			io.WriteString(c, "world")
			return true
		})
		ca := cache.New(cache.Config{MaxBytes: 1 << 20})
		f, u := NewFetcher(ca), w.upstream("o")
		var wg sync.WaitGroup
		var collapsed atomic.Int32
		for i := range 100 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 15 * time.Millisecond) // some come while the body fills
				got, err := f.Fetch(context.Background(), w.want(u, "/"))
				if err != nil {
					t.Error(err)
					return
				}
				if got.Collapsed {
					collapsed.Add(1)
				}
				if body, err := read(got); body != "helloworld" || err != nil {
					t.Errorf("got %q, %v", body, err)
				}
			})
		}
		wg.Wait()
		f.Wait()
		if n := w.hits.Load(); n != 1 || collapsed.Load() != 99 {
			t.Errorf("%d requests at the origin, %d collapsed", n, collapsed.Load())
		}
		if o, _ := ca.Lookup([]byte("/"), nil); o == nil {
			t.Error("not stored")
		}
	})
}

func TestFillSurvivesItsClient(t *testing.T) {
	inWorld(t, func(w *world) {
		w.origin("o", func(c net.Conn, q *http.Request) bool {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nCache-Control: max-age=60\r\n\r\nab")
			time.Sleep(time.Second)
			io.WriteString(c, "cd")
			return true
		})
		ca := cache.New(cache.Config{MaxBytes: 1 << 20})
		f := NewFetcher(ca)
		got, err := f.Fetch(context.Background(), w.want(w.upstream("o"), "/"))
		if err != nil {
			t.Fatal(err)
		}
		got.Close()
		f.Wait()
		if o, _ := ca.Lookup([]byte("/"), nil); o == nil {
			t.Error("the fill ended with its client")
		}
	})
}

func TestFollowersAreReleasedFromUnsharedReply(t *testing.T) {
	for name, head := range map[string]string{
		"private":  "Cache-Control: private",
		"no-store": "Cache-Control: no-store",
		"cookie":   "Cache-Control: max-age=60\r\nSet-Cookie: session=1",
		"variant":  "Cache-Control: max-age=60\r\nVary: Who",
		"stale":    "Cache-Control: max-age=0\r\nETag: \"a\"",
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.origin("o", func(c net.Conn, q *http.Request) bool {
					time.Sleep(time.Second)
					who := q.Header.Get("Who")
					fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n\r\n%s", len(who), head, who)
					return true
				})
				f, u := NewFetcher(cache.New(cache.Config{MaxBytes: 1 << 20})), w.upstream("o")
				var wg sync.WaitGroup
				for i := range 10 {
					wg.Go(func() {
						who := fmt.Sprintf("client %d", i)
						begin := time.Now()
						got, err := f.Fetch(context.Background(), w.want(u, "/", "Who", who))
						if err != nil {
							t.Error(err)
							return
						}
						if body, _ := read(got); body != who {
							t.Errorf("%s got the reply of %s", who, body)
						}
						if d := time.Since(begin); d > 2*time.Second {
							t.Errorf("%s waited %v", who, d)
						}
					})
				}
				wg.Wait()
				f.Wait()
			})
		})
	}
}

func TestHitForMissDoesNotWait(t *testing.T) {
	inWorld(t, func(w *world) {
		w.origin("o", func(c net.Conn, q *http.Request) bool {
			time.Sleep(time.Second)
			return says("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nCache-Control: private\r\n\r\n")(c, q)
		})
		f, u := NewFetcher(cache.New(cache.Config{MaxBytes: 1 << 20})), w.upstream("o")
		for range 2 {
			begin := time.Now()
			var wg sync.WaitGroup
			for range 5 {
				wg.Go(func() {
					got, err := f.Fetch(context.Background(), w.want(u, "/"))
					if err != nil {
						t.Error(err)
					}
					got.Close()
				})
			}
			wg.Wait()
			t.Log(time.Since(begin))
			if w.hits.Load() > 5 && time.Since(begin) > time.Second {
				t.Errorf("the second wave waited %v", time.Since(begin))
			}
		}
	})
}

func TestTruncatedBodyIsNotStored(t *testing.T) {
	inWorld(t, func(w *world) {
		w.origin("o", func(c net.Conn, q *http.Request) bool {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\nCache-Control: max-age=60\r\n\r\nhalf")
			return false
		})
		ca := cache.New(cache.Config{MaxBytes: 1 << 20})
		f := NewFetcher(ca)
		got, err := f.Fetch(context.Background(), w.want(w.upstream("o"), "/"))
		if err != nil {
			t.Fatal(err)
		}
		if body, err := read(got); body != "half" || CauseOf(err) != BodyCut {
			t.Errorf("got %q, %v", body, err)
		}
		f.Wait()
		if o, _ := ca.Lookup([]byte("/"), nil); o != nil {
			t.Error("half a body was stored")
		}
	})
}

func TestUnsafeRequestRevokesRunningFill(t *testing.T) {
	inWorld(t, func(w *world) {
		w.origin("o", func(c net.Conn, q *http.Request) bool {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nCache-Control: max-age=60\r\n\r\nab")
			time.Sleep(time.Second)
			io.WriteString(c, "cd")
			return true
		})
		ca := cache.New(cache.Config{MaxBytes: 1 << 20})
		f, u := NewFetcher(ca), w.upstream("o")
		for _, alone := range []bool{false, true} {
			want := w.want(u, "/")
			want.Alone = alone
			got, err := f.Fetch(context.Background(), want)
			if err != nil {
				w.t.Fatal(err)
			}
			f.Invalidate("/")
			if body, err := read(got); body != "abcd" || err != nil {
				w.t.Errorf("its own client got %q, %v", body, err)
			}
			f.Wait()
			if o, _ := ca.Lookup([]byte("/"), nil); o != nil {
				w.t.Errorf("alone %v: what was fetched before the change was stored after it", alone)
			}
		}
	})
}

func TestNotModifiedFreshensObject(t *testing.T) {
	inWorld(t, func(w *world) {
		w.origin("o", func(c net.Conn, q *http.Request) bool {
			if q.Header.Get("If-None-Match") == `"a"` {
				return says("HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=60\r\nX: new\r\n\r\n")(c, q)
			}
			return says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nCache-Control: max-age=1\r\nX: old\r\nETag: \"a\"\r\n\r\nhi")(c, q)
		})
		ca := cache.New(cache.Config{MaxBytes: 1 << 20})
		f, u := NewFetcher(ca), w.upstream("o")
		got, _ := f.Fetch(context.Background(), w.want(u, "/"))
		time.Sleep(2 * time.Second)
		again := w.want(u, "/")
		again.Stale, again.Near = got.Object, got.Object
		got, err := f.Fetch(context.Background(), again)
		if err != nil || !got.Validated || !got.Stored {
			t.Fatalf("got %+v, %v", got, err)
		}
		o, _ := ca.Lookup([]byte("/"), nil)
		if v, _ := o.Header.Get("x"); string(v) != "new" || o.Policy.Evaluate(time.Now()) != rfc9111.Fresh {
			t.Errorf("stored X: %s", v)
		}
		if body, _ := read(got); body != "hi" {
			t.Errorf("body %q", body)
		}
	})
}

func TestErrorsAreOfOneType(t *testing.T) {
	err := error(&Error{Cause: BodyCut, Origin: "o:80", Err: io.ErrUnexpectedEOF})
	if !errors.Is(err, io.ErrUnexpectedEOF) || err.Error() != "o:80: origin-body-cut: unexpected EOF" {
		t.Error(err)
	}
}

func TestKeepAliveTimeoutIsObeyed(t *testing.T) {
	inWorld(t, func(w *world) {
		conns := make(map[net.Conn]bool)
		w.origin("o", func(c net.Conn, q *http.Request) bool {
			conns[c] = true
			return says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nKeep-Alive: max=5, timeout=5\r\n\r\nhi")(c, q)
		})
		u := w.upstream("o")
		for _, pause := range []time.Duration{0, 4 * time.Second, 5 * time.Second} {
			time.Sleep(pause)
			if _, err := w.do(u, get("/")); err != nil {
				w.t.Error(err)
			}
		}
		if len(conns) != 2 {
			w.t.Errorf("%d connections, want a second one only after 5 s", len(conns))
		}
		// A request that is not repeatable gets no idle connection without a socket.
		time.Sleep(2 * time.Second)
		w.do(u, &Exchange{Method: "POST", Target: "/", Host: "a", Via: "1.1"})
		if len(conns) != 3 {
			w.t.Errorf("%d connections, want a new one for the POST", len(conns))
		}
	})
}

func TestClosedSocketIsDetected(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if alive, _ := stillOpen(c); !alive {
		t.Error("an open connection counts as closed")
	}
	far.Close()
	for {
		alive, known := stillOpen(c)
		if !known {
			t.Skip("stillOpen cannot look into sockets on this system: idle connections are tried instead")
		}
		if !alive {
			return
		}
		select {
		case <-time.After(time.Millisecond):
		case <-t.Context().Done():
			t.Fatal("never seen")
		}
	}
}
