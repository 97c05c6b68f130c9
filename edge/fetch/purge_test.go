package fetch

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"perto/edge/cache"
)

// tagged returns an origin script that writes the number of the request into the body.
// The head comes after one second, the end of the body after another second. The object
// has the tag "shop" (see wantTagged).
func tagged() func(net.Conn, *http.Request) bool {
	var mu sync.Mutex
	n := 0
	return func(c net.Conn, q *http.Request) bool {
		mu.Lock()
		n++
		body := fmt.Sprintf("reply %d", n)
		mu.Unlock()
		time.Sleep(time.Second)
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nCache-Control: max-age=60\r\n\r\n%s", len(body), body[:1])
		time.Sleep(time.Second)
		fmt.Fprint(c, body[1:])
		return true
	}
}

func (w *world) wantTagged(u *Upstream) *Want {
	want := w.want(u, "/")
	want.Compose = func(o *cache.Object) { o.Tags = []string{"page", "shop"} }
	return want
}

// TestPurgeTagRevokesRunningFills checks that content fetched before a purge is neither
// stored after it nor sent to later requests.
func TestPurgeTagRevokesRunningFills(t *testing.T) {
	for _, tc := range []struct {
		name   string
		tag    string
		after  time.Duration // from the request to the purge
		alone  bool
		second string // reply to a request right after the purge
		stored bool   // the first reply
	}{
		{"before the head", "shop", 500 * time.Millisecond, false, "reply 2", false},
		{"within the body", "shop", 1500 * time.Millisecond, false, "reply 2", false},
		{"alone, before the head", "shop", 500 * time.Millisecond, true, "reply 2", false},
		{"alone, within the body", "page", 1500 * time.Millisecond, true, "reply 2", false},
		{"another tag, before the head", "sho", 500 * time.Millisecond, false, "reply 1", true},
		{"another tag, within the body", "other", 1500 * time.Millisecond, false, "reply 1", true},
		{"after the end", "shop", 3 * time.Second, false, "reply 2", false},
		{"all, before the head", "*", 500 * time.Millisecond, false, "reply 2", false},
		{"all, within the body", "*", 1500 * time.Millisecond, true, "reply 2", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.origin("o", tagged())
				ca := cache.New(cache.Config{MaxBytes: 1 << 20})
				f, u := NewFetcher(ca), w.upstream("o")
				var clients sync.WaitGroup
				ask := func(want *Want, bodies string) {
					got, err := f.Fetch(context.Background(), want)
					if err != nil {
						t.Error(err)
						return
					}
					if body, err := read(got); body != bodies || err != nil {
						t.Errorf("got %q, %v; want %q", body, err, bodies)
					}
				}
				first := w.wantTagged(u)
				first.Alone = tc.alone
				clients.Go(func() { ask(first, "reply 1") })
				time.Sleep(tc.after)
				if tc.tag == "*" {
					f.PurgeAll()
				} else {
					f.PurgeTag(tc.tag)
				}
				for range 5 {
					clients.Go(func() { ask(w.wantTagged(u), tc.second) })
				}
				clients.Wait()
				f.Wait()
				want := int32(2)
				if tc.stored {
					want = 1
				}
				if n := w.hits.Load(); n != want {
					t.Errorf("the origin was asked %d times, want %d", n, want)
				}
				if o, _ := ca.Lookup([]byte("/"), nil); o == nil {
					t.Error("nothing is stored in the end")
				} else if body, _ := read(Got{Object: o}); body != tc.second {
					t.Errorf("stored is %q, want %q", body, tc.second)
				}
			})
		})
	}
}

// TestPurgeTagRevokesValidation purges a tag while a validation with 304 runs.
func TestPurgeTagRevokesValidation(t *testing.T) {
	inWorld(t, func(w *world) {
		w.origin("o", func(c net.Conn, q *http.Request) bool {
			if q.Header.Get("If-None-Match") != "" {
				time.Sleep(time.Second)
				return says("HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=60\r\n\r\n")(c, q)
			}
			return says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nCache-Control: max-age=1\r\nETag: \"a\"\r\n\r\nhi")(c, q)
		})
		ca := cache.New(cache.Config{MaxBytes: 1 << 20})
		f, u := NewFetcher(ca), w.upstream("o")
		got, _ := f.Fetch(context.Background(), w.wantTagged(u))
		time.Sleep(2 * time.Second)
		again := w.wantTagged(u)
		again.Stale, again.Near = got.Object, got.Object
		time.AfterFunc(time.Second/2, func() { f.PurgeTag("shop") })
		got, err := f.Fetch(context.Background(), again)
		if body, _ := read(got); err != nil || !got.Validated || got.Stored || body != "hi" {
			t.Errorf("got %q, %+v, %v", body, got, err)
		}
		if o, _ := ca.Lookup([]byte("/"), nil); o != nil {
			t.Error("what was purged is stored again")
		}
	})
}
