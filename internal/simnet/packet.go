package simnet

import (
	"bytes"
	"net"
	"net/netip"
	"os"
	"time"
)

// maxQueued is how many packets a socket holds for its reader. It drops any others,
// like a kernel's receive buffer.
const maxQueued = 1024

type packet struct {
	from netip.AddrPort
	data []byte
}

// packetConn is a packet socket.
type packetConn struct {
	host *Host
	at   []netip.AddrPort
	peer netip.AddrPort // set when connected

	// Guarded by host.net.mu.
	queue  []packet
	closed bool
	more   signal

	read, write *deadline
}

func (h *Host) listenPacket(network, address string) (*packetConn, error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	at, err := h.bind(network, address, func(a netip.AddrPort) bool { return h.packets[a] != nil })
	if err != nil {
		return nil, err
	}
	c := &packetConn{host: h, at: at, read: newDeadline(), write: newDeadline()}
	for _, a := range at {
		h.packets[a] = c
	}
	return c, nil
}

func (c *packetConn) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		c.host.running()
		c.host.net.mu.Lock()
		switch {
		case c.closed:
			c.host.net.mu.Unlock()
			return 0, nil, opError("read", "udp", net.ErrClosed)
		case c.host.thaw != nil: // frozen after running returned
			c.host.net.mu.Unlock()
			continue
		case len(c.queue) > 0:
			k := c.queue[0]
			c.queue = c.queue[1:]
			c.host.net.mu.Unlock()
			return copy(p, k.data), net.UDPAddrFromAddrPort(k.from), nil
		}
		more := c.more.wait()
		c.host.net.mu.Unlock()
		select {
		case <-more:
		case <-c.read.done():
			return 0, nil, opError("read", "udp", os.ErrDeadlineExceeded)
		}
	}
}

func (c *packetConn) WriteTo(p []byte, addr net.Addr) (int, error) {
	to, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return 0, opError("write", "udp", err)
	}
	return c.send(p, to)
}

func (c *packetConn) send(p []byte, to netip.AddrPort) (int, error) {
	c.host.running()
	select {
	case <-c.write.done():
		return 0, opError("write", "udp", os.ErrDeadlineExceeded)
	default:
	}
	n := c.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if c.closed {
		return 0, opError("write", "udp", net.ErrClosed)
	}
	var from netip.AddrPort
	for _, a := range c.at {
		if a.Addr().Is4() == to.Addr().Is4() && !from.IsValid() {
			from = a
		}
	}
	if target := n.hosts[to.Addr()]; target != nil && from.IsValid() {
		for _, d := range n.passage(c.host, target) {
			k := packet{from, bytes.Clone(p)}
			time.AfterFunc(d, func() { target.deliver(to, k) })
		}
	}
	return len(p), nil
}

// deliver queues a packet for the socket at an address of the host, if there is one.
func (h *Host) deliver(to netip.AddrPort, k packet) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	c := h.packets[to]
	if c == nil || h.gone || len(c.queue) >= maxQueued || c.peer.IsValid() && c.peer != k.from {
		return
	}
	c.queue = append(c.queue, k)
	c.more.change()
}

func (c *packetConn) Close() error {
	c.host.net.mu.Lock()
	defer c.host.net.mu.Unlock()
	if c.closed {
		return opError("close", "udp", net.ErrClosed)
	}
	c.closed = true
	for _, a := range c.at {
		delete(c.host.packets, a)
	}
	c.more.change()
	return nil
}

func (c *packetConn) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(c.at[0]) }

func (c *packetConn) SetDeadline(t time.Time) error {
	c.read.set(t)
	c.write.set(t)
	return nil
}
func (c *packetConn) SetReadDeadline(t time.Time) error  { c.read.set(t); return nil }
func (c *packetConn) SetWriteDeadline(t time.Time) error { c.write.set(t); return nil }

// connectedPacket is a packet socket with one peer, as a net.Conn.
type connectedPacket struct{ *packetConn }

func (c connectedPacket) Read(p []byte) (int, error) {
	n, _, err := c.ReadFrom(p)
	return n, err
}
func (c connectedPacket) Write(p []byte) (int, error) { return c.send(p, c.peer) }
func (c connectedPacket) RemoteAddr() net.Addr        { return net.UDPAddrFromAddrPort(c.peer) }
