package netx

import (
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Sizes of struct in_pktinfo and struct in6_pktinfo (ip(7), ipv6(7)), in bytes.
const (
	pktinfoSize  = 12 // interface index, local address, destination of the header
	pktinfo6Size = 20 // destination, interface index
)

// controlSize is the size of one control message of either family, in bytes.
var controlSize = unix.CmsgSpace(pktinfo6Size)

// reportDestination makes the kernel report the destination of each packet of a
// socket. A socket for both families reports IPv4 destinations as mapped ones.
func reportDestination(c *net.UDPConn) (bool, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return false, err
	}
	var set error
	err = raw.Control(func(fd uintptr) { set = reportDestinationFD(int(fd)) })
	if err == nil {
		err = set
	}
	return err == nil, err
}

func reportDestinationFD(fd int) error {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return err
	}
	if domain == unix.AF_INET6 {
		return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
}

// replyControl changes the control messages of a packet, in place, into the message
// that selects the packet's destination as the source of the reply. It returns nil when
// there is none, and the kernel then chooses the source.
func replyControl(received []byte) []byte {
	rest := received
	for len(rest) > 0 {
		header, data, next, err := unix.ParseOneSocketControlMessage(rest)
		if err != nil {
			return nil
		}
		message := rest[:len(rest)-len(next)]
		switch {
		case header.Level == unix.IPPROTO_IP && header.Type == unix.IP_PKTINFO && len(data) >= pktinfoSize:
			return replyControl4(message, data)
		case header.Level == unix.IPPROTO_IPV6 && header.Type == unix.IPV6_PKTINFO && len(data) >= pktinfo6Size:
			return replyControl6(message, data)
		}
		rest = next
	}
	return nil
}

// replyControl4 clears the interface index, so that the reply uses the host's routes.
// The reply need not leave by the interface of the query.
func replyControl4(message, data []byte) []byte {
	clear(data[:4])
	local, destination := data[4:8], data[8:12]
	if [4]byte(local) == [4]byte{} { // the packet arrived before the option was set
		copy(local, destination)
	}
	if a := netip.AddrFrom4([4]byte(local)); !canBeSource(a) {
		return nil
	}
	return message
}

// replyControl6 keeps the interface index only for link-local addresses, which need
// one.
func replyControl6(message, data []byte) []byte {
	a := netip.AddrFrom16([16]byte(data[:16]))
	if !canBeSource(a.Unmap()) {
		return nil
	}
	if !a.IsLinkLocalUnicast() {
		clear(data[16:20])
	}
	return message
}

func canBeSource(a netip.Addr) bool {
	return !a.IsMulticast() && !a.IsUnspecified() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}
