// Package simnet is a network in virtual time: hosts with addresses that
// exchange packets and streams with latency and loss inside a testing/synctest
// bubble, where an hour passes in milliseconds. Faults are one call each: a cut
// (also of one direction), a frozen host, a killed one.
//
// It is for tests of leases, faults and clocks. Streams carry bytes and know
// refusal, reset and silence; windows, congestion and retransmission are the
// lab's. Everything random comes from the seed.
package simnet

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"time"

	"perto/internal/netx"
)

// Net is a set of hosts. Its methods may be called from any goroutine of the
// bubble.
type Net struct {
	// Latency is the time from one host to another; Jitter is added evenly from
	// zero up. Loss is the share of packets (not of stream bytes) that get lost.
	// Set them before the first packet.
	Latency, Jitter time.Duration
	Loss            float64

	mu    sync.Mutex
	rng   *rand.Rand
	hosts map[netip.Addr]*Host
	cuts  map[[2]*Host]bool
}

// New returns a network without hosts.
func New(seed uint64) *Net {
	return &Net{rng: rand.New(rand.NewPCG(seed, 0)), hosts: make(map[netip.Addr]*Host), cuts: make(map[[2]*Host]bool)}
}

// Host is one machine: a netx.Network.
type Host struct {
	Name  string
	Addrs []netip.Addr

	net       *Net
	port      uint16
	packets   map[uint16]*packetConn
	listeners map[uint16]*listener
	streams   map[*stream]bool
	frozen    bool
	queue     []func() // what waits for the thaw
}

var _ netx.Network = (*Host)(nil)

// AddHost puts a host at addresses that nobody has yet.
func (n *Net) AddHost(name string, addrs ...netip.Addr) *Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := &Host{Name: name, Addrs: addrs, net: n, port: 40000, packets: make(map[uint16]*packetConn), listeners: make(map[uint16]*listener), streams: make(map[*stream]bool)}
	for _, a := range addrs {
		if n.hosts[a] != nil {
			panic("simnet: two hosts at " + a.String())
		}
		n.hosts[a] = h
	}
	return h
}

// Cut loses everything from one host to another; the way back stays.
func (n *Net) Cut(from, to *Host) { n.setCut(from, to, true) }

// Heal undoes Cut.
func (n *Net) Heal(from, to *Host) { n.setCut(from, to, false) }

func (n *Net) setCut(from, to *Host, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cuts[[2]*Host{from, to}] = cut
}

// Isolate cuts a host off from all others, both ways; Rejoin undoes it.
func (n *Net) Isolate(h *Host) { n.setIsolated(h, true) }

// Rejoin undoes Isolate.
func (n *Net) Rejoin(h *Host) { n.setIsolated(h, false) }

func (n *Net) setIsolated(h *Host, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, other := range n.hosts {
		if other != h {
			n.cuts[[2]*Host{h, other}], n.cuts[[2]*Host{other, h}] = cut, cut
		}
	}
}

// Freeze stops a host as seen from the network: what it sends and gets waits.
func (h *Host) Freeze() {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.frozen = true
}

// Thaw ends Freeze; what waited goes on in order.
func (h *Host) Thaw() {
	h.net.mu.Lock()
	h.frozen = false
	queue := h.queue
	h.queue = nil
	h.net.mu.Unlock()
	for _, f := range queue {
		f()
	}
}

// Kill closes every socket of a host as the kernel does when a process dies:
// streams are reset, later ones refused.
func (h *Host) Kill() {
	h.net.mu.Lock()
	var close []func()
	for _, p := range h.packets {
		close = append(close, func() { p.Close() })
	}
	for _, l := range h.listeners {
		close = append(close, func() { l.Close() })
	}
	for s := range h.streams {
		close = append(close, s.reset)
	}
	h.net.mu.Unlock()
	for _, f := range close {
		f()
	}
}

// between runs f at the far end after the latency, unless the way is cut or the
// packet lost; frozen ends hold it.
func (n *Net) between(from, to *Host, lossy bool, f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.leave(from, to, lossy, f)
}

func (n *Net) leave(from, to *Host, lossy bool, f func()) {
	if from.frozen {
		from.queue = append(from.queue, func() { n.between(from, to, lossy, f) })
		return
	}
	if n.cuts[[2]*Host{from, to}] || lossy && n.Loss > 0 && n.rng.Float64() < n.Loss {
		return
	}
	delay := n.Latency
	if n.Jitter > 0 {
		delay += time.Duration(n.rng.Int64N(int64(n.Jitter)))
	}
	time.AfterFunc(delay, func() { n.arrive(from, to, f) })
}

func (n *Net) arrive(from, to *Host, f func()) {
	n.mu.Lock()
	switch {
	case n.cuts[[2]*Host{from, to}]:
		n.mu.Unlock()
		return
	case to.frozen:
		to.queue = append(to.queue, func() { n.arrive(from, to, f) })
		n.mu.Unlock()
		return
	}
	n.mu.Unlock()
	f()
}

func (n *Net) at(a netip.Addr) *Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.hosts[a.Unmap()]
}

// bind reads an address to listen on and takes the port: a free one for 0.
func (h *Host) bind(address string, taken func(uint16) bool) (netip.AddrPort, error) {
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return netip.AddrPort{}, err
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return netip.AddrPort{}, err
	}
	addr := h.Addrs[0]
	if host != "" {
		if addr, err = netip.ParseAddr(host); err != nil {
			return netip.AddrPort{}, err
		}
	}
	if port == 0 {
		h.port++
		port = uint64(h.port)
	}
	if taken(uint16(port)) {
		return netip.AddrPort{}, &net.OpError{Op: "listen", Err: syscall.EADDRINUSE}
	}
	return netip.AddrPortFrom(addr, uint16(port)), nil
}

// DialContext connects to "IP:port".
func (h *Host) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: fmt.Errorf("%q is no IP and port", address)}
	}
	if network[:3] == "udp" {
		p, err := h.ListenPacket(ctx, network, ":0")
		if err != nil {
			return nil, err
		}
		c := p.(*packetConn)
		c.mu.Lock()
		c.peer = to
		c.mu.Unlock()
		return c, nil
	}
	return h.dialStream(ctx, to)
}
