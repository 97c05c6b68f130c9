package simnet

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// window is how many bytes may be in flight or unread in one direction.
	window = 256 << 10
	// firstRetry is the time after which a SYN or a segment is sent again (RFC 6298: 1
	// s before the first measurement of the round trip). It doubles up to maxRetry.
	firstRetry = time.Second
	maxRetry   = 8 * time.Second
	// giveUp is the time limit of a dial without its own deadline.
	giveUp = 2 * time.Minute
)

// listener accepts streams.
type listener struct {
	host    *Host
	at      []netip.AddrPort
	backlog chan *stream
	once    sync.Once
	closed  chan struct{}
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		l.host.running()
		select {
		case <-l.closed: // before the backlog: a closed listener accepts nothing
			return nil, opError("accept", "tcp", net.ErrClosed)
		default:
		}
		select {
		case s := <-l.backlog:
			l.host.running()
			return s, nil
		case <-l.closed:
		}
	}
}

// Close ends the listener. Streams that were not accepted are reset.
func (l *listener) Close() error {
	l.once.Do(func() {
		l.host.net.mu.Lock()
		for _, a := range l.at {
			delete(l.host.listeners, a)
		}
		l.host.net.mu.Unlock()
		close(l.closed)
		for {
			select {
			case s := <-l.backlog:
				s.abort()
				continue
			default:
			}
			break
		}
	})
	return nil
}

func (l *listener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.at[0]) }

// handshake is a dial in progress. The first response or the end of the dial settles it
// once. Streams that open later are reset.
type handshake struct {
	from, to netip.AddrPort
	settled  atomic.Bool
	stream   chan *stream // capacity 1; nil is a refusal
}

func (k *handshake) settle(s *stream) {
	if k.settled.CompareAndSwap(false, true) {
		k.stream <- s
	} else if s != nil {
		s.abort()
	}
}

// dial sends a SYN until it receives a response.
func (h *Host) dial(ctx context.Context, from netip.Addr, to netip.AddrPort) (*stream, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, giveUp, os.NewSyscallError("connect", syscall.ETIMEDOUT))
	defer cancel()
	n := h.net
	n.mu.Lock()
	target := n.hosts[to.Addr()]
	local, err := h.bind("tcp", netip.AddrPortFrom(from, 0).String(), func(netip.AddrPort) bool { return false })
	n.mu.Unlock()
	if err != nil {
		return nil, err
	}
	k := &handshake{from: local[0], to: to, stream: make(chan *stream, 1)}
	for wait := firstRetry; ; wait = min(2*wait, maxRetry) {
		n.mu.Lock()
		if target != nil {
			if out := n.passage(h, target); out != nil {
				time.AfterFunc(out[0], func() { target.syn(h, k) })
			}
		}
		n.mu.Unlock()
		again := time.NewTimer(wait)
		select {
		case s := <-k.stream:
			again.Stop()
			if s == nil {
				return nil, os.NewSyscallError("connect", syscall.ECONNREFUSED)
			}
			return s, nil
		case <-ctx.Done():
			again.Stop()
			if !k.settled.CompareAndSwap(false, true) {
				if s := <-k.stream; s != nil {
					s.abort()
				}
			}
			return nil, context.Cause(ctx)
		case <-again.C:
		}
	}
}

// syn responds to a SYN with a stream or a refusal. It sends nothing when the backlog
// is full. The kernel does this, so it also works for a frozen process.
func (h *Host) syn(client *Host, k *handshake) {
	n := h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if h.gone {
		return
	}
	back := n.passage(h, client)
	if back == nil {
		return // the response is lost; the client retries
	}
	l := h.listeners[k.to]
	if l == nil {
		time.AfterFunc(back[0], func() { k.settle(nil) })
		return
	}
	theirs, ours := newStreams(client, h, k.from, k.to)
	select {
	case l.backlog <- ours:
	default:
		return
	}
	client.streams = append(client.streams, theirs)
	h.streams = append(h.streams, ours)
	time.AfterFunc(back[0], func() { k.settle(theirs) })
}

// stream is one end of a connection. Each end has the buffer that it reads. Writing
// schedules a delivery into the peer's buffer.
type stream struct {
	host          *Host
	peer          *stream
	local, remote netip.AddrPort

	mu       sync.Mutex
	buf      bytes.Buffer // received, not read
	inflight int          // sent by the peer, not in buf yet
	eof      bool         // the peer has closed its side, and all data has arrived
	err      error        // reset, or closed by this side
	shut     bool         // this side has closed
	refused  bool         // data came after Close, and the peer is reset
	changed  signal

	read, write *deadline

	wireMu   sync.Mutex // held while segments are delivered, to keep their order
	wire     []segment  // sent, not delivered yet
	retrying bool
}

// segment is data or a control event in flight to the peer.
type segment struct {
	at   time.Time // never before that of the preceding segment
	land func()
}

func newStreams(client, server *Host, from, to netip.AddrPort) (*stream, *stream) {
	a := &stream{host: client, local: from, remote: to, read: newDeadline(), write: newDeadline()}
	b := &stream{host: server, local: to, remote: from, read: newDeadline(), write: newDeadline()}
	a.peer, b.peer = b, a
	return a, b
}

