// Package memnet is a network in memory for tests: named hosts, streams with bounded
// buffers, deadlines and refused connections. It blocks only on condition variables and
// timers. It therefore works in the virtual time of testing/synctest, where real
// sockets do not.
//
// A write returns when its bytes are in the peer's buffer, as with TCP. There is no
// delay, no loss and no packet socket. All methods are safe for concurrent use. Start
// with [New].
package memnet

import (
	"context"
	"errors"
	"net"
	"strconv"
	"sync"
	"syscall"

	"perto/internal/netx"
)

// bufferBytes is the limit of buffered bytes in one direction of a stream. Further
// writes wait.
const bufferBytes = 64 << 10

// Net is a set of hosts that reach each other. Use [New].
type Net struct {
	mu        sync.Mutex
	listeners map[string]*listener // by "host:port"
	port      int                  // the last assigned port
}

// New returns a network without hosts.
func New() *Net { return &Net{listeners: make(map[string]*listener), port: 40000} }

// Host returns the network from the view of one host. Its name replaces an address:
// others dial "name:port".
func (n *Net) Host(name string) netx.Network { return &host{n, name} }

type host struct {
	net  *Net
	name string
}

func (h *host) Listen(_ context.Context, network, address string) (net.Listener, error) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if port == "0" {
		port = h.net.freePort()
	}
	l := &listener{host: h, addr: addr(net.JoinHostPort(h.name, port))}
	l.arrived.L = &l.mu
	if h.net.listeners[string(l.addr)] != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Addr: l.addr, Err: syscall.EADDRINUSE}
	}
	h.net.listeners[string(l.addr)] = l
	return l, nil
}

func (n *Net) freePort() string {
	n.port++
	return strconv.Itoa(n.port)
}

// ListenPacket is not supported.
func (h *host) ListenPacket(context.Context, string, string) (net.PacketConn, error) {
	return nil, errors.ErrUnsupported
}

func (h *host) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	h.net.mu.Lock()
	l := h.net.listeners[address]
	from := addr(net.JoinHostPort(h.name, h.net.freePort()))
	h.net.mu.Unlock()
	refused := &net.OpError{Op: "dial", Net: network, Addr: addr(address), Err: syscall.ECONNREFUSED}
	if l == nil {
		return nil, refused
	}
	near, far := pair(from, l.addr)
	if !l.deliver(far) {
		return nil, refused
	}
	return near, nil
}

type addr string

func (a addr) Network() string { return "tcp" }
func (a addr) String() string  { return string(a) }

type listener struct {
	host *host
	addr addr

	mu      sync.Mutex
	arrived sync.Cond
	queue   []net.Conn
	closed  bool
}

func (l *listener) deliver(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.queue = append(l.queue, c)
	l.arrived.Signal()
	return true
}

func (l *listener) Accept() (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.queue) == 0 && !l.closed {
		l.arrived.Wait()
	}
	if l.closed {
		return nil, net.ErrClosed
	}
	c := l.queue[0]
	l.queue = l.queue[1:]
	return c, nil
}

func (l *listener) Close() error {
	l.host.net.mu.Lock()
	delete(l.host.net.listeners, string(l.addr))
	l.host.net.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for _, c := range l.queue {
		c.Close()
	}
	l.queue = nil
	l.arrived.Broadcast()
	return nil
}

func (l *listener) Addr() net.Addr { return l.addr }
