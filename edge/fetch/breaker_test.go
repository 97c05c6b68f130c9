package fetch

import (
	"net"
	"net/http"
	"testing"
	"time"
)

// TestTimeoutsOpenBreaker checks that an origin which accepts connections and sends no
// reply counts as unreachable, unless other URLs get a reply.
func TestTimeoutsOpenBreaker(t *testing.T) {
	inWorld(t, func(w *world) {
		w.origin("o", func(c net.Conn, q *http.Request) bool {
			if q.URL.Path == "/hang" {
				time.Sleep(10 * time.Minute)
				return false
			}
			return says(ok)(c, q)
		})
		u, err := w.client.Upstream([]Origin{{URL: "http://o", ReplyTimeout: 3 * time.Second}})
		if err != nil {
			t.Fatal(err)
		}
		hang := func(want Cause, took time.Duration) {
			t.Helper()
			began := time.Now()
			if _, err := w.do(u, get("/hang")); CauseOf(err) != want || time.Since(began) != took {
				t.Errorf("got %v after %v, want %v after %v", err, time.Since(began), want, took)
			}
		}
		for range breakAfter {
			hang(ReplyTimeout, 3*time.Second)
			hang(ReplyTimeout, 3*time.Second)
			if got, err := w.do(u, get("/")); err != nil {
				t.Fatalf("got %q, %v although other URLs answer", got, err)
			}
		}
		for range breakAfter {
			hang(ReplyTimeout, 3*time.Second)
		}
		hang(Broken, 0)
		if h := u.Health()[0]; !h.Open || h.Timeouts != breakAfter {
			t.Errorf("health %+v", h)
		}
		time.Sleep(breakFirst)
		hang(ReplyTimeout, 3*time.Second) // the exchange that tests the half-open breaker
		hang(Broken, 0)
		time.Sleep(2 * breakFirst)
		if got, err := w.do(u, get("/")); got != "200 hi" || err != nil {
			t.Errorf("after a good reply: %q, %v", got, err)
		}
		hang(ReplyTimeout, 3*time.Second)
		time.Sleep(20 * time.Minute)
	})
}
