package dnsserver

import (
	"net"
	"net/netip"
	"sync/atomic"
	"time"
)

// tcpState holds the client of a connection and whether a query is being answered.
type tcpState struct {
	client netip.Prefix
	idle   atomic.Int64 // start of the idle time, in nanoseconds since 1970; 0 while a query is answered
}

func (t *tcpState) begin() { t.idle.Store(0) }
func (t *tcpState) end()   { t.idle.Store(time.Now().UnixNano()) }

// tcpResult is the result of a new connection.
type tcpResult uint8

const (
	tcpAccepted   tcpResult = iota
	tcpReplaced             // accepted in place of an idle connection
	tcpManyClient           // refused: its client has too many connections
	tcpFull                 // refused: the server has too many, and none is idle
	tcpResultCount
)

var tcpResultNames = [tcpResultCount]string{"accepted", "replaced_idle", "refused_client", "refused_full"}

// clientOf returns the block of addresses that share one connection limit: an IPv4
// address, or the network of one IPv6 host.
func clientOf(a netip.Addr) netip.Prefix {
	bits := 32
	if !a.Is4() {
		bits = 64
	}
	p, _ := a.Prefix(bits)
	return p
}

// add admits a connection, or returns nil. No client may hold more than PerClient
// connections. When all places are taken, the connection with the longest idle time is
// closed (RFC 7766, section 6.2.3). If some client has several connections, the client
// with the most loses one.
func (c *connections) add(conn net.Conn, source netip.Addr, l *Limits) (*tcpState, tcpResult) {
	c.mu.Lock()
	defer c.mu.Unlock()
	state := &tcpState{client: clientOf(source)}
	state.end()
	if c.clients[state.client] >= l.PerClient {
		return nil, tcpManyClient
	}
	result := tcpAccepted
	if len(c.open) >= l.Connections {
		victim := c.longestIdle()
		if victim == nil {
			return nil, tcpFull
		}
		victim.Close()
		c.forget(victim)
		result = tcpReplaced
	}
	if c.closed {
		return nil, tcpFull
	}
	if c.open == nil {
		c.open, c.clients = make(map[net.Conn]*tcpState), make(map[netip.Prefix]int)
	}
	c.open[conn] = state
	c.clients[state.client]++
	return state, result
}

// longestIdle returns the connection to close when all places are taken, or nil.
func (c *connections) longestIdle() net.Conn {
	var victim net.Conn
	var most int
	var since int64
	for conn, state := range c.open {
		idle := state.idle.Load()
		if idle == 0 {
			continue
		}
		if n := c.clients[state.client]; victim == nil || n > most || n == most && idle < since {
			victim, most, since = conn, n, idle
		}
	}
	return victim
}

// forget removes a connection once. The caller holds mu.
func (c *connections) forget(conn net.Conn) {
	state := c.open[conn]
	if state == nil {
		return
	}
	delete(c.open, conn)
	if c.clients[state.client]--; c.clients[state.client] == 0 {
		delete(c.clients, state.client)
	}
}

func (c *connections) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open)
}

// tcpLogInterval is the shortest time between two log lines about refused connections.
const tcpLogInterval = 10 * time.Second

// tcpResult counts the result of a new connection, and logs refused connections.
func (s *Server) tcpResult(r tcpResult, source netip.Addr) {
	s.accepted[r].Inc()
	if r < tcpManyClient {
		return
	}
	now, last := time.Now().UnixNano(), s.tcpLogged.Load()
	if now-last < int64(tcpLogInterval) || !s.tcpLogged.CompareAndSwap(last, now) {
		return
	}
	reason := "the client has too many"
	if r == tcpFull {
		reason = "the server has too many"
	}
	s.cfg.Logger.Warn("refused a DNS connection over TCP", "client", source, "reason", reason)
}
