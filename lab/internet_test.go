package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"perto"
)

var (
	saoPaulo  = perto.Place{Name: "São Paulo", Country: "BR", Lat: -23.55, Lon: -46.63}
	ashburn   = perto.Place{Name: "Ashburn", Country: "US", Lat: 39.04, Lon: -77.49}
	frankfurt = perto.Place{Name: "Frankfurt", Country: "DE", Lat: 50.11, Lon: 8.68}
)

// newPair returns an Internet with a host in São Paulo and one in Ashburn.
func newPair(t *testing.T) (n *Internet, gru, iad *Host) {
	t.Helper()
	n = NewInternet(&Paths{Seed: 1})
	t.Cleanup(n.Close)
	gru = addHost(t, n, HostConfig{Name: "gru", Addrs: addrs("203.0.113.1", "2001:db8:1::1"), End: End{Place: saoPaulo}})
	iad = addHost(t, n, HostConfig{Name: "iad", Addrs: addrs("203.0.113.2", "2001:db8:2::1"), End: End{Place: ashburn}})
	return n, gru, iad
}

func addHost(t *testing.T, n *Internet, cfg HostConfig) *Host {
	t.Helper()
	h, err := n.AddHost(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// echo returns all bytes on TCP port 7 of a host until the test ends.
func echo(t *testing.T, h *Host) {
	t.Helper()
	l, err := h.Listen(t.Context(), "tcp", ":7")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
}

func TestConnectionTakesPathDelay(t *testing.T) {
	n, gru, iad := newPair(t)
	echo(t, iad)
	rtt := n.paths.RTT(gru.End, iad.End)
	if rtt < 100*time.Millisecond || rtt > 250*time.Millisecond {
		t.Fatalf("São Paulo to Ashburn: %v is not a plausible RTT", rtt)
	}
	for _, to := range []string{"203.0.113.2:7", "[2001:db8:2::1]:7"} {
		// Packets are held at least for the delay of the path. A machine can stall, so the
		// fastest of some tries counts for the upper bound.
		fastest := make(map[string]time.Duration)
		took := func(what string, since time.Time) {
			d := time.Since(since)
			if d < rtt {
				t.Errorf("%s to %s: got %v, want at least %v", what, to, d, rtt)
			}
			if old, ok := fastest[what]; !ok || d < old {
				fastest[what] = d
			}
		}
		for range 5 {
			start := time.Now()
			c, err := gru.DialContext(t.Context(), "tcp", to)
			if err != nil {
				t.Fatal(err)
			}
			took("connect", start)
			start = time.Now()
			buf := make([]byte, 4)
			c.Write([]byte("near"))
			if _, err := io.ReadFull(c, buf); err != nil || string(buf) != "near" {
				t.Errorf("got %q, error %v; want the echo", buf, err)
			}
			took("exchange", start)
			c.Close()
		}
		for what, d := range fastest {
			if d > rtt+250*time.Millisecond {
				t.Errorf("%s to %s: got %v at best, want about %v", what, to, d, rtt)
			}
		}
	}
}

func TestUDPKeepsAddresses(t *testing.T) {
	_, gru, iad := newPair(t)
	server, err := iad.ListenPacket(t.Context(), "udp", ":53")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	for _, to := range []string{"203.0.113.2:53", "[2001:db8:2::1]:53"} {
		c, err := gru.DialContext(t.Context(), "udp", to)
		if err != nil {
			t.Fatal(err)
		}
		c.Write([]byte("q"))
		buf := make([]byte, 10)
		k, from, err := server.ReadFrom(buf)
		if err != nil || k != 1 {
			t.Fatalf("got %d bytes, error %v", k, err)
		}
		host, _, _ := net.SplitHostPort(from.String())
		if got := netip.MustParseAddr(host); got != gru.Addrs[0] && got != gru.Addrs[1] {
			t.Errorf("query came from %s, want an address of gru in plain form", got)
		}
		server.WriteTo([]byte("answer"), from)
		if k, err := c.Read(buf); err != nil || string(buf[:k]) != "answer" {
			t.Errorf("got %q, error %v", buf[:k], err)
		}
		c.Close()
	}
}

func TestClosedPortRefuses(t *testing.T) {
	_, gru, _ := newPair(t)
	if _, err := gru.DialContext(t.Context(), "tcp", "203.0.113.2:80"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v, want connection refused", err)
	}
	if _, err := gru.DialContext(t.Context(), "tcp", "nowhere:80"); err == nil {
		t.Error("an unknown name was dialled")
	}
	if _, err := gru.Listen(t.Context(), "tcp", "203.0.113.2:80"); !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Errorf("listening on another host's address: got %v", err)
	}
}

func TestResetBreaksConnections(t *testing.T) {
	_, gru, iad := newPair(t)
	echo(t, iad)
	c, err := gru.DialContext(t.Context(), "tcp", "203.0.113.2:7")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	iad.Reset()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read: got %v, want connection reset", err)
	}
	if _, err := gru.DialContext(t.Context(), "tcp", "203.0.113.2:7"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial after the reset: got %v, want refused", err)
	}
}

