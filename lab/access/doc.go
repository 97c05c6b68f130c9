// Package access has the clients' side of the lab. [Resolver] is the caching resolver
// of a provider. [Client] is a client machine with its stub resolver and its
// connections. [SOCKS] lets other programs connect from the place of a client.
//
// Each of them runs on a [Station]: a host of package lab, or a container on the
// network of the operating system. Their methods may be called from any goroutine.
package access

import (
	"net/netip"

	"perto/internal/netx"
)

// Station is the machine that a resolver or a client runs on.
type Station struct {
	netx.Network
	Name  string
	Addrs []netip.Addr // its own addresses; without an IPv6 address it uses no IPv6
	// NameOf returns the name of the host with an address, for display. It returns ""
	// when the name is not known. It may be nil.
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
