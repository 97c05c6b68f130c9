package lab

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// The wrappers of this file make gVisor's connections fail like those of the operating
// system. Callers test for ECONNREFUSED and ECONNRESET, but the errors of gVisor have
// only a text.

// errnoOf maps gVisor's messages (pkg/tcpip/errors.go) to errors of the system.
var errnoOf = []struct {
	message string
	errno   syscall.Errno
}{
	{"connection was refused", syscall.ECONNREFUSED},
	{"connection reset by peer", syscall.ECONNRESET},
	{"connection aborted", syscall.ECONNABORTED},
	{"port is in use", syscall.EADDRINUSE},
	{"no route to host", syscall.EHOSTUNREACH},
	{"host is unreachable", syscall.EHOSTUNREACH},
	{"network is unreachable", syscall.ENETUNREACH},
	{"operation timed out", syscall.ETIMEDOUT},
	{"endpoint is closed for send", syscall.EPIPE},
}

func asSyscall(err error) error {
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Err == nil {
		return err
	}
	for _, e := range errnoOf {
		if strings.Contains(op.Err.Error(), e.message) {
			mapped := *op
			mapped.Err = e.errno
			return &mapped
		}
	}
	return err
}

// streamConn is a TCP connection.
type streamConn struct {
	*gonet.TCPConn
	gate *pauseGate
}

func (c *streamConn) Read(b []byte) (int, error) {
	n, err := c.TCPConn.Read(b)
	c.gate.wait()
	if err != nil {
		err = asSyscall(err)
	}
	return n, err
}

func (c *streamConn) Write(b []byte) (int, error) {
	c.gate.wait()
	n, err := c.TCPConn.Write(b)
	if err != nil {
		err = asSyscall(err)
	}
	return n, err
}

func (c *streamConn) LocalAddr() net.Addr  { return unmapTCP(c.TCPConn.LocalAddr()) }
func (c *streamConn) RemoteAddr() net.Addr { return unmapTCP(c.TCPConn.RemoteAddr()) }

// listener accepts streamConns.
type listener struct {
	*gonet.TCPListener
	gate *pauseGate
}

func (l listener) Accept() (net.Conn, error) {
	c, err := l.TCPListener.Accept()
	l.gate.wait()
	if err != nil {
		if op, ok := errors.AsType[*net.OpError](err); ok && strings.Contains(op.Err.Error(), "invalid") {
			err = net.ErrClosed // gVisor returns this text for a closed listener
		}
		return nil, err
	}
	return &streamConn{c.(*gonet.TCPConn), l.gate}, nil
}

// Addr returns the address of the listener. It is "[::]" for all addresses.
func (l listener) Addr() net.Addr {
	a := l.TCPListener.Addr()
	if t, ok := a.(*net.TCPAddr); ok && len(t.IP) == 0 {
		return &net.TCPAddr{IP: net.IPv6unspecified, Port: t.Port}
	}
	return unmapTCP(a)
}

// packetConn is a UDP socket that is not connected.
type packetConn struct {
	*gonet.UDPConn
	gate *pauseGate
}

func (c packetConn) WriteTo(b []byte, to net.Addr) (int, error) {
	c.gate.wait()
	return c.UDPConn.WriteTo(b, to)
}

func (c packetConn) Write(b []byte) (int, error) {
	c.gate.wait()
	return c.UDPConn.Write(b)
}

func (c packetConn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, addr, err := c.UDPConn.ReadFrom(b)
	c.gate.wait()
	if errors.Is(err, io.EOF) { // gVisor returns it for a closed socket
		err = net.ErrClosed
	}
	if err != nil {
		return n, addr, asSyscall(err)
	}
	return n, unmapUDP(addr), nil
}

func (c packetConn) LocalAddr() net.Addr { return unmapUDP(c.UDPConn.LocalAddr()) }

// udpConn is a connected UDP socket. A "port unreachable" message from its peer makes
// reads fail with ECONNREFUSED, like on sockets of the operating system.
type udpConn struct {
	packetConn
	refused atomic.Bool
}

// newUDPConn opens a connected socket. gVisor signals errors of a socket on its event
// queue. gonet does not read this queue, so this function registers for it and wakes
// the reader.
func newUDPConn(s *stack.Stack, gate *pauseGate, to tcpip.FullAddress, protocol tcpip.NetworkProtocolNumber) (*udpConn, error) {
	queue := new(waiter.Queue)
	ep, err := s.NewEndpoint(udp.ProtocolNumber, protocol, queue)
	if err != nil {
		return nil, errors.New(err.String())
	}
	if err := ep.Connect(to); err != nil {
		ep.Close()
		return nil, &net.OpError{Op: "connect", Net: "udp", Err: errors.New(err.String())}
	}
	c := &udpConn{packetConn: packetConn{gonet.NewUDPConn(queue, ep), gate}}
	entry := waiter.NewFunctionEntry(waiter.EventErr, func(waiter.EventMask) {
		c.refused.Store(true)
		c.SetReadDeadline(time.Unix(1, 0))
	})
	queue.EventRegister(&entry)
	return c, nil
}

func (c *udpConn) Read(b []byte) (int, error) {
	n, err := c.UDPConn.Read(b)
	c.gate.wait()
	if err == nil {
		return n, nil
	}
	if c.refused.Swap(false) {
		c.SetReadDeadline(time.Time{})
		return n, &net.OpError{Op: "read", Net: "udp", Addr: c.RemoteAddr(), Err: syscall.ECONNREFUSED}
	}
	return n, asSyscall(err)
}

// unmapUDP turns a mapped IPv6 address into the IPv4 address. A dual-stack socket
// returns IPv4 peers in mapped form, which logs and maps do not use.
func unmapUDP(a net.Addr) net.Addr {
	if u, ok := a.(*net.UDPAddr); ok {
		if len(u.IP) == 0 { // bound to every address
			return &net.UDPAddr{IP: net.IPv6unspecified, Port: u.Port}
		}
		return net.UDPAddrFromAddrPort(unmap(u.AddrPort()))
	}
	return a
}

func unmapTCP(a net.Addr) net.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		return net.TCPAddrFromAddrPort(unmap(t.AddrPort()))
	}
	return a
}

func unmap(ap netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
