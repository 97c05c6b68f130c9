package simnet

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// firstEphemeral is the first port assigned for port 0 (RFC 6335, section 6).
const firstEphemeral = 49152

// Link describes the transport of packets from one host to another.
type Link struct {
	Latency   time.Duration // one way
	Jitter    time.Duration // largest additional delay, uniformly distributed; packets can overtake each other
	Loss      float64       // share of packets that is lost, 0..1
	Duplicate float64       // share of packets that arrives twice
}

// Net is a network. Its methods may be called from any goroutine of its bubble.
type Net struct {
	mu     sync.Mutex
	rng    *rand.Rand
	common Link
	links  map[pair]Link
	cuts   map[pair]bool
	hosts  map[netip.Addr]*Host
	named  map[string]*Host // see Named
}

// pair is a direction between two hosts.
type pair struct{ from, to *Host }

// New returns a network without hosts. All links are common until [Net.SetLink] changes
// one.
func New(seed uint64, common Link) *Net {
	return &Net{
		rng:    rand.New(rand.NewPCG(seed, 0)),
		common: common,
		links:  make(map[pair]Link),
		cuts:   make(map[pair]bool),
		hosts:  make(map[netip.Addr]*Host),
	}
}

// Host adds a host with some addresses. It panics when an address is malformed or in
// use.
func (n *Net) Host(addresses ...string) *Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.host(addresses...)
}

// host is Host for a caller that holds mu.
func (n *Net) host(addresses ...string) *Host {
	h := &Host{net: n, packets: make(map[netip.AddrPort]*packetConn), listeners: make(map[netip.AddrPort]*listener), next: firstEphemeral}
	for _, s := range addresses {
		a := netip.MustParseAddr(s)
		if n.hosts[a] != nil {
			panic("simnet: two hosts have the address " + s)
		}
		n.hosts[a] = h
		h.addrs = append(h.addrs, a)
	}
	return h
}

// SetLink changes the link from one host to another, in this direction only.
func (n *Net) SetLink(from, to *Host, l Link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.links[pair{from, to}] = l
}

// Cut drops all packets from one host to another, in this direction only.
func (n *Net) Cut(from, to *Host) { n.setCut(from, to, true) }

// Heal ends a cut.
func (n *Net) Heal(from, to *Host) { n.setCut(from, to, false) }

// CutBoth cuts both directions.
func (n *Net) CutBoth(a, b *Host) { n.Cut(a, b); n.Cut(b, a) }

// HealBoth heals both directions.
func (n *Net) HealBoth(a, b *Host) { n.Heal(a, b); n.Heal(b, a) }

func (n *Net) setCut(from, to *Host, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cuts[pair{from, to}] = cut
}

// passage decides the delivery of one packet. It returns the delays of its copies, or
// none when the packet is lost. Callers hold n.mu.
func (n *Net) passage(from, to *Host) []time.Duration {
	if from == to {
		return []time.Duration{0}
	}
	if n.cuts[pair{from, to}] || from.gone || to.gone {
		return nil
	}
	l := n.link(from, to)
	if l.Loss > 0 && n.rng.Float64() < l.Loss {
		return nil
	}
	out := []time.Duration{n.delay(l)}
	if l.Duplicate > 0 && n.rng.Float64() < l.Duplicate {
		out = append(out, n.delay(l))
	}
	return out
}

func (n *Net) link(from, to *Host) Link {
	if l, ok := n.links[pair{from, to}]; ok {
		return l
	}
	return n.common
}

func (n *Net) delay(l Link) time.Duration {
	d := l.Latency
	if l.Jitter > 0 {
		d += time.Duration(n.rng.Int64N(int64(l.Jitter)))
	}
	return d
}

// Host is a machine with one process. It is a netx.Network.
type Host struct {
	net   *Net
	addrs []netip.Addr

	// Guarded by net.mu.
	gone      bool
	thaw      chan struct{} // nil when not frozen; closed by Thaw
	packets   map[netip.AddrPort]*packetConn
	listeners map[netip.AddrPort]*listener
	streams   []*stream
	next      uint16
}

// Addr returns the host's first address.
func (h *Host) Addr() netip.Addr { return h.addrs[0] }

// Freeze stops the process: its reads, writes and accepts block until Thaw. Packets
// that arrive are queued up to the buffer limits.
func (h *Host) Freeze() {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if h.thaw == nil {
		h.thaw = make(chan struct{})
	}
}

// Thaw lets a frozen process continue.
func (h *Host) Thaw() {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if h.thaw != nil {
		close(h.thaw)
		h.thaw = nil
	}
}

