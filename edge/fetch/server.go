package fetch

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"perto/edge/http1"
)

// server is one origin server: its connections, its permits for exchanges and its
// circuit breaker.
type server struct {
	cfg     *Config
	limits  *atomic.Pointer[Limits] // of the client
	address string
	tls     *tls.Config // nil for http
	permits permits     // of running exchanges
	stats   Stats

	mu       sync.Mutex
	idle     []*conn // the most recently used last
	open     map[*conn]struct{}
	reaper   *time.Timer
	closed   bool
	failures int       // failed connections in a row
	timeouts int       // exchanges without a head in time, in a row
	until    time.Time // the breaker is open until then
	trying   bool      // one exchange tests the half-open breaker
	unwell   string    // why health checks fail; "" while they succeed or without checks
}

// The circuit breaker opens after breakAfter failed connections in a row, or after
// breakAfter exchanges in a row without a head in time. While it is open, no exchange
// starts. After breakFirst one exchange is tried. Each further failure doubles the
// pause, up to breakMost. Any head resets the count of timeouts: one URL with a
// hanging handler must not block the other URLs of the site. Connections that end
// without a head do not count, because a crash delays no clients of other URLs.
const (
	breakAfter = 3
	breakFirst = 1 * time.Second
	breakMost  = 30 * time.Second
)

// allowed reports whether the server may be tried now. In the half-open state it
// allows one caller only.
func (s *server) allowed(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.failures < breakAfter && s.timeouts < breakAfter:
		return true
	case now.Before(s.until) || s.trying:
		return false
	}
	s.trying = true
	return true
}

// connected records in the breaker that the server accepted a connection.
func (s *server) connected() {
	s.note(func() {
		s.failures = 0
		if s.timeouts < breakAfter {
			s.trying = false
		}
	})
}

// unreachable records in the breaker that a connection failed.
func (s *server) unreachable() {
	s.note(func() {
		s.failures++
		s.failed(s.failures)
	})
}

// ended records in the breaker how an exchange ended.
func (s *server) ended(err error) {
	s.note(func() {
		if err != nil && CauseOf(err) == ReplyTimeout {
			s.timeouts++
			s.failed(s.timeouts)
			return
		}
		s.trying = false
		if err == nil {
			s.timeouts = 0
		}
	})
}

// note changes the counts of the breaker. It calls changed when the breaker opened or
// closed.
func (s *server) note(change func()) {
	s.mu.Lock()
	before := max(s.failures, s.timeouts) >= breakAfter
	change()
	after := max(s.failures, s.timeouts) >= breakAfter
	s.mu.Unlock()
	if before != after {
		s.changed()
	}
}

// changed calls the Changed function of the configuration.
func (s *server) changed() {
	if s.cfg.Changed != nil {
		s.cfg.Changed(s.health())
	}
}

// failed opens the breaker after enough failures in a row. The caller holds mu.
func (s *server) failed(row int) {
	s.trying = false
	if over := row - breakAfter; over >= 0 {
		pause := breakMost
		if over < 5 {
			pause = min(breakFirst<<over, breakMost)
		}
		s.until = time.Now().Add(pause)
	}
}

// untried records in the breaker that an allowed attempt was not made.
func (s *server) untried() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trying = false
}

func (s *server) health() Health {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Health{Origin: s.address, Failures: s.failures, Timeouts: s.timeouts,
		Open:   max(s.failures, s.timeouts) >= breakAfter && time.Now().Before(s.until),
		Unwell: s.unwell, Idle: len(s.idle), Running: s.permits.running()}
}

// acquire takes a permit for one exchange. It waits for at most QueueTimeout.
func (s *server) acquire(ctx context.Context) error {
	if s.permits.acquire(ctx, s.limits.Load().QueueTimeout) {
		return nil
	}
	return &Error{Cause: Busy, Origin: s.address}
}

func (s *server) release() { s.permits.release() }

// conn is one connection to an origin.
type conn struct {
	net.Conn
	server *server
	reader *http1.Reader
	wait   time.Duration // timeout of a read; 0: StallTimeout
	used   time.Time     // when the connection became idle
	until  time.Time     // from then on the origin may close the connection
	again  bool          // the connection carried an exchange before
}

// Read reads within the time allowed.
func (c *conn) Read(p []byte) (int, error) {
	c.Conn.SetReadDeadline(time.Now().Add(cmp.Or(c.wait, c.server.limits.Load().StallTimeout)))
	return c.Conn.Read(p)
}

// Write writes within the time allowed.
func (c *conn) Write(p []byte) (int, error) {
	c.Conn.SetWriteDeadline(time.Now().Add(c.server.limits.Load().StallTimeout))
	return c.Conn.Write(p)
}

