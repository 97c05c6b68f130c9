package dnsserver

import (
	"net"
	"testing"
	"time"

	"github.com/miekg/dns"

	"perto/internal/netx"
)

func TestLimitsChangeWhileServing(t *testing.T) {
	s := New(Config{Network: &netx.OS{}, Listen: []string{"127.0.0.1:0"}, Limits: Limits{PerClient: 1}})
	s.SetView(testView(t))
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	dial := func() *dns.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", s.Addrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		return &dns.Conn{Conn: conn}
	}
	answered := func(c *dns.Conn) bool {
		if c.WriteMsg(message("txt.cdn.example", "TXT", nil)) != nil {
			return false
		}
		reply, err := c.ReadMsg()
		return err == nil && len(reply.Answer) == 1
	}
	first := dial()
	if !answered(first) || answered(dial()) {
		t.Fatal("with 1 connection of a client: the first is not answered, or the second is")
	}
	s.SetLimits(Limits{PerClient: 3})
	if !answered(first) || !answered(dial()) || !answered(dial()) {
		t.Error("with 3 connections of a client: one is not answered")
	}
	s.SetLimits(Limits{PerClient: 1, Idle: 100 * time.Millisecond})
	if !answered(first) || answered(dial()) {
		t.Error("with 1 connection of a client again: the first is not answered, or a fourth is")
	}
	begin := time.Now()
	if _, err := first.ReadMsg(); err == nil || time.Since(begin) > 4*time.Second {
		t.Errorf("the idle time of 100ms: error %v after %v", err, time.Since(begin))
	}
}

// TestFewerConnectionsReplaceIdleOnes lowers the limit below the number of connections.
func TestFewerConnectionsReplaceIdleOnes(t *testing.T) {
	var c connections
	add := func(most int) tcpResult {
		limits := Limits{Connections: most}
		limits.defaults()
		_, got := c.add(&closedConn{}, addrOf(&net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}), &limits)
		return got
	}
	for range 5 {
		add(5)
	}
	if got := add(2); got != tcpReplaced || c.count() != 5 {
		t.Errorf("got %s and %d connections, want %s and 5", tcpResultNames[got], c.count(), tcpResultNames[tcpReplaced])
	}
	if got := add(6); got != tcpAccepted || c.count() != 6 {
		t.Errorf("got %s and %d connections, want %s and 6", tcpResultNames[got], c.count(), tcpResultNames[tcpAccepted])
	}
}
