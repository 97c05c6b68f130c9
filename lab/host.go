package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"perto/internal/delayqueue"
	"perto/internal/netx"
	"perto/lab/access"
)

// HostConfig describes a host to [Internet.AddHost].
type HostConfig struct {
	Name    string
	Kind    string       // for display: "edge", "dns", "resolver", "vantage"...
	Addrs   []netip.Addr // its own addresses
	Anycast []netip.Addr // addresses that it shares with other hosts
	Network netip.Prefix // an IPv6 /64 of which every address reaches the host; invalid: none
	End     End
	// UpBits and DownBits are the rates of its access line, in bits per second. 0 means
	// no limit.
	UpBits, DownBits uint64
}

// Host is one machine of the lab, with its own IP stack. It is a [netx.Network]. Names
// that it dials are looked up in the Internet's list.
type Host struct {
	HostConfig
	net   *Internet
	link  *link
	stack *stack.Stack

	dials          atomic.Uint64
	sent, received atomic.Uint64 // bytes of IP packets, without lost ones
	gate           pauseGate     // of its process
	forwarder      atomic.Pointer[forwarder]

	// Guarded by net.mu.
	up, down delayqueue.Line
	cut      bool
	frozen   bool
	held     []heldPacket // packets to send, while frozen
	arrived  []packet     // received packets, while frozen
}

type heldPacket struct {
	data []byte
	v6   bool
}

var _ netx.Network = (*Host)(nil)

const nic tcpip.NICID = 1

// tcpBufferMax is large enough for one connection to fill a long path: 4 MiB is 100
// Mbit/s over 320 ms.
const tcpBufferMax = 4 << 20

// Traffic returns the number of bytes of IP packets that the host sent and received.
func (h *Host) Traffic() (sent, received uint64) { return h.sent.Load(), h.received.Load() }

// AddHost adds a host to the Internet.
func (n *Internet) AddHost(cfg HostConfig) (*Host, error) {
	h := &Host{HostConfig: cfg, net: n}
	h.up.BitsPerSecond, h.down.BitsPerSecond = cfg.UpBits, cfg.DownBits
	h.link = &link{host: h}
	h.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6},
		// With HandleLocal, a stack that accepts every address takes all packets for its own.
		HandleLocal: !cfg.Network.IsValid(),
	})
	if err := h.configure(); err != nil {
		h.stack.Destroy()
		return nil, fmt.Errorf("lab: host %s: %w", cfg.Name, err)
	}
	if err := n.attach(h); err != nil {
		h.stack.Destroy()
		return nil, err
	}
	return h, nil
}

// Station returns the host in the form that resolvers and clients use.
func (h *Host) Station() *access.Station {
	return &access.Station{Network: h, Name: h.Name, Addrs: h.Addrs, NameOf: func(a netip.Addr) string {
		if to := h.net.HostAt(a, h); to != nil {
			return to.Name
		}
		return ""
	}}
}

func (h *Host) configure() error {
	if err := h.stack.CreateNIC(nic, h.link); err != nil {
		return errors.New(err.String())
	}
	for _, a := range slices.Concat(h.Addrs, h.Anycast) {
		addr := tcpip.ProtocolAddress{Protocol: protocolOf(a), AddressWithPrefix: tcpip.AddrFromSlice(a.AsSlice()).WithPrefix()}
		properties := stack.AddressProperties{PEB: stack.CanBePrimaryEndpoint}
		if slices.Contains(h.Anycast, a) {
			properties.PEB = stack.NeverPrimaryEndpoint // its own queries have its own address as source
		}
		if err := h.stack.AddProtocolAddress(nic, addr, properties); err != nil {
			return fmt.Errorf("address %s: %s", a, err)
		}
	}
	h.stack.SetTransportProtocolHandler(tcp.ProtocolNumber, h.handleTCP)
	if h.Network.IsValid() { // like an AnyIP route of Linux
		if err := h.stack.SetPromiscuousMode(nic, true); err != nil {
			return errors.New(err.String())
		}
		if err := h.stack.SetSpoofing(nic, true); err != nil {
			return errors.New(err.String())
		}
	}
	h.stack.SetRouteTable([]tcpip.Route{
		{Destination: header.IPv4EmptySubnet, NIC: nic},
		{Destination: header.IPv6EmptySubnet, NIC: nic},
	})
	sack, moderate, cubic := tcpip.TCPSACKEnabled(true), tcpip.TCPModerateReceiveBufferOption(true), tcpip.CongestionControlOption("cubic")
	receive := tcpip.TCPReceiveBufferSizeRangeOption{Min: 4 << 10, Default: 256 << 10, Max: tcpBufferMax}
	send := tcpip.TCPSendBufferSizeRangeOption{Min: 4 << 10, Default: 1 << 20, Max: tcpBufferMax}
	for _, option := range []tcpip.SettableTransportProtocolOption{&sack, &moderate, &cubic, &receive, &send} {
		if err := h.stack.SetTransportProtocolOption(tcp.ProtocolNumber, option); err != nil {
			return errors.New(err.String())
		}
	}
	return nil
}

