package netx

import (
	"net"
	"net/netip"
)

// Responder reads packets from a socket and replies to each from its destination
// address. A resolver drops a reply from another address (RFC 2181, section 4.1). When
// a socket listens on all addresses of a host, the kernel chooses the source address by
// its routes.
//
// Several Responders may share a socket. Each Responder is for one goroutine.
type Responder struct {
	socket net.PacketConn
	udp    udpSocket // nil when the network has no such socket
	from   netip.AddrPort
	addr   net.Addr // replaces from when udp is nil

	wildcard *net.UDPConn // nil when the socket has one address, or cannot report destinations
	control  []byte       // buffer for control messages
	reply    []byte       // the control message that selects the source of the reply
}

// udpSocket is the part of the operating system's UDP sockets beyond [net.PacketConn]:
// reading and writing without allocation.
type udpSocket interface {
	ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error)
	WriteToUDPAddrPort(b []byte, addr netip.AddrPort) (int, error)
}

// NewResponder returns a Responder for a packet socket of any network. The
// sockets of the lab and of simulated networks reply from their own address.
func NewResponder(p net.PacketConn) (*Responder, error) {
	r := &Responder{socket: p}
	r.udp, _ = p.(udpSocket)
	if c, ok := p.(*net.UDPConn); ok && isWildcard(c) {
		reports, err := reportDestination(c)
		if err != nil {
			return nil, err
		}
		if reports {
			r.wildcard, r.control = c, make([]byte, controlSize)
		}
	}
	return r, nil
}

func isWildcard(c *net.UDPConn) bool {
	a, ok := c.LocalAddr().(*net.UDPAddr)
	return ok && a.IP.IsUnspecified()
}

// Read reads the next packet into b and returns its length and its source. It
// allocates nothing on sockets of the operating system.
func (r *Responder) Read(b []byte) (n int, from netip.Addr, err error) {
	switch {
	case r.wildcard != nil:
		var controlLen int
		n, controlLen, _, r.from, err = r.wildcard.ReadMsgUDPAddrPort(b, r.control)
		r.reply = replyControl(r.control[:controlLen])
	case r.udp != nil:
		n, r.from, err = r.udp.ReadFromUDPAddrPort(b)
	default:
		n, r.addr, err = r.socket.ReadFrom(b)
		if err == nil {
			from = addrOf(r.addr)
		}
		return n, from, err
	}
	return n, r.from.Addr().Unmap(), err
}

// Reply sends b to the source of the packet from the last Read.
func (r *Responder) Reply(b []byte) error {
	var err error
	switch {
	case r.wildcard != nil:
		_, _, err = r.wildcard.WriteMsgUDPAddrPort(b, r.reply, r.from)
	case r.udp != nil:
		_, err = r.udp.WriteToUDPAddrPort(b, r.from)
	default:
		_, err = r.socket.WriteTo(b, r.addr)
	}
	return err
}

func addrOf(a net.Addr) netip.Addr {
	if u, ok := a.(*net.UDPAddr); ok {
		return u.AddrPort().Addr().Unmap()
	}
	ap, _ := netip.ParseAddrPort(a.String())
	return ap.Addr().Unmap()
}
