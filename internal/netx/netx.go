// Package netx is the interface between packages and a network. The network is the
// operating system's, the lab's Internet, or the simulated one in virtual time.
//
// Every package that listens or dials receives a [Network] and uses nothing else, so
// that the same Node runs in all three. Some features exist only on real sockets
// (batched reads, TCP_INFO, descriptor passing, the destination of a packet). Callers
// must check for them with a type assertion on the connection. Networks are safe for
// concurrent use. Start with [Network] and [OS].
package netx

import (
	"context"
	"fmt"
	"net"
	"strconv"
)

// Network opens listeners and connections for one host. Its methods have the contracts
// of [net.ListenConfig] and [net.Dialer]. network is "tcp", "tcp4", "tcp6", "udp",
// "udp4" or "udp6". address is "host:port" with an IP literal as host (empty: all
// addresses of the host) and a numeric port (0: any free one). Names are resolved only
// if the implementation documents it.
type Network interface {
	Listen(ctx context.Context, network, address string) (net.Listener, error)
	ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error)
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// OS is the operating system's network. Its DialContext resolves names with the
// system's resolver.
type OS struct {
	Dialer net.Dialer
	Config net.ListenConfig
}

// Listen opens a stream listener of the operating system.
func (o *OS) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	return o.Config.Listen(ctx, network, address)
}

// ListenPacket opens a packet socket of the operating system.
func (o *OS) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	return o.Config.ListenPacket(ctx, network, address)
}

// DialContext connects through the operating system.
func (o *OS) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return o.Dialer.DialContext(ctx, network, address)
}

// SplitPort splits "host:port" with a numeric port.
func SplitPort(address string) (host string, port uint16, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("port %q is not a number below 65536", text)
	}
	return host, uint16(n), nil
}
