package dnsserver

import (
	"cmp"
	"time"
)

// Limits bounds DNS over TCP (RFC 7766, section 6.2).
type Limits struct {
	Connections int           // at a time; default 1,000
	PerClient   int           // of one IPv4 address or IPv6 /64; default 100
	Idle        time.Duration // between queries of a connection; default 10 s
	Write       time.Duration // for a response that the client does not read; default 5 s
}

func (l *Limits) defaults() {
	l.Connections, l.PerClient = cmp.Or(l.Connections, 1000), cmp.Or(l.PerClient, 100)
	l.Idle, l.Write = cmp.Or(l.Idle, 10*time.Second), cmp.Or(l.Write, 5*time.Second)
}

// SetLimits replaces the limits while the server runs. Open connections above a smaller
// limit stay. Until there are fewer, a new one is refused or takes the place of an idle
// one. A deadline that is set stays, and the next one has the new time.
func (s *Server) SetLimits(l Limits) {
	l.defaults()
	s.limits.Store(&l)
}
