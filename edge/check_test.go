package edge

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"perto/edge/fetch"
)

// TestUnwellOriginIsLeftOut checks that an origin with a failing health check gets no
// requests while another one is well, and gets requests again after it recovered.
func TestUnwellOriginIsLeftOut(t *testing.T) {
	var well, other atomic.Bool
	well.Store(true)
	other.Store(true)
	var checks atomic.Int64
	handler := func(name string, well *atomic.Bool) http.HandlerFunc {
		return func(w http.ResponseWriter, q *http.Request) {
			if q.URL.Path == "/healthz" {
				checks.Add(1)
				if q.Host != "health.example" {
					t.Errorf("health check with Host %q", q.Host)
				}
				if !well.Load() {
					w.WriteHeader(503)
				}
				return
			}
			io.WriteString(w, "from "+name)
		}
	}
	var log strings.Builder
	logger := slog.New(slog.NewTextHandler(&log, nil))
	inBubble(t, Config{Logger: logger}, handler("first", &well), func(b *bubble) {
		l, err := b.net.Named("second").Listen(context.Background(), "tcp", ":80")
		if err != nil {
			b.Fatal(err)
		}
		second := &http.Server{Handler: handler("second", &other)}
		go second.Serve(l)
		defer second.Close()
		origin := func(url string) fetch.Origin {
			return fetch.Origin{URL: url, Health: "/healthz"}
		}
		sites, err := NewSites(Site{Service: "shop.example", Hosts: []string{"*.x.example", "health.example"}, Origins: []fetch.Origin{origin("http://origin"), origin("http://second")}})
		if err != nil {
			b.Fatal(err)
		}
		b.edge.SetSites(sites)
		expect := func(when, want string) {
			b.Helper()
			time.Sleep(3*5*time.Second + time.Second) // three checks, in virtual time
			synctest.Wait()
			if got := b.ask(getClose); !strings.HasSuffix(got, want) {
				b.Errorf("%s: got %q, want it %s", when, got, want)
			}
		}
		expect("all well", "from first")
		well.Store(false)
		expect("the first unwell", "from second")
		if got := b.metric(`perto_origin_well{origin="http://origin:80"}`); got != 0 {
			b.Errorf("the metric of the first says %v", got)
		}
		other.Store(false)
		expect("both unwell", "from first") // the checks may be wrong
		well.Store(true)
		expect("the first well again", "from first")
		for _, line := range []string{`msg="origin is unwell" origin=origin:80 reason="health check /healthz failed: status 503"`, `msg="origin is well again" origin=origin:80`} {
			if !strings.Contains(log.String(), line) {
				b.Errorf("the log lacks %q:\n%s", line, log.String())
			}
		}
		// Without checks no origin is unwell, and no check is sent.
		if sites, err = NewSites(Site{Service: "shop.example", Origins: []fetch.Origin{{URL: "http://origin"}, {URL: "http://second"}}}); err != nil {
			b.Fatal(err)
		}
		b.edge.SetSites(sites)
		synctest.Wait()
		before := checks.Load()
		expect("no checks", "from first")
		if got := checks.Load() - before; got != 0 {
			b.Errorf("%d checks after they were taken out", got)
		}
		for _, h := range b.edge.Origins() {
			if !h.Well() {
				b.Errorf("without checks %s is %s", h.Origin, &h)
			}
		}
	})
}

func TestBreakerIsLogged(t *testing.T) {
	var log strings.Builder
	cfg := Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}
	inBubble(t, cfg, cached("x"), func(b *bubble) {
		sites, err := NewSites(Site{Service: "shop.example", Origins: []fetch.Origin{{URL: "http://nowhere"}}})
		if err != nil {
			b.Fatal(err)
		}
		b.edge.SetSites(sites)
		for range 4 {
			b.ask(getClose)
		}
		if !strings.Contains(log.String(), `msg="origin is unwell" origin=nowhere:80 reason="3 connections failed in a row"`) {
			b.Errorf("the log does not say that the origin is down:\n%s", log.String())
		}
	})
}