func TestCutIsSilence(t *testing.T) {
	_, gru, iad := newPair(t)
	echo(t, iad)
	iad.Cut()
	ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
	defer cancel()
	if _, err := gru.DialContext(ctx, "tcp", "203.0.113.2:7"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want no answer at all", err)
	}
	if iad.State() != "cut" {
		t.Errorf("got state %q", iad.State())
	}
	iad.Heal()
	c, err := gru.DialContext(t.Context(), "tcp", "203.0.113.2:7")
	if err != nil {
		t.Fatalf("after healing: %v", err)
	}
	c.Close()
}

func TestFreezeDelaysButLosesNothing(t *testing.T) {
	_, gru, iad := newPair(t)
	server, err := iad.ListenPacket(t.Context(), "udp", ":53")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	c, err := gru.DialContext(t.Context(), "udp", "203.0.113.2:53")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	iad.Freeze()
	for i := range 3 {
		fmt.Fprint(c, i)
	}
	server.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	if _, _, err := server.ReadFrom(make([]byte, 1)); err == nil {
		t.Error("a packet came through to a frozen host")
	}
	iad.Heal()
	server.SetReadDeadline(time.Now().Add(5 * time.Second))
	for i := range 3 {
		buf := make([]byte, 4)
		k, _, err := server.ReadFrom(buf)
		if err != nil || string(buf[:k]) != fmt.Sprint(i) {
			t.Errorf("packet %d: got %q, error %v", i, buf[:k], err)
		}
	}
}

func TestAnycastReachesTheNearest(t *testing.T) {
	n, gru, iad := newPair(t)
	shared := addrs("198.51.100.1")
	for name, place := range map[string]perto.Place{"any-gru": saoPaulo, "any-fra": frankfurt, "any-iad": ashburn} {
		addr := map[string]string{"any-gru": "203.0.113.11", "any-fra": "203.0.113.12", "any-iad": "203.0.113.13"}[name]
		h := addHost(t, n, HostConfig{Name: name, Addrs: addrs(addr), Anycast: shared, End: End{Place: place}})
		l, err := h.Listen(t.Context(), "tcp", "198.51.100.1:7")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				io.WriteString(c, name)
				c.Close()
			}
		}()
	}
	for from, want := range map[*Host]string{gru: "any-gru", iad: "any-iad"} {
		c, err := from.DialContext(t.Context(), "tcp", "198.51.100.1:7")
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(c)
		c.Close()
		if string(got) != want {
			t.Errorf("%s reached %s, want %s", from.Name, got, want)
		}
	}
}

func TestAddHostRefusesUsedNamesAndAddresses(t *testing.T) {
	n, _, _ := newPair(t)
	if _, err := n.AddHost(HostConfig{Name: "gru", Addrs: addrs("203.0.113.9")}); err == nil {
		t.Error("a second host named gru was accepted")
	}
	if _, err := n.AddHost(HostConfig{Name: "other", Addrs: addrs("203.0.113.1")}); err == nil {
		t.Error("a second host at gru's address was accepted")
	}
}

func TestPathsAreSymmetricAndRepeatable(t *testing.T) {
	a, b := End{Place: saoPaulo, LastMile: 10 * time.Millisecond}, End{Place: frankfurt}
	p, q := &Paths{Seed: 7, LongWay: 0.04}, &Paths{Seed: 7, LongWay: 0.04}
	if p.RTT(a, b) != p.RTT(b, a) || p.RTT(a, b) != q.RTT(b, a) {
		t.Errorf("got %v, %v and %v, want one value", p.RTT(a, b), p.RTT(b, a), q.RTT(b, a))
	}
	if other := (&Paths{Seed: 8}).RTT(a, b); other == p.RTT(a, b) {
		t.Error("another seed gave the same path")
	}
	site := End{Place: saoPaulo, Site: "gru"}
	if got := p.RTT(site, site); got != sameSiteRTT {
		t.Errorf("inside a site: got %v", got)
	}
	// The round trip of light in fibre takes 98 ms. No path may be faster.
	if got, light := p.RTT(End{Place: saoPaulo}, b), 98*time.Millisecond; got < light {
		t.Errorf("got %v, faster than light (%v)", got, light)
	}
}

// TestLoopbackIsRefused: a page may name a port of the user's machine. A client of the
// lab must not wait for it.
func TestLoopbackIsRefused(t *testing.T) {
	_, gru, _ := newPair(t)
	for _, to := range []string{"127.0.0.1:3000", "[::1]:3000"} {
		if c, err := gru.DialContext(t.Context(), "tcp", to); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s: %v, %v", to, c, err)
		}
	}
}