// take returns an idle connection that seems to be open, or nil. For a request that is
// not repeatable it returns only a connection that is open with certainty or was used
// less than sureFor ago.
func (s *server) take(repeatable bool) *conn {
	for {
		c := s.pop()
		if c == nil {
			return nil
		}
		now := time.Now()
		alive, known := c.quiet()
		if now.Before(c.until) && alive && (known || repeatable || now.Sub(c.used) < sureFor) {
			return c
		}
		s.drop(c)
	}
}

// sureFor is the idle time up to which a connection without an inspectable socket may
// carry a request that is not repeatable.
const sureFor = time.Second

// quiet reports whether an idle connection is open and the origin has sent nothing
// since its last reply. known is false when this cannot be checked.
func (c *conn) quiet() (ok, known bool) {
	t, isTLS := c.Conn.(*tls.Conn)
	if !isTLS {
		return stillOpen(c.Conn)
	}
	// Read returns bytes that are already decrypted. The deadline in the past prevents
	// a read of the socket.
	var b [1]byte
	t.SetReadDeadline(time.Unix(1, 0))
	if n, err := t.Read(b[:]); n > 0 || !isTimeout(err) {
		return false, true
	}
	return stillOpen(t.NetConn())
}

func (s *server) pop() *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := len(s.idle)
	if k == 0 {
		return nil
	}
	c := s.idle[k-1]
	s.idle[k-1] = nil
	s.idle = s.idle[:k-1]
	return c
}

// dial makes a new connection.
func (s *server) dial(ctx context.Context) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, s.limits.Load().ConnectTimeout)
	defer cancel()
	raw, err := s.cfg.Network.DialContext(ctx, "tcp", s.address)
	if err == nil && s.tls != nil {
		t := tls.Client(raw, s.tls)
		if err = t.HandshakeContext(ctx); err != nil {
			raw.Close()
		}
		raw = t
	}
	if err != nil {
		cause := Unreachable
		if isTimeout(err) || errors.Is(ctx.Err(), context.DeadlineExceeded) {
			cause = ConnectTimeout
		}
		return nil, &Error{Cause: cause, Origin: s.address, Err: err}
	}
	c := &conn{Conn: raw, server: s}
	c.reader = http1.NewOriginReader(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = make(map[*conn]struct{})
	}
	s.open[c] = struct{}{}
	return c, nil
}

// drop closes a connection. The caller does not hold mu.
func (s *server) drop(c *conn) {
	s.mu.Lock()
	delete(s.open, c)
	s.mu.Unlock()
	c.Conn.Close()
}

// abort closes all connections, also those that carry an exchange.
func (s *server) abort() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open {
		c.Conn.Close()
	}
}

// put keeps a connection for the next exchange, or closes it. hint is the timeout in
// the origin's Keep-Alive field, or 0.
func (s *server) put(c *conn, hint time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.limits.Load()
	if s.closed || len(s.idle) >= l.MaxIdle || c.reader.Buffered() > 0 {
		delete(s.open, c)
		c.Conn.Close()
		return
	}
	c.used, c.again = time.Now(), true
	c.until = c.used.Add(l.IdleTimeout)
	if hint > 0 && hint < l.IdleTimeout {
		c.until = c.used.Add(hint - hint/8) // the origin's timer started earlier, at its last byte
	}
	s.idle = append(s.idle, c)
	if s.reaper == nil {
		s.reaper = time.AfterFunc(l.IdleTimeout, s.reap)
	}
}

// reap closes connections that were idle for too long.
func (s *server) reap() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closeExpired()
}

// closeOldest closes the n connections with the longest idle time. s.idle has the oldest
// first. The caller holds mu.
func (s *server) closeOldest(n int) {
	if n <= 0 {
		return
	}
	for _, c := range s.idle[:n] {
		delete(s.open, c)
		c.Conn.Close()
	}
	s.idle = slices.Delete(s.idle, 0, n)
}

// closeExpired closes connections that were idle for too long. It starts the timer for
// the others. The caller holds mu, and no timer runs.
func (s *server) closeExpired() {
	old := time.Now().Add(-s.limits.Load().IdleTimeout)
	k := 0
	for k < len(s.idle) && !s.idle[k].used.After(old) {
		k++
	}
	s.closeOldest(k)
	s.reaper = nil
	if len(s.idle) > 0 && !s.closed {
		s.reaper = time.AfterFunc(s.idle[0].used.Sub(old), s.reap)
	}
}

func (s *server) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.reaper != nil {
		s.reaper.Stop()
	}
	for _, c := range s.idle {
		delete(s.open, c)
		c.Conn.Close()
	}
	s.idle = nil
}