func (h *Host) close() {
	h.link.dispatcher.Store(nil)
	h.stack.Destroy()
}

// Addr returns the host's first address of a family (4 or 6), or the zero Addr.
func (h *Host) Addr(family int) netip.Addr {
	for _, a := range h.Addrs {
		if a.Is4() == (family == 4) {
			return a
		}
	}
	return netip.Addr{}
}

// Listen opens a TCP listener on the host.
func (h *Host) Listen(_ context.Context, network, address string) (net.Listener, error) {
	full, protocol, err := h.bindAddress(network, address)
	if err != nil {
		return nil, err
	}
	l, err := gonet.ListenTCP(h.stack, full, protocol)
	if err != nil {
		return nil, asSyscall(err)
	}
	return listener{l, &h.gate}, nil
}

// ListenPacket opens a UDP socket on the host.
func (h *Host) ListenPacket(_ context.Context, network, address string) (net.PacketConn, error) {
	full, protocol, err := h.bindAddress(network, address)
	if err != nil {
		return nil, err
	}
	c, err := gonet.DialUDP(h.stack, &full, nil, protocol)
	if err != nil {
		return nil, asSyscall(err)
	}
	return packetConn{c, &h.gate}, nil
}

// bindAddress reads an address to listen on. An empty host means every address
// of both families.
func (h *Host) bindAddress(network, address string) (tcpip.FullAddress, tcpip.NetworkProtocolNumber, error) {
	fail := func(err error) (tcpip.FullAddress, tcpip.NetworkProtocolNumber, error) {
		return tcpip.FullAddress{}, 0, &net.OpError{Op: "listen", Net: network, Err: err}
	}
	host, port, err := netx.SplitPort(address)
	if err != nil {
		return fail(err)
	}
	if host == "" {
		protocol := header.IPv6ProtocolNumber
		if strings.HasSuffix(network, "4") || !h.Addr(6).IsValid() {
			protocol = header.IPv4ProtocolNumber
		}
		return tcpip.FullAddress{NIC: nic, Port: port}, protocol, nil
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return fail(err)
	}
	if addr.IsUnspecified() {
		return tcpip.FullAddress{NIC: nic, Port: port}, protocolOf(addr), nil
	}
	if !slices.Contains(h.Addrs, addr) && !slices.Contains(h.Anycast, addr) {
		return fail(fmt.Errorf("%s is no address of %s: %w", addr, h.Name, syscall.EADDRNOTAVAIL))
	}
	return tcpip.FullAddress{NIC: nic, Addr: tcpip.AddrFromSlice(addr.AsSlice()), Port: port}, protocolOf(addr), nil
}

// DialContext connects from the host. It looks up a name in the Internet's list and
// tries the addresses in order.
func (h *Host) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := netx.SplitPort(address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	addrs := h.net.lookupName(host)
	if addr, err := netip.ParseAddr(host); err == nil {
		addrs = []netip.Addr{addr.Unmap()}
	}
	if len(addrs) == 0 {
		return nil, &net.OpError{Op: "dial", Net: network, Err: &net.DNSError{Err: "no such host in the lab", Name: host, IsNotFound: true}}
	}
	h.dials.Add(1)
	h.gate.wait()
	var errs []error
	for _, a := range addrs {
		c, err := h.dial(ctx, network, netip.AddrPortFrom(a, port))
		if err == nil {
			return c, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func (h *Host) dial(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
	if !h.Addr(map[bool]int{true: 4, false: 6}[to.Addr().Is4()]).IsValid() {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: net.TCPAddrFromAddrPort(to), Err: syscall.EAFNOSUPPORT}
	}
	if to.Addr().IsLoopback() { // no host of the lab has one; a packet would be lost and the caller would wait
		return nil, &net.OpError{Op: "dial", Net: network, Addr: net.TCPAddrFromAddrPort(to), Err: syscall.ECONNREFUSED}
	}
	full := tcpip.FullAddress{NIC: nic, Addr: tcpip.AddrFromSlice(to.Addr().AsSlice()), Port: to.Port()}
	if strings.HasPrefix(network, "udp") {
		c, err := newUDPConn(h.stack, &h.gate, full, protocolOf(to.Addr()))
		if err != nil {
			return nil, asSyscall(err)
		}
		return c, nil
	}
	c, err := gonet.DialContextTCP(ctx, h.stack, full, protocolOf(to.Addr()))
	if err != nil {
		return nil, asSyscall(err)
	}
	return &streamConn{c, &h.gate}, nil
}
