package simnet

import (
	"fmt"
	"net"
	"net/netip"
)

// Named returns the host of a name. It makes the host at the first call, with an address
// of 198.18.0.0/15 (RFC 2544). Hosts dial each other by these names too: "origin:80".
func (n *Net) Named(name string) *Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	if h := n.named[name]; h != nil {
		return h
	}
	if n.named == nil {
		n.named = make(map[string]*Host)
	}
	number := len(n.named) + 1
	h := n.host(fmt.Sprintf("198.18.%d.%d", number>>8, number&0xff))
	n.named[name] = h
	return h
}

// resolve returns the address that a dialled "host:port" means. A host that is neither an
// address nor a name is an error.
func (n *Net) resolve(address string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return netip.AddrPort{}, err
	}
	n.mu.Lock()
	if h := n.named[host]; h != nil {
		host = h.addrs[0].String()
	}
	n.mu.Unlock()
	return netip.ParseAddrPort(net.JoinHostPort(host, port))
}
