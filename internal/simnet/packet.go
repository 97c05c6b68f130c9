package simnet

import (
	"context"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// queueLimit is how many packets wait in a socket before more are lost.
const queueLimit = 1024

// packetConn is a UDP socket, connected when peer is valid.
type packetConn struct {
	host  *Host
	local netip.AddrPort

	mu       sync.Mutex
	changed  sync.Cond
	peer     netip.AddrPort
	queue    []datagram
	closed   bool
	deadline time.Time
	timer    *time.Timer
}

type datagram struct {
	from netip.AddrPort
	data []byte
}

// ListenPacket opens a UDP socket.
func (h *Host) ListenPacket(_ context.Context, network, address string) (net.PacketConn, error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	local, err := h.bind(address, func(port uint16) bool { return h.packets[port] != nil })
	if err != nil {
		return nil, err
	}
	c := &packetConn{host: h, local: local}
	c.changed.L = &c.mu
	h.packets[local.Port()] = c
	return c, nil
}

func (c *packetConn) WriteTo(b []byte, to net.Addr) (int, error) {
	dst, err := netip.ParseAddrPort(to.String())
	if err != nil {
		return 0, err
	}
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	if closed {
		return 0, net.ErrClosed
	}
	host := c.host.net.at(dst.Addr())
	if host == nil {
		return len(b), nil // nobody there: as on the real one, nothing comes back
	}
	data := append([]byte(nil), b...)
	c.host.net.between(c.host, host, true, func() {
		host.net.mu.Lock()
		socket := host.packets[dst.Port()]
		host.net.mu.Unlock()
		if socket != nil {
			socket.deliver(datagram{c.local, data})
		}
	})
	return len(b), nil
}

func (c *packetConn) deliver(d datagram) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || len(c.queue) >= queueLimit || c.peer.IsValid() && c.peer != d.from {
		return
	}
	c.queue = append(c.queue, d)
	c.changed.Broadcast()
}

func (c *packetConn) ReadFrom(b []byte) (int, net.Addr, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, nil, net.ErrClosed
		case len(c.queue) > 0:
			d := c.queue[0]
			c.queue = c.queue[1:]
			return copy(b, d.data), net.UDPAddrFromAddrPort(d.from), nil
		case !c.deadline.IsZero() && !time.Now().Before(c.deadline):
			return 0, nil, os.ErrDeadlineExceeded
		}
		c.changed.Wait()
	}
}

func (c *packetConn) Read(b []byte) (int, error) {
	n, _, err := c.ReadFrom(b)
	return n, err
}

func (c *packetConn) Write(b []byte) (int, error) {
	return c.WriteTo(b, net.UDPAddrFromAddrPort(c.peer))
}

func (c *packetConn) Close() error {
	c.mu.Lock()
	already := c.closed
	c.closed = true
	if c.timer != nil {
		c.timer.Stop()
	}
	c.changed.Broadcast()
	c.mu.Unlock()
	if already {
		return net.ErrClosed
	}
	c.host.net.mu.Lock()
	defer c.host.net.mu.Unlock()
	delete(c.host.packets, c.local.Port())
	return nil
}

func (c *packetConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	c.deadline = t
	if !t.IsZero() {
		c.timer = time.AfterFunc(time.Until(t), func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.changed.Broadcast()
		})
	}
	c.changed.Broadcast()
	return nil
}

func (c *packetConn) SetDeadline(t time.Time) error    { return c.SetReadDeadline(t) }
func (c *packetConn) SetWriteDeadline(time.Time) error { return nil }
func (c *packetConn) LocalAddr() net.Addr              { return net.UDPAddrFromAddrPort(c.local) }
func (c *packetConn) RemoteAddr() net.Addr             { return net.UDPAddrFromAddrPort(c.peer) }
