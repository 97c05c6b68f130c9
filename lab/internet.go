package lab

import (
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"perto/internal/delayqueue"
)

// Internet carries packets between hosts. One goroutine holds every packet for the
// delay of its path and then delivers it. Delays come from the model [Paths]. The
// methods may be called from any goroutine.
type Internet struct {
	paths *Paths

	mu    sync.Mutex
	hosts []*Host
	at    map[netip.Addr][]*Host // an anycast address has several hosts
	names map[string][]netip.Addr
	// networks are those of which every address reaches one host: /64.
	networks map[netip.Prefix]*Host

	inFlight *delayqueue.Queue[packet]
	done     chan struct{}

	packets atomic.Uint64
	lost    atomic.Uint64
}

// NewInternet returns an empty Internet with the delays of paths. The caller must close
// it.
func NewInternet(paths *Paths) *Internet {
	n := &Internet{
		paths:    paths,
		at:       make(map[netip.Addr][]*Host),
		networks: make(map[netip.Prefix]*Host),
		names:    make(map[string][]netip.Addr),
		inFlight: delayqueue.New[packet](),
		done:     make(chan struct{}),
	}
	go n.inFlight.Run(n.done, n.handOver)
	return n
}

// Close takes all hosts off the network and ends delivery.
func (n *Internet) Close() {
	n.mu.Lock()
	hosts := n.hosts
	n.hosts = nil
	n.mu.Unlock()
	for _, h := range hosts {
		h.close()
	}
	close(n.done)
}

// Packets returns the numbers of delivered and of lost packets.
func (n *Internet) Packets() (delivered, lost uint64) { return n.packets.Load(), n.lost.Load() }

// AddName adds a name that hosts can dial without DNS, like an entry of a hosts file.
func (n *Internet) AddName(name string, addrs ...netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.names[name] = addrs
}

func (n *Internet) lookupName(name string) []netip.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.names[name]
}

// Host returns the host of a name, or nil.
func (n *Internet) Host(name string) *Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, h := range n.hosts {
		if h.Name == name {
			return h
		}
	}
	return nil
}

// HostAt returns the host at an address, or nil. For an anycast address it returns the
// host nearest to from.
func (n *Internet) HostAt(addr netip.Addr, from *Host) *Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.route(addr, from)
}

// route returns the host that receives a packet. For an anycast address this is the
// host with the shortest path, as if all networks had the same routing policy.
func (n *Internet) route(dst netip.Addr, from *Host) *Host {
	hosts := n.at[dst]
	if len(hosts) == 0 {
		return n.networks[tagNetwork(dst)]
	}
	best := hosts[0]
	for _, h := range hosts[1:] {
		if n.paths.RTT(from.End, h.End) < n.paths.RTT(from.End, best.End) {
			best = h
		}
	}
	return best
}

// tagNetwork returns the /64 of an IPv6 address. It is invalid for an IPv4 address.
func tagNetwork(a netip.Addr) netip.Prefix {
	if !a.Is6() {
		return netip.Prefix{}
	}
	p, _ := a.Prefix(tagNetworkBits) // an address has this prefix
	return p
}

func (n *Internet) attach(h *Host) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, other := range n.hosts {
		if other.Name == h.Name {
			return fmt.Errorf("lab: two hosts named %s", h.Name)
		}
	}
	for _, a := range h.Addrs {
		if len(n.at[a]) > 0 {
			return fmt.Errorf("lab: address %s of %s belongs to %s already", a, h.Name, n.at[a][0].Name)
		}
	}
	for _, a := range append(h.Addrs, h.Anycast...) {
		n.at[a] = append(n.at[a], h)
	}
	if h.Network.IsValid() {
		n.networks[h.Network] = h
	}
	n.hosts = append(n.hosts, h)
	return nil
}

// packet is one IP packet in flight.
type packet struct {
	to   *Host
	from *Host
	data []byte
	v6   bool
}

// send takes a packet from a host's stack. The destination decides the path.
func (n *Internet) send(from *Host, data []byte, v6 bool) {
	dst, ok := destination(data, v6)
	if !ok {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if from.frozen {
		from.held = append(from.held, heldPacket{data: data, v6: v6})
		return
	}
	n.sendLocked(from, dst, data, v6)
}

func (n *Internet) sendLocked(from *Host, dst netip.Addr, data []byte, v6 bool) {
	to := n.route(dst, from)
	if to == nil || from.cut || to.cut || n.paths.Lost(from.End, to.End) {
		n.lost.Add(1)
		return
	}
	now := time.Now()
	leave, ok := from.up.Transmit(now, len(data))
	if !ok {
		n.lost.Add(1)
		return
	}
	arrive, ok := to.down.Transmit(leave.Add(n.paths.RTT(from.End, to.End)/2), len(data))
	if !ok {
		n.lost.Add(1)
		return
	}
	from.sent.Add(uint64(len(data)))
	to.received.Add(uint64(len(data)))
	n.inFlight.Hold(arrive, packet{to: to, from: from, data: data, v6: v6})
}

func destination(data []byte, v6 bool) (netip.Addr, bool) {
	if v6 {
		if len(data) < header.IPv6MinimumSize {
			return netip.Addr{}, false
		}
		dst := netip.AddrFrom16([16]byte(data[24:40]))
		return dst, !dst.IsMulticast()
	}
	if len(data) < header.IPv4MinimumSize {
		return netip.Addr{}, false
	}
	dst := netip.AddrFrom4([4]byte(data[16:20]))
	return dst, !dst.IsMulticast()
}

// handOver delivers an arrived packet to its host, unless the host was cut or frozen
// while the packet was in flight.
func (n *Internet) handOver(p packet) {
	n.mu.Lock()
	switch {
	case p.to.cut:
		n.mu.Unlock()
		n.lost.Add(1)
		return
	case p.to.frozen:
		p.to.arrived = append(p.to.arrived, p)
		n.mu.Unlock()
		return
	}
	n.mu.Unlock()
	n.packets.Add(1)
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(p.data)})
	p.to.link.inject(pkt, p.v6)
	pkt.DecRef()
}

func protocolOf(addr netip.Addr) tcpip.NetworkProtocolNumber {
	if addr.Is4() {
		return header.IPv4ProtocolNumber
	}
	return header.IPv6ProtocolNumber
}
