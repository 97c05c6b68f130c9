package simnet

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
)

// stream is one end of a connection: net.Pipe with addresses, and a reset that
// the reader sees. Bytes pass without latency; connecting takes a round trip.
type stream struct {
	net.Conn
	host          *Host
	local, remote netip.AddrPort

	mu     sync.Mutex
	broken bool
	other  *stream
}

func (s *stream) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(s.local) }
func (s *stream) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(s.remote) }

func (s *stream) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	return n, s.explain(err)
}

func (s *stream) Write(b []byte) (int, error) {
	n, err := s.Conn.Write(b)
	return n, s.explain(err)
}

func (s *stream) explain(err error) error {
	if err == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken {
		return &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	}
	return err
}

func (s *stream) Close() error {
	s.host.net.mu.Lock()
	delete(s.host.streams, s)
	s.host.net.mu.Unlock()
	return s.Conn.Close()
}

// reset closes this end; the other one sees a reset.
func (s *stream) reset() {
	s.other.mu.Lock()
	s.other.broken = true
	s.other.mu.Unlock()
	s.Close()
}

type listener struct {
	host    *Host
	local   netip.AddrPort
	arrived chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

// backlog is how many connections wait to be accepted.
const backlog = 128

// Listen opens a stream listener.
func (h *Host) Listen(_ context.Context, network, address string) (net.Listener, error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	local, err := h.bind(address, func(port uint16) bool { return h.listeners[port] != nil })
	if err != nil {
		return nil, err
	}
	l := &listener{host: h, local: local, arrived: make(chan net.Conn, backlog), closed: make(chan struct{})}
	h.listeners[local.Port()] = l
	return l, nil
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.arrived:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.local) }

func (l *listener) Close() error {
	err := net.ErrClosed
	l.once.Do(func() {
		err = nil
		l.host.net.mu.Lock()
		delete(l.host.listeners, l.local.Port())
		l.host.net.mu.Unlock()
		close(l.closed)
	})
	return err
}

// dialStream sends a request to connect and waits for its answer; on a way that
// is cut that is until the context ends.
func (h *Host) dialStream(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(to), Err: err}
	}
	far := h.net.at(to.Addr())
	if far == nil {
		<-ctx.Done()
		return fail(context.Cause(ctx))
	}
	h.net.mu.Lock()
	h.port++
	local := netip.AddrPortFrom(h.Addrs[0], h.port)
	h.net.mu.Unlock()
	type answer struct {
		conn net.Conn
		err  error
	}
	answers := make(chan answer, 1)
	h.net.between(h, far, false, func() {
		mine, err := far.accept(h, local, to)
		h.net.between(far, h, false, func() { answers <- answer{mine, err} })
	})
	select {
	case a := <-answers:
		if a.err != nil {
			return fail(a.err)
		}
		return a.conn, nil
	case <-ctx.Done():
		return fail(context.Cause(ctx))
	}
}

// accept makes both ends of a connection and returns the dialler's.
func (h *Host) accept(from *Host, local, to netip.AddrPort) (net.Conn, error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	l := h.listeners[to.Port()]
	if l == nil {
		return nil, syscall.ECONNREFUSED
	}
	a, b := net.Pipe()
	mine := &stream{Conn: a, host: from, local: local, remote: to}
	theirs := &stream{Conn: b, host: h, local: to, remote: local, other: mine}
	mine.other = theirs
	select {
	case l.arrived <- theirs:
	default:
		return nil, errors.New("simnet: backlog is full")
	}
	from.streams[mine], h.streams[theirs] = true, true
	return mine, nil
}
