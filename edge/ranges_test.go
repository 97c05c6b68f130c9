package edge

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func digits(size int) string {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte('0' + i%10)
	}
	return string(b)
}

// slowOrigin sends half of a body at once, and the rest ten seconds later. It sends
// ranges at once. asked lists the Range fields that it received.
func slowOrigin(body string, length bool, asked *[]string) http.HandlerFunc {
	var mu sync.Mutex
	return func(w http.ResponseWriter, q *http.Request) {
		mu.Lock()
		*asked = append(*asked, q.Header.Get("Range"))
		mu.Unlock()
		w.Header().Set("Cache-Control", "max-age=600")
		if q.Header.Get("Range") != "" {
			http.ServeContent(w, q, "x.txt", time.Time{}, strings.NewReader(body))
			return
		}
		if length {
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		}
		io.WriteString(w, body[:len(body)/2])
		w.(http.Flusher).Flush()
		time.Sleep(10 * time.Second)
		io.WriteString(w, body[len(body)/2:])
	}
}

func (b *bubble) askRange(rng string) (body, story string, status int, took time.Duration) {
	begin := time.Now()
	c, br := b.dial()
	defer c.Close()
	fmt.Fprintf(c, "GET /a HTTP/1.1\r\nHost: shop.example\r\nRange: %s\r\n\r\n", rng)
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		b.Fatal(err)
	}
	got, err := io.ReadAll(res.Body)
	if err != nil {
		b.Error(rng, err)
	}
	return string(got), res.Header.Get("Cache-Status"), res.StatusCode, time.Since(begin)
}

// TestRangeIsSentAsSoonAsItArrived checks that all clients receive their ranges from
// one fetch of the whole object.
func TestRangeIsSentAsSoonAsItArrived(t *testing.T) {
	const size = 100_000
	body := digits(size)
	for _, length := range []bool{true, false} {
		t.Run(fmt.Sprint("length known ", length), func(t *testing.T) {
			var asked []string
			inBubble(t, Config{}, slowOrigin(body, length, &asked), func(b *bubble) {
				for _, tc := range []struct {
					rng, want string
					took      time.Duration
				}{
					{"bytes=10-19", body[10:20], 0},
					{"bytes=1000-49999", body[1000:50000], 0},
					{"bytes=49990-50009", body[49990:50010], 10 * time.Second},
					{"bytes=99990-", body[99990:], 0},
				} {
					synctest.Wait() // a fill that has just ended is stored
					if got, story, status, took := b.askRange(tc.rng); got != tc.want || status != 206 || took != tc.took {
						b.Errorf("%s: %d, %d bytes after %v; %s", tc.rng, status, len(got), took, story)
					}
				}
				if len(asked) != 1 || asked[0] != "" {
					b.Errorf("the origin was asked for %q, want the whole once", asked)
				}
			})
		})
	}
}

// TestSeekDoesNotWaitForFill checks that the origin sends the range while the fill goes
// on.
func TestSeekDoesNotWaitForFill(t *testing.T) {
	body := digits(4 << 20)
	for _, tc := range []struct {
		length bool
		rng    string
	}{{true, "bytes=-10"}, {true, "bytes=4194294-"}, {false, "bytes=4194294-4194303"}} {
		t.Run(fmt.Sprintf("%s, length known %v", tc.rng, tc.length), func(t *testing.T) {
			var asked []string
			inBubble(t, Config{}, slowOrigin(body, tc.length, &asked), func(b *bubble) {
				got, story, status, took := b.askRange(tc.rng)
				if got != body[len(body)-10:] || status != 206 || took != 0 || !strings.HasSuffix(story, "; stored; detail=range-ahead") {
					b.Errorf("%d, %d bytes after %v; %s", status, len(got), took, story)
				}
				if len(asked) != 2 || asked[1] != tc.rng {
					b.Errorf("the origin was asked for %q", asked)
				}
				time.Sleep(11 * time.Second)
				if got, story, _, _ := b.askRange(tc.rng); got != body[len(body)-10:] || !strings.Contains(story, "; hit") {
					b.Errorf("after the fill: %s", story)
				}
			})
		})
	}
}

// TestRangeOfTooLargeObjectIsForwarded checks that the whole object is not fetched
// again soon after.
func TestRangeOfTooLargeObjectIsForwarded(t *testing.T) {
	body := digits(4 << 20)
	var asked []string
	inBubble(t, Config{Limits: Limits{CacheBytes: 8 << 20}}, slowOrigin(body, true, &asked), func(b *bubble) {
		for i, want := range []string{"too-large", "range"} {
			got, story, status, took := b.askRange("bytes=0-9")
			if got != body[:10] || status != 206 || took != 0 || !strings.HasSuffix(story, "; detail="+want) {
				b.Errorf("%d: %d, %d bytes after %v; %s", i, status, len(got), took, story)
			}
		}
		if len(asked) != 3 || asked[2] != "bytes=0-9" {
			b.Errorf("the origin was asked for %q", asked)
		}
		time.Sleep(11 * time.Second) // until the origin detects that there are no readers
	})
	// Without a length, the size is detected while the body arrives. A client that waits
	// for a range of it then receives the whole.
	asked = nil
	inBubble(t, Config{Limits: Limits{CacheBytes: 1 << 20}}, slowOrigin(body, false, &asked), func(b *bubble) {
		if got, story, status, _ := b.askRange("bytes=0-1000000"); got != body || status != 200 {
			b.Errorf("%d, %d bytes; %s", status, len(got), story)
		}
	})
}
