package edge

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestLimitsAreCountedByKey checks that each limit works and is counted under its key.
func TestLimitsAreCountedByKey(t *testing.T) {
	const ask = "GET %s HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n"
	origin := func(w http.ResponseWriter, q *http.Request) {
		switch q.URL.Path {
		case "/slow":
			time.Sleep(5 * time.Second)
		case "/stall":
			w.Header().Set("Cache-Control", "no-store")
			io.WriteString(w, "x")
			w.(http.Flusher).Flush()
			time.Sleep(5 * time.Second)
		}
		cached(strings.Repeat("x", 2000))(w, q)
	}
	read := func(_ context.Context, q *FunctionRequest, next next) (*FunctionResponse, error) { return next(q) }
	for _, tt := range []struct {
		key  string
		set  func(c *Config)
		do   func(b *bubble)
		want string // in the last reply
	}{
		{"connections", func(c *Config) { c.MaxConns = 1 }, func(b *bubble) {
			c, _ := b.dial()
			defer c.Close()
			time.Sleep(time.Second)
			b.ask(fmt.Sprintf(ask, "/"))
		}, ""},
		{"head", func(c *Config) { c.HeadTimeout = time.Second }, func(b *bubble) {
			c, br := b.dial()
			defer c.Close()
			io.WriteString(c, "GET / HTTP/1.1\r\n")
			time.Sleep(2 * time.Second)
			io.ReadAll(br)
		}, ""},
		{"upload_rate", func(c *Config) { c.StallTimeout, c.UploadRate = 3*time.Second, 100 }, func(b *bubble) {
			c, br := b.dial()
			defer c.Close()
			io.WriteString(c, "POST / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 1000\r\n\r\n")
			for range 10 {
				time.Sleep(time.Second)
				io.WriteString(c, "x")
			}
			io.ReadAll(br)
		}, ""},
		{"object", func(c *Config) { c.MaxObjectBytes = 1000 }, nil, "detail=too-large"},
		{"function_request", func(c *Config) { c.MaxFunctionRequestBytes = 10 }, func(b *bubble) {
			b.ask("POST /fn HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\nContent-Length: 11\r\n\r\n01234567890")
		}, ""},
		{"function_reply", func(c *Config) { c.MaxFunctionResponseBytes = 1000 }, func(b *bubble) { b.ask(fmt.Sprintf(ask, "/fn")) }, ""},
		{"origin_first_byte", func(c *Config) { c.Origin.ReplyTimeout = time.Second }, func(b *bubble) { b.ask(fmt.Sprintf(ask, "/slow")) }, ""},
		{"origin_stall", func(c *Config) { c.Origin.StallTimeout = time.Second }, func(b *bubble) { b.ask(fmt.Sprintf(ask, "/stall")) }, ""},
		{"origin_queue", func(c *Config) { c.Origin.MaxExchanges, c.Origin.QueueTimeout = 1, time.Second }, func(b *bubble) {
			go b.ask(fmt.Sprintf(ask, "/slow"))
			time.Sleep(time.Second)
			b.ask(fmt.Sprintf(ask, "/b"))
		}, ""},
	} {
		run := func(cfg Config, begin func(b *bubble)) func(t *testing.T) {
			return func(t *testing.T) {
				inBubble(t, cfg, origin, func(b *bubble) {
					begin(b)
					b.withFunctions(Function{Path: "/fn", Handle: read})
					name := `perto_limit_reached_total{limit="` + tt.key + `"}`
					before := b.metric(name)
					if tt.do != nil {
						tt.do(b)
					} else if got := b.ask(fmt.Sprintf(ask, "/a")); !strings.Contains(got, tt.want) {
						b.Errorf("got %q", got)
					}
					if n := b.metric(name) - before; n != 1 {
						b.Errorf("%s: %v, want 1", name, n)
					}
					time.Sleep(time.Minute) // the origin's handlers end
				})
			}
		}
		cfg := Config{}
		tt.set(&cfg)
		t.Run(tt.key, run(cfg, func(*bubble) {}))
		t.Run(tt.key+" of a running edge", run(Config{}, func(b *bubble) { b.edge.SetLimits(cfg.Limits) }))
	}
}

// TestLimitsChangeOfAKeptConnection changes limits between two requests of a connection.
// Its deadlines from before are longer than the new limits.
func TestLimitsChangeOfAKeptConnection(t *testing.T) {
	body := strings.Repeat("x", 4<<20)
	inBubble(t, Config{}, cached(body), func(b *bubble) {
		open := func(write bool) (d time.Duration) {
			c, br := b.dial()
			defer c.Close()
			receive := func() string {
				b.Helper()
				io.WriteString(c, get)
				res, err := http.ReadResponse(br, nil)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, res.Body); err != nil {
					b.Error(err)
				}
				return res.Header.Get("Cache-Status")
			}
			b.edge.SetLimits(Limits{})
			receive()
			b.edge.SetLimits(Limits{StallTimeout: 2 * time.Second, IdleTimeout: 3 * time.Second})
			if got := receive(); !strings.Contains(got, "; hit") {
				b.Errorf("Cache-Status %q: the cache is lost", got)
			}
			begin := time.Now()
			if write {
				io.WriteString(c, get) // its reply is not read
			}
			for b.metric("perto_http_connections") != 0 && time.Since(begin) < time.Minute {
				time.Sleep(100 * time.Millisecond)
			}
			return time.Since(begin)
		}
		if d := open(false); d < 2*time.Second || d > 4*time.Second {
			b.Errorf("the idle connection closed after %v, want 3s", d)
		}
		if d := open(true); d < time.Second || d > 5*time.Second {
			b.Errorf("the connection of a client that reads nothing closed after %v, want 2s", d)
		}
	})
}