// running blocks while the host is frozen.
func (h *Host) running() {
	for {
		h.net.mu.Lock()
		thaw := h.thaw
		h.net.mu.Unlock()
		if thaw == nil {
			return
		}
		<-thaw
	}
}

// Kill ends the process. All its sockets are closed, and peers of its streams receive a
// reset. Its ports refuse connections until the process listens again.
func (h *Host) Kill() {
	h.net.mu.Lock()
	var conns []*packetConn
	for _, c := range h.packets {
		conns = append(conns, c)
	}
	var listeners []*listener
	for _, l := range h.listeners {
		listeners = append(listeners, l)
	}
	streams := h.streams
	h.streams = nil
	h.net.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
	for _, l := range listeners {
		l.Close()
	}
	for _, s := range streams {
		s.abort()
	}
	h.Thaw() // goroutines of a dead process must end
}

// Vanish removes the machine from the network. No packet reaches it and it sends none,
// not even a refusal.
func (h *Host) Vanish() {
	h.net.mu.Lock()
	h.gone = true
	h.net.mu.Unlock()
	h.Kill()
}

// Return adds a vanished machine again, without a process on it.
func (h *Host) Return() {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.gone = false
}

// bind resolves a listen address into the host's own addresses. Port 0 becomes a free
// port. Callers hold net.mu.
func (h *Host) bind(network, address string, taken func(netip.AddrPort) bool) ([]netip.AddrPort, error) {
	hostPart, portPart, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(portPart, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("port %q is not a number: %w", portPart, err)
	}
	addrs := h.addrs
	if h.net.named[hostPart] == h { // its own name
		hostPart = ""
	}
	if hostPart != "" {
		a, err := netip.ParseAddr(hostPart)
		if err != nil {
			return nil, err
		}
		if !a.IsUnspecified() {
			if h.net.hosts[a] != h {
				return nil, os.NewSyscallError("bind", syscall.EADDRNOTAVAIL)
			}
			addrs = []netip.Addr{a}
		}
	}
	family := network[len(network)-1]
	for tries := 0; ; tries++ {
		p := uint16(port)
		if p == 0 {
			p = h.next
			if h.next++; h.next < firstEphemeral {
				h.next = firstEphemeral
			}
		}
		var out []netip.AddrPort
		free := true
		for _, a := range addrs {
			if family == '4' && !a.Is4() || family == '6' && a.Is4() {
				continue
			}
			out = append(out, netip.AddrPortFrom(a, p))
			free = free && !taken(out[len(out)-1])
		}
		switch {
		case len(out) == 0:
			return nil, os.NewSyscallError("bind", syscall.EADDRNOTAVAIL)
		case free:
			return out, nil
		case port != 0 || tries > 1<<15:
			return nil, os.NewSyscallError("bind", syscall.EADDRINUSE)
		}
	}
}

// source returns the host's address for packets to another.
func (h *Host) source(to netip.Addr) (netip.Addr, error) {
	for _, a := range h.addrs {
		if a.Is4() == to.Is4() {
			return a, nil
		}
	}
	return netip.Addr{}, os.NewSyscallError("connect", syscall.ENETUNREACH)
}

func opError(op, network string, err error) error {
	return &net.OpError{Op: op, Net: network, Err: err}
}

// Listen opens a stream listener.
func (h *Host) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	h.running()
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	at, err := h.bind(network, address, func(a netip.AddrPort) bool { return h.listeners[a] != nil })
	if err != nil {
		return nil, opError("listen", network, err)
	}
	l := &listener{host: h, at: at, backlog: make(chan *stream, 128), closed: make(chan struct{})}
	for _, a := range at {
		h.listeners[a] = l
	}
	return l, nil
}

// ListenPacket opens a packet socket.
func (h *Host) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	h.running()
	c, err := h.listenPacket(network, address)
	if err != nil {
		return nil, opError("listen", network, err)
	}
	return c, nil
}

// DialContext opens a stream or a connected packet socket.
func (h *Host) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	h.running()
	to, err := h.net.resolve(address)
	if err != nil {
		return nil, opError("dial", network, err)
	}
	from, err := h.source(to.Addr())
	if err != nil {
		return nil, opError("dial", network, err)
	}
	switch network {
	case "tcp", "tcp4", "tcp6":
		s, err := h.dial(ctx, from, to)
		if err != nil {
			return nil, opError("dial", network, err)
		}
		return s, nil
	case "udp", "udp4", "udp6":
		c, err := h.listenPacket(network, netip.AddrPortFrom(from, 0).String())
		if err != nil {
			return nil, opError("dial", network, err)
		}
		c.peer = to
		return connectedPacket{c}, nil
	}
	return nil, opError("dial", network, errors.New("unknown network"))
}