func (s *stream) Read(p []byte) (int, error) {
	for {
		s.host.running()
		s.mu.Lock()
		switch {
		case s.err != nil:
			err := s.err
			s.mu.Unlock()
			return 0, opError("read", "tcp", err)
		case s.buf.Len() > 0:
			n, _ := s.buf.Read(p)
			s.changed.change() // the peer's writer may continue
			s.mu.Unlock()
			return n, nil
		case s.eof:
			s.mu.Unlock()
			return 0, io.EOF
		}
		changed := s.changed.wait()
		s.mu.Unlock()
		select {
		case <-changed:
		case <-s.read.done():
			return 0, opError("read", "tcp", os.ErrDeadlineExceeded)
		}
	}
}

func (s *stream) Write(p []byte) (int, error) {
	written := 0
	for written < len(p) {
		s.host.running()
		select {
		case <-s.write.done():
			return written, opError("write", "tcp", os.ErrDeadlineExceeded)
		default:
		}
		s.mu.Lock()
		err, shut := s.err, s.shut
		ours := s.changed.wait()
		s.mu.Unlock()
		if err != nil || shut {
			if err == nil {
				err = os.NewSyscallError("write", syscall.EPIPE)
			}
			return written, opError("write", "tcp", err)
		}
		s.peer.mu.Lock()
		free := window - s.peer.inflight - s.peer.buf.Len()
		k := min(free, len(p)-written)
		if k > 0 {
			s.peer.inflight += k
		}
		theirs := s.peer.changed.wait()
		s.peer.mu.Unlock()
		if k > 0 {
			data := bytes.Clone(p[written : written+k])
			s.carry(func() { s.peer.arrive(data) })
			written += k
			continue
		}
		select {
		case <-ours:
		case <-theirs:
		case <-s.write.done():
		}
	}
	return written, nil
}

// carry runs land at the peer's side when a segment arrives there. This is after the
// link's delay, in order, and after the end of a cut.
func (s *stream) carry(land func()) {
	n := s.host.net
	n.mu.Lock()
	delay := n.delay(n.link(s.host, s.peer.host))
	n.mu.Unlock()
	if s.host == s.peer.host {
		delay = 0
	}
	s.wireMu.Lock()
	defer s.wireMu.Unlock()
	at := time.Now().Add(delay)
	if k := len(s.wire); k > 0 && s.wire[k-1].at.After(at) {
		at = s.wire[k-1].at
	}
	s.wire = append(s.wire, segment{at, land})
	time.AfterFunc(time.Until(at), s.drain)
}

// drain delivers the segments that have arrived.
func (s *stream) drain() {
	n := s.host.net
	n.mu.Lock()
	cut := n.cuts[pair{s.host, s.peer.host}]
	lost := s.host.gone || s.peer.host.gone
	n.mu.Unlock()
	s.wireMu.Lock()
	defer s.wireMu.Unlock()
	switch {
	case lost:
		s.wire = nil
		return
	case cut && s.retrying:
		return
	case cut:
		s.retrying = true
		time.AfterFunc(firstRetry, func() {
			s.wireMu.Lock()
			s.retrying = false
			s.wireMu.Unlock()
			s.drain()
		})
		return
	}
	for now := time.Now(); len(s.wire) > 0 && !s.wire[0].at.After(now); s.wire = s.wire[1:] {
		s.wire[0].land()
	}
}

func (s *stream) arrive(data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inflight -= len(data)
	switch {
	case s.err == nil:
		s.buf.Write(data)
	case s.err == net.ErrClosed && !s.refused:
		// A closed end resets a peer that goes on sending (RFC 1122, section 4.2.2.13).
		// The peer's segments are locked here, so the reset starts on its own.
		s.refused = true
		time.AfterFunc(0, func() { s.carry(s.peer.reset) })
	}
	s.changed.change()
}

// CloseWrite ends this side. The peer reads the data in flight, then io.EOF.
func (s *stream) CloseWrite() error {
	s.mu.Lock()
	if s.shut || s.err != nil {
		s.mu.Unlock()
		return nil
	}
	s.shut = true
	s.mu.Unlock()
	s.carry(func() {
		s.peer.mu.Lock()
		defer s.peer.mu.Unlock()
		s.peer.eof = true
		s.peer.changed.change()
	})
	return nil
}

// Close ends the stream. When unread data is left, the peer receives a reset, as with
// TCP (RFC 1122, section 4.2.2.13).
func (s *stream) Close() error {
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		return nil
	}
	unread := s.buf.Len() > 0
	s.mu.Unlock()
	if unread {
		s.carry(s.peer.reset)
	} else {
		s.CloseWrite()
	}
	s.fail(net.ErrClosed)
	s.host.forget(s)
	return nil
}

// abort is the end of the process: the peer receives a reset.
func (s *stream) abort() {
	s.carry(s.peer.reset)
	s.fail(net.ErrClosed)
}

func (s *stream) reset() {
	s.fail(os.NewSyscallError("read", syscall.ECONNRESET))
	s.host.forget(s)
}

func (s *stream) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
	s.changed.change()
}

func (h *Host) forget(s *stream) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	for i, other := range h.streams {
		if other == s {
			h.streams = append(h.streams[:i], h.streams[i+1:]...)
			return
		}
	}
}

func (s *stream) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(s.local) }
func (s *stream) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(s.remote) }

func (s *stream) SetDeadline(t time.Time) error {
	s.read.set(t)
	s.write.set(t)
	return nil
}
func (s *stream) SetReadDeadline(t time.Time) error  { s.read.set(t); return nil }
func (s *stream) SetWriteDeadline(t time.Time) error { s.write.set(t); return nil }
