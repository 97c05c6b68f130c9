package dnsserver

import (
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"perto/internal/netx"
	"perto/metrics"
)

// closedConn records that it was closed.
type closedConn struct {
	net.Conn
	closed bool
}

func (c *closedConn) Close() error { c.closed = true; return nil }

func TestIdleConnectionsGiveUpTheirPlaces(t *testing.T) {
	var limits Limits
	limits.defaults()
	var c connections
	greedy, calm := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	add := func(a netip.Addr, want tcpResult) (*closedConn, *tcpState) {
		t.Helper()
		conn := &closedConn{}
		state, got := c.add(conn, a, &limits)
		if got != want {
			t.Fatalf("connection %d of %s: got %s, want %s", c.count(), a, tcpResultNames[got], tcpResultNames[want])
		}
		return conn, state
	}
	first, _ := add(calm, tcpAccepted)
	oldest, state := add(greedy, tcpAccepted)
	state.idle.Store(1)
	for range limits.PerClient - 1 {
		add(greedy, tcpAccepted)
	}
	add(greedy, tcpManyClient)
	add(netip.MustParseAddr("2001:db8:0:0:1::1"), tcpAccepted) // the same /64 as calm
	for i := 2; c.count() < limits.Connections; i++ {
		add(netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)}), tcpAccepted)
	}
	if n := c.clients[clientOf(calm)]; n != 2 {
		t.Errorf("the /64 has %d connections, want 2", n)
	}
	add(netip.MustParseAddr("203.0.113.1"), tcpReplaced)
	if !oldest.closed || first.closed {
		t.Errorf("closed: the greedy client's oldest %v, the calm client's first %v", oldest.closed, first.closed)
	}
	c.remove(oldest) // by its own goroutine, later
	if n := c.count(); n != limits.Connections {
		t.Errorf("got %d connections, want %d", n, limits.Connections)
	}
	for _, state := range c.open {
		state.begin()
	}
	add(netip.MustParseAddr("203.0.113.2"), tcpFull)
}

// TestOneClientDoesNotTakeAllOfTCP opens 1,200 idle connections from one address and
// queries from another one.
func TestOneClientDoesNotTakeAllOfTCP(t *testing.T) {
	var log strings.Builder
	registry := metrics.New()
	s := New(Config{Network: &netx.OS{}, Listen: []string{"127.0.0.1:0"}, Metrics: registry, Logger: testLogger(&log)})
	s.SetView(testView(t))
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	address := s.Addrs()[0].String()
	dial := func(from string) net.Conn {
		t.Helper()
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		conn, err := d.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	for range 1200 {
		conn := dial("127.0.0.1")
		defer conn.Close()
	}
	conn := dial("127.0.0.2")
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	c := &dns.Conn{Conn: conn}
	if err := c.WriteMsg(message("txt.cdn.example", "TXT", nil)); err != nil {
		t.Fatal(err)
	}
	if reply, err := c.ReadMsg(); err != nil || len(reply.Answer) != 1 {
		t.Errorf("another client: got %v, error %v", reply, err)
	}
	got, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]float64{`perto_dns_tcp_connections_total{result="accepted"}`: 101, `perto_dns_tcp_connections_total{result="refused_client"}`: 1100, "perto_dns_tcp_connections": 101} {
		if got[name] != want {
			t.Errorf("%s: got %v, want %v", name, got[name], want)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if n := strings.Count(log.String(), "refused a DNS connection over TCP"); n != 1 || !strings.Contains(log.String(), "client=127.0.0.1") {
		t.Errorf("%d lines: %s", n, log.String())
	}
}

// TestLongQueryIsAnswered: padding (RFC 7830) may make a query longer than 4,096
// bytes.
func TestLongQueryIsAnswered(t *testing.T) {
	s := New(Config{Network: &netx.OS{}, Listen: []string{"127.0.0.1:0"}})
	s.SetView(testView(t))
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, network := range []string{"udp", "tcp"} {
		m := message("txt.cdn.example", "TXT", func(m *dns.Msg) {
			m.SetEdns0(1232, false)
			m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_PADDING{Padding: make([]byte, 9000)}}
		})
		reply, _, err := (&dns.Client{Net: network, UDPSize: 1232}).Exchange(m, s.Addrs()[0].String())
		if err != nil || len(reply.Answer) != 1 {
			t.Errorf("%s: got %v, error %v", network, reply, err)
		}
	}
}

func testLogger(to *strings.Builder) *slog.Logger {
	return slog.New(slog.NewTextHandler(to, nil))
}
