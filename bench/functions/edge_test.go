package functions

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"perto"
	"perto/config"
	"perto/internal/netx"
	"perto/node"
)

const world = `
node "one" {
  roles = ["edge"]
  http  = ["127.0.0.1:0"]
}
pop "here" {
  place = "0,0"
  edge "one" { addresses = ["127.0.0.1"] }
}
zone "cdn.example" { file = "cdn.zone" }
service "shop.cdn.example" {
  origin "ORIGIN" {}
  function "/greeting" { module = "greeting" }
  function "/loop/*" { module = "loop" }
}
`

// edge starts an edge with the shop's greeting and a function that never ends; it
// returns its address.
func edge(tb testing.TB) string {
	tb.Helper()
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=3600")
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(w, "<p>Good to see Ana.</p>\n") // as long as what the function answers
	}))
	tb.Cleanup(origin.Close)
	files := map[string]string{"greeting.wasm": "../../origin/functions/guests/greeting.wasm", "loop.wasm": "../../functions/testdata/guests/where/where.wasm"}
	cfg, err := config.Parse([]byte(strings.Replace(world, "ORIGIN", origin.URL, 1)), "world.hcl", func(string) (perto.Place, error) { return perto.Place{}, nil },
		func(name string) ([]byte, error) {
			if file := files[name]; file != "" {
				return os.ReadFile(file)
			}
			return nil, nil
		})
	if err != nil {
		tb.Fatal(err)
	}
	n, err := node.New(node.Config{Local: cfg.Nodes[0], World: cfg.World, Network: new(netx.OS)})
	if err != nil {
		tb.Fatal(err)
	}
	if err := n.Start(context.Background()); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { n.Close() })
	return n.Edge().Addrs()[0].String()
}

// client asks over one connection.
type client struct {
	c net.Conn
	r *bufio.Reader
}

func dial(tb testing.TB, address string) *client {
	tb.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close() })
	return &client{c, bufio.NewReader(c)}
}

func (c *client) get(path string) (int, error) {
	if _, err := io.WriteString(c.c, "GET "+path+" HTTP/1.1\r\nHost: shop.cdn.example\r\nCookie: name=Ana\r\n\r\n"); err != nil {
		return 0, err
	}
	r, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return 0, err
	}
	defer r.Body.Close()
	_, err = io.Copy(io.Discard, r.Body)
	return r.StatusCode, err
}

func cpu() time.Duration {
	var r syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkRequest is a request over a connection that is kept, whose answer comes from
// the cache or from a pooled instance of a function. Server and client are one
// process: what counts is the difference.
func BenchmarkRequest(b *testing.B) {
	address := edge(b)
	for _, path := range []string{"/cached", "/greeting"} {
		b.Run(path[1:], func(b *testing.B) {
			c := dial(b, address)
			begin := cpu()
			for b.Loop() {
				if status, err := c.get(path); status != 200 {
					b.Fatal(status, err)
				}
			}
			b.ReportMetric(float64((cpu()-begin).Nanoseconds())/float64(b.N), "cpu-ns/op")
		})
	}
}

// TestEndlessLoop measures what a function that never ends costs the others, when
// PERTO_MEASURE is set: it prints, and judges nothing.
func TestEndlessLoop(t *testing.T) {
	if os.Getenv("PERTO_MEASURE") == "" {
		t.Skip("a measurement: PERTO_MEASURE=1 go test ./bench/functions -run EndlessLoop -v")
	}
	address := edge(t)
	for round := range 5 {
		quiet := latencies(t, address)
		stop := make(chan struct{})
		var looping sync.WaitGroup
		var late []time.Duration
		looping.Go(func() {
			c := dial(t, address)
			for {
				select {
				case <-stop:
					return
				default:
				}
				begin := time.Now()
				if status, err := c.get("/loop/!"); status != 504 {
					t.Errorf("a loop was answered %d, %v", status, err)
					return
				}
				late = append(late, time.Since(begin)-time.Second)
			}
		})
		time.Sleep(100 * time.Millisecond) // it loops
		busy := latencies(t, address)
		close(stop)
		looping.Wait()
		fmt.Printf("round %d, %d CPUs: alone p50 %v p99 %v; beside a loop p50 %v p99 %v; loops ended %v after their second\n",
			round+1, runtime.NumCPU(), at(quiet, .5), at(quiet, .99), at(busy, .5), at(busy, .99), late)
	}
}

// latencies returns how long requests to a function took, in order of size: a
// thousand a second, as they come from outside, not as fast as may be.
func latencies(t *testing.T, address string) []time.Duration {
	c := dial(t, address)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	var out []time.Duration
	for range 4000 {
		<-tick.C
		begin := time.Now()
		if status, err := c.get("/greeting"); status != 200 {
			t.Fatal(status, err)
		}
		out = append(out, time.Since(begin))
	}
	slices.Sort(out)
	return out
}

func at(sorted []time.Duration, q float64) time.Duration {
	return sorted[int(q*float64(len(sorted)-1))].Round(time.Microsecond)
}
