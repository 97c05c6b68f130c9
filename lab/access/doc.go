// Package access is what stands between people and the Internet: the caching
// resolver of their provider, the stub resolver and the connections of their own
// machine, and a SOCKS door through which other programs can be in their place.
//
// All of it runs on a [Station]: a host of the lab, or a container on the
// operating system's network.
package access

import (
	"net/netip"

	"perto/internal/netx"
)

// Station is the machine that a resolver or a client runs on.
type Station struct {
	netx.Network
	Name  string
	Addrs []netip.Addr // its own; what has no IPv6 asks for none
	// NameOf returns the name of the host with an address, "" when it is not
	// known. For people; may be nil.
	NameOf func(netip.Addr) string
}

// Has reports whether the station has an address of a family: 4 or 6.
func (s *Station) Has(family int) bool {
	for _, a := range s.Addrs {
		if a.Is4() == (family == 4) {
			return true
		}
	}
	return false
}

func (s *Station) nameOf(a netip.Addr) string {
	if s.NameOf == nil {
		return ""
	}
	return s.NameOf(a)
}
