package lab

import (
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// mtu is the largest IP packet between hosts, in bytes, as on Ethernet.
const mtu = 1500

// link is the network card of a host. It passes packets from the stack to the Internet,
// and injects packets from the Internet into the stack.
type link struct {
	host       *Host
	dispatcher atomic.Pointer[stack.NetworkDispatcher]
}

var _ stack.LinkEndpoint = (*link)(nil)

func (l *link) inject(pkt *stack.PacketBuffer, v6 bool) {
	d := l.dispatcher.Load()
	if d == nil {
		return
	}
	protocol := header.IPv4ProtocolNumber
	if v6 {
		protocol = header.IPv6ProtocolNumber
	}
	(*d).DeliverNetworkPacket(protocol, pkt)
}

// WritePackets implements stack.LinkWriter.
func (l *link) WritePackets(list stack.PacketBufferList) (int, tcpip.Error) {
	n := 0
	for _, pkt := range list.AsSlice() {
		view := pkt.ToView()
		data := append([]byte(nil), view.AsSlice()...)
		view.Release()
		l.host.net.send(l.host, data, pkt.NetworkProtocolNumber == header.IPv6ProtocolNumber)
		n++
	}
	return n, nil
}

// Attach implements stack.LinkEndpoint.
func (l *link) Attach(d stack.NetworkDispatcher) {
	if d == nil {
		l.dispatcher.Store(nil)
		return
	}
	l.dispatcher.Store(&d)
}

// The methods below complete stack.LinkEndpoint, for a link without addresses or
// queues.

func (l *link) IsAttached() bool                           { return l.dispatcher.Load() != nil }
func (*link) MTU() uint32                                  { return mtu }
func (*link) SetMTU(uint32)                                {}
func (*link) MaxHeaderLength() uint16                      { return 0 }
func (*link) LinkAddress() tcpip.LinkAddress               { return "" }
func (*link) SetLinkAddress(tcpip.LinkAddress)             {}
func (*link) Capabilities() stack.LinkEndpointCapabilities { return 0 }
func (*link) Wait()                                        {}
func (*link) ARPHardwareType() header.ARPHardwareType      { return header.ARPHardwareNone }
func (*link) AddHeader(*stack.PacketBuffer)                {}
func (*link) ParseHeader(*stack.PacketBuffer) bool         { return true }
func (*link) Close()                                       {}
func (*link) SetOnCloseAction(func())                      {}
