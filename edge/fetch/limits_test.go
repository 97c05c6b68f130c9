package fetch

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestPermitsSurviveResizes resizes while many exchanges take and return permits, and
// while others give up.
func TestPermitsSurviveResizes(t *testing.T) {
	const high = 20
	var p permits
	p.resize(high)
	var held, peak, granted atomic.Int64
	var running sync.WaitGroup
	for range 64 {
		running.Go(func() {
			for range 100 {
				ctx, cancel := context.WithCancel(t.Context())
				if rand.IntN(4) == 0 {
					go cancel()
				}
				if p.acquire(ctx, time.Duration(rand.IntN(100))*time.Microsecond) {
					granted.Add(1)
					n := held.Add(1)
					for old := peak.Load(); n > old && !peak.CompareAndSwap(old, n); old = peak.Load() {
					}
					time.Sleep(time.Duration(rand.IntN(20)) * time.Microsecond)
					held.Add(-1)
					p.release()
				}
				cancel()
			}
		})
	}
	ended, resizing := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(resizing)
		for {
			select {
			case <-ended:
				return
			default:
				p.resize(1 + rand.IntN(high))
			}
		}
	}()
	running.Wait()
	close(ended)
	<-resizing
	if granted.Load() == 0 || peak.Load() > high {
		t.Errorf("%d permits were granted, %d at a time; want some, at most %d at a time", granted.Load(), peak.Load(), high)
	}
	if p.running() != 0 || p.waiting.Len() != 0 {
		t.Errorf("%d permits are in use and %d exchanges wait at the end", p.running(), p.waiting.Len())
	}
	p.resize(3)
	for i := range 4 {
		if got := p.acquire(t.Context(), 0); got != (i < 3) {
			t.Errorf("permit %d of 3: granted %v", i+1, got)
		}
	}
}

func TestExchangesChangeWhileTheyRun(t *testing.T) {
	inWorld(t, func(w *world) {
		w.client.SetLimits(Limits{MaxExchanges: 3})
		w.origin("o", says(ok))
		u := w.upstream("o")
		hold := func() *Reply {
			t.Helper()
			r, err := u.Do(w.t.Context(), get("/"))
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		a, b, c := hold(), hold(), hold()
		w.client.SetLimits(Limits{MaxExchanges: 1})
		for _, r := range []*Reply{a, b} {
			r.Close()
			if _, err := w.do(u, get("/")); CauseOf(err) != Busy {
				t.Errorf("with %d exchanges of 1: got %v, want busy", u.Health()[0].Running+1, err)
			}
		}
		c.Close()
		held := hold()
		begin, results := time.Now(), make(chan error, 2)
		for range cap(results) {
			go func() {
				_, err := w.do(u, get("/"))
				results <- err
			}()
		}
		synctest.Wait()
		w.client.SetLimits(Limits{MaxExchanges: 2})
		for range cap(results) {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
		if d := time.Since(begin); d > time.Second {
			t.Errorf("the waiting exchanges took %v after the limit had grown", d)
		}
		held.Close()
		if n := u.Health()[0].Running; n != 0 {
			t.Errorf("%d exchanges run at the end", n)
		}
	})
}

// TestTimeLimitsChangeOfAnUpstream changes time limits of an upstream that exists.
func TestTimeLimitsChangeOfAnUpstream(t *testing.T) {
	inWorld(t, func(w *world) {
		w.origin("o", func(c net.Conn, q *http.Request) bool {
			if q.URL.Path == "/slow" {
				time.Sleep(30 * time.Second)
			}
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh")
			time.Sleep(30 * time.Second)
			io.WriteString(c, "i")
			return true
		})
		common := w.upstream("o")
		own, err := w.client.Upstream([]Origin{{URL: "http://o", ReplyTimeout: 40 * time.Second}})
		if err != nil {
			t.Fatal(err)
		}
		const whole Cause = 255 // no error
		check := func(u *Upstream, target string, want Cause, after time.Duration) {
			t.Helper()
			got, begin := whole, time.Now()
			if _, err := w.do(u, get(target)); err != nil {
				got = CauseOf(err)
			}
			if got != want {
				t.Errorf("%s: got cause %d, want %d", target, got, want)
			}
			if d := time.Since(begin); d < after || d > after+time.Second {
				t.Errorf("%s: took %v, want %v", target, d, after)
			}
		}
		check(common, "/slow", whole, time.Minute)
		running, err := common.Do(w.t.Context(), get("/"))
		if err != nil {
			t.Fatal(err)
		}
		w.client.SetLimits(Limits{ReplyTimeout: 5 * time.Second, StallTimeout: 10 * time.Second})
		begin := time.Now()
		if _, err := io.ReadAll(running); CauseOf(err) != BodyTimeout || time.Since(begin) > 11*time.Second {
			t.Errorf("the running reply: got %v after %v, want a timeout after 10s", err, time.Since(begin))
		}
		running.Close()
		check(common, "/slow", ReplyTimeout, 5*time.Second)
		check(common, "/", BodyTimeout, 10*time.Second)
		check(own, "/slow", BodyTimeout, 40*time.Second)
		w.client.SetLimits(Limits{})
		check(common, "/slow", whole, time.Minute)
	})
}

func TestIdleConnectionsFollowTheLimits(t *testing.T) {
	inWorld(t, func(w *world) {
		w.origin("o", says(ok))
		u := w.upstream("o")
		idle := func() int { return u.Health()[0].Idle }
		fill := func(n int) {
			var held []*Reply
			for range n {
				r, err := u.Do(w.t.Context(), get("/"))
				if err != nil {
					t.Fatal(err)
				}
				held = append(held, r)
			}
			for _, r := range held {
				io.ReadAll(r)
				r.Close()
			}
		}
		fill(5)
		if n := idle(); n != 5 {
			t.Fatalf("%d idle connections, want 5", n)
		}
		w.client.SetLimits(Limits{MaxIdle: 2})
		if n := idle(); n != 2 {
			t.Errorf("after the number shrank: %d idle connections, want 2", n)
		}
		time.Sleep(10 * time.Second)
		w.client.SetLimits(Limits{IdleTimeout: 15 * time.Second})
		if n := idle(); n != 2 {
			t.Errorf("after 10s of 15s: %d idle connections, want 2", n)
		}
		time.Sleep(6 * time.Second)
		if n := idle(); n != 0 {
			t.Errorf("after 16s of 15s: %d idle connections, want none", n)
		}
		fill(2)
		time.Sleep(10 * time.Second)
		w.client.SetLimits(Limits{IdleTimeout: 5 * time.Second})
		if n := idle(); n != 0 {
			t.Errorf("after 10s of 5s: %d idle connections, want none", n)
		}
		fill(2)
		w.client.SetLimits(Limits{IdleTimeout: 20 * time.Second})
		time.Sleep(6 * time.Second)
		if n := idle(); n != 2 {
			t.Errorf("after 6s of 20s: %d idle connections, want 2", n)
		}
	})
}
