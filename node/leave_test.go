package node

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"perto"
	"perto/config"
	"perto/internal/simnet"
	"perto/replicas"
)

const leaveWorld = `
node "gru-1" {
  roles = ["dns", "edge"]
}
node "lis-1" {
  roles = ["dns", "edge"]
}
pop "gru" {
  place = "gru"
  edge "gru-1" { addresses = ["203.0.113.1"] }
}
pop "lis" {
  place = "lis"
  edge "lis-1" { addresses = ["203.0.113.2"] }
}
zone "cdn.example" { file = "cdn.zone" }
service "www.cdn.example" {
  origin "http://origin" {}
}
`

// leaveCDN is two PoPs of one machine each, in virtual time.
type leaveCDN struct {
	*testing.T
	net   *simnet.Net
	cfg   *config.Config
	key   replicas.Key
	hosts map[string]*simnet.Host
	nodes map[string]*Node
	log   *lockedText
}

// lockedText collects the log of several nodes.
type lockedText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedText) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lockedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func newLeaveCDN(t *testing.T, edit func(string) string) *leaveCDN {
	t.Helper()
	src := leaveWorld
	if edit != nil {
		src = edit(src)
	}
	c := &leaveCDN{T: t, net: simnet.New(0, simnet.Link{Latency: 20 * time.Millisecond}), cfg: leaveConfig(t, src), key: replicas.NewKey(), hosts: make(map[string]*simnet.Host), nodes: make(map[string]*Node), log: &lockedText{}}
	origin, err := c.net.Named("origin").Listen(t.Context(), "tcp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "content") })}
	go server.Serve(origin)
	t.Cleanup(func() { server.Close() })
	for _, n := range c.cfg.Nodes {
		c.hosts[n.Name] = c.net.Host(n.Addresses[0].String())
	}
	return c
}

// leaveConfig reads a configuration with the places of the test.
func leaveConfig(t *testing.T, src string) *config.Config {
	t.Helper()
	cfg, err := config.Parse([]byte(src), "world.hcl", func(name string) (perto.Place, error) {
		return map[string]perto.Place{"gru": {Country: "BR", Lat: -23.5, Lon: -46.6}, "lis": {Country: "PT", Lat: 38.7, Lon: -9.1}}[name], nil
	}, func(string) ([]byte, error) {
		return []byte("$TTL 1m\n@ SOA ns1 h 1 1h 1h 1h 1m\n@ NS ns1\n@ NS ns2\nns1 A 203.0.113.1\nns2 A 203.0.113.2\n"), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// start starts a machine.
func (c *leaveCDN) start(name string) { c.startWith(name, c.cfg) }

// startWith starts a machine with a configuration of its own.
func (c *leaveCDN) startWith(name string, cfg *config.Config) {
	c.Helper()
	local, err := cfg.Find(name)
	if err != nil {
		c.Fatal(err)
	}
	geo, err := world()
	if err != nil {
		c.Fatal(err)
	}
	n, err := New(Config{Local: *local, World: cfg.World, Network: c.hosts[name], Geo: geo, Keys: []replicas.Key{c.key},
		Logger: slog.New(slog.NewTextHandler(c.log, nil))})
	if err != nil {
		c.Fatal(err)
	}
	if err := n.Start(c.Context()); err != nil {
		c.Fatal(err)
	}
	c.nodes[name] = n
}

// restart ends a machine as SIGTERM does, and starts it again a second later.
func (c *leaveCDN) restart(name string) {
	c.nodes[name].Leave(c.Context())
	c.nodes[name].Close()
	time.Sleep(time.Second)
	c.start(name)
}

// client is a program with a caching resolver.
type client struct {
	host    *simnet.Host
	servers []string
	address string
	until   time.Time // expiry of address
}

// ask requests the page by a connection of its own.
func (c *client) ask(ctx context.Context) error {
	if !time.Now().Before(c.until) {
		if err := c.resolve(ctx); err != nil {
			return err
		}
	}
	conn, err := c.host.DialContext(ctx, "tcp", net.JoinHostPort(c.address, "80"))
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: www.cdn.example\r\nConnection: close\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	if body, err := io.ReadAll(res.Body); err != nil || string(body) != "content" {
		return fmt.Errorf("status %d, body %q, %w", res.StatusCode, body, err)
	}
	return nil
}

// resolve asks one name server after the other, as resolvers do.
func (c *client) resolve(ctx context.Context) error {
	query := new(dns.Msg).SetQuestion("www.cdn.example.", dns.TypeA)
	var errs []error
	for _, server := range c.servers {
		conn, err := c.host.DialContext(ctx, "udp", net.JoinHostPort(server, "53"))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		conn.SetDeadline(time.Now().Add(500 * time.Millisecond))
		x := &dns.Conn{Conn: conn}
		x.WriteMsg(query)
		reply, err := x.ReadMsg()
		conn.Close()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, rr := range reply.Answer {
			if a, ok := rr.(*dns.A); ok {
				c.address, c.until = a.A.String(), time.Now().Add(time.Duration(a.Hdr.Ttl)*time.Second)
				return nil
			}
		}
		errs = append(errs, errors.New("an answer without an address"))
	}
	return errors.Join(errs...)
}

// TestPlannedRestartLosesNothing restarts both machines in turn, twice, while clients with
// caching resolvers send requests.
func TestPlannedRestartLosesNothing(t *testing.T) {
	world() // decoded outside of the virtual time
	synctest.Test(t, func(t *testing.T) {
		c := newLeaveCDN(t, nil)
		c.start("gru-1")
		c.start("lis-1")
		time.Sleep(3 * time.Second)
		ctx, stop := context.WithCancel(t.Context())
		clients, ended := 10, make(chan int)
		for i := range clients {
			x := &client{host: c.net.Host(fmt.Sprintf("198.51.100.%d", i+1)), servers: []string{"203.0.113.1", "203.0.113.2"}}
			if i%2 == 1 {
				slices.Reverse(x.servers)
			}
			go func() {
				time.Sleep(time.Duration(i) * 270 * time.Millisecond)
				n := 0
				for ; ctx.Err() == nil; n++ {
					if err := x.ask(context.Background()); err != nil {
						t.Errorf("client %d: %v", i, err)
						break
					}
					time.Sleep(100 * time.Millisecond)
				}
				ended <- n
			}()
		}
		for range 2 {
			for _, name := range []string{"gru-1", "lis-1"} {
				before := time.Now()
				c.restart(name)
				if took := time.Since(before); took < 23*time.Second || took > 30*time.Second {
					t.Errorf("%s: the restart took %v, want the TTL of 20 s, the grace and the pause", name, took)
				}
				time.Sleep(2 * time.Second)
				for _, n := range c.nodes {
					if m := n.Fleet().Member(perto.Replica(name)); m.State != replicas.StateUp {
						t.Errorf("%s after its restart at %s: %v, %s", name, n.cfg().Local.Name, m.State, m.Reason)
					}
				}
			}
		}
		stop()
		requests := 0
		for range clients {
			requests += <-ended
		}
		t.Logf("%d requests over 4 planned restarts", requests)
		for _, n := range c.nodes {
			n.Close()
		}
	})
}

// TestLeaveWaitsOnlyWhereItHelps covers the cases without a wait, and a bounded one.
func TestLeaveWaitsOnlyWhereItHelps(t *testing.T) {
	world()
	tests := []struct {
		name string
		edit func(string) string
		want time.Duration
	}{
		{"two PoPs", func(s string) string { return s }, 23 * time.Second},
		{"longer TTL than drain_wait", func(s string) string {
			return strings.Replace(s, `"edge"]`, "\"edge\"]\n limits { drain_wait = \"5s\" }", 1)
		}, 5 * time.Second},
		{"no wait wanted", func(s string) string {
			return strings.Replace(s, `"edge"]`, "\"edge\"]\n limits { drain_wait = \"0s\" }", 1)
		}, 0},
		{"the only edge of the service", func(s string) string {
			return strings.Replace(s, "origin \"http", "map { pops = [\"gru\"] }\norigin \"http", 1)
		}, 0},
		{"no service here", func(s string) string {
			return strings.Replace(s, "origin \"http", "map { pops = [\"lis\"] }\norigin \"http", 1)
		}, 0},
		{"no name server", func(s string) string { return strings.ReplaceAll(s, `"dns", "edge"`, `"edge"`) }, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newLeaveCDN(t, tt.edit)
				c.start("gru-1")
				n := c.nodes["gru-1"]
				defer n.Close()
				before := time.Now()
				n.Leave(t.Context())
				if took := time.Since(before); took != tt.want {
					t.Errorf("waited %v, want %v", took, tt.want)
				}
				if tt.want > 0 && n.status().Leaving.IsZero() {
					t.Error("the status does not show that the edge leaves")
				}
			})
		})
	}
}

// TestLeaveEndsWithItsContext: a second signal ends the wait.
func TestLeaveEndsWithItsContext(t *testing.T) {
	world()
	synctest.Test(t, func(t *testing.T) {
		c := newLeaveCDN(t, nil)
		c.start("gru-1")
		n := c.nodes["gru-1"]
		defer n.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		before := time.Now()
		n.Leave(ctx)
		if took := time.Since(before); took != 2*time.Second || !strings.Contains(c.log.String(), "cut short") {
			t.Errorf("waited %v, want 2 s; log:\n%s", took, c.log.String())
		}
	})
}

// TestLeaveWaitsForAnswersOfAnEarlierConfiguration: the TTL was 50 s until a moment ago.
func TestLeaveWaitsForAnswersOfAnEarlierConfiguration(t *testing.T) {
	world()
	synctest.Test(t, func(t *testing.T) {
		long := func(s string) string {
			return strings.Replace(s, "origin \"http", "map { ttl = \"50s\" }\norigin \"http", 1)
		}
		c := newLeaveCDN(t, long)
		c.start("gru-1")
		n := c.nodes["gru-1"]
		defer n.Close()
		next := *n.cfg()
		next.World = leaveConfig(t, leaveWorld).World
		if err := n.Reload(t.Context(), next); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		before := time.Now()
		n.Leave(t.Context())
		if took := time.Since(before); took != 43*time.Second {
			t.Errorf("waited %v, want the rest of 53 s", took)
		}
	})
}
