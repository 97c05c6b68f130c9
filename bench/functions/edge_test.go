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
	"slices"
	"strings"
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

// edge starts an edge with the shop's greeting and an endless function. It returns the
// address of the edge.
func edge(tb testing.TB) string {
	tb.Helper()
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=3600")
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(w, "<p>Good to see Ana.</p>\n") // as long as the function's response
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

// client sends requests over one connection.
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

// BenchmarkRequest measures a request over a kept connection. The response comes from
// the cache or from a pooled instance of a function. Server and client are one process,
// so only the difference is meaningful.
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

// BenchmarkBesideALoop measures the effect of an endless function on other requests. It
// reports p99 of requests alone and beside the function, as medians over the rounds. It
// also reports the largest delay of the function's end. A round takes 9 s: use
// -benchtime 10x.
func BenchmarkBesideALoop(b *testing.B) {
	address := edge(b)
	var alone, beside, ratios []float64
	worst := time.Duration(0)
	for b.Loop() {
		quiet := latencies(b, address)
		stop, ended := make(chan struct{}), make(chan error, 1)
		c := dial(b, address)
		go func() {
			for {
				select {
				case <-stop:
					ended <- nil
					return
				default:
				}
				begin := time.Now()
				if status, err := c.get("/loop/!"); status != 504 {
					ended <- fmt.Errorf("a loop was answered %d, %v", status, err)
					return
				}
				worst = max(worst, time.Since(begin)-time.Second)
			}
		}()
		busy := latencies(b, address)
		close(stop)
		if err := <-ended; err != nil {
			b.Fatal(err)
		}
		alone, beside = append(alone, at(quiet, .99)), append(beside, at(busy, .99))
		ratios = append(ratios, at(busy, .99)/at(quiet, .99))
	}
	for name, v := range map[string][]float64{"us-p99-alone": alone, "us-p99-beside": beside, "ratio": ratios} {
		slices.Sort(v)
		b.ReportMetric(v[len(v)/2], name)
	}
	b.ReportMetric(float64(worst.Microseconds()), "us-late-at-most")
}

// latencies returns the sorted durations of requests to a function. It sends a thousand
// requests a second at fixed times, like independent clients.
func latencies(tb testing.TB, address string) []time.Duration {
	c := dial(tb, address)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	var out []time.Duration
	for range 4000 {
		<-tick.C
		begin := time.Now()
		if status, err := c.get("/greeting"); status != 200 {
			tb.Fatal(status, err)
		}
		out = append(out, time.Since(begin))
	}
	slices.Sort(out)
	return out
}

// at returns a quantile in microseconds.
func at(sorted []time.Duration, q float64) float64 {
	return float64(sorted[int(q*float64(len(sorted)-1))].Nanoseconds()) / 1000
}
