package wan

import (
	"encoding/binary"
	"net/netip"
)

// Lengths of IP headers in bytes, without options (RFC 791, RFC 8200).
const (
	ipv4Header = 20
	ipv6Header = 40
)

// Protocols whose first four bytes are two ports.
const (
	protocolTCP = 6
	protocolUDP = 17
)

// addresses returns the ends of an IP packet, and false for what is none.
func addresses(packet []byte) (src, dst netip.Addr, ok bool) {
	if len(packet) == 0 {
		return src, dst, false
	}
	switch version := packet[0] >> 4; {
	case version == 4 && len(packet) >= ipv4Header:
		return netip.AddrFrom4([4]byte(packet[12:16])), netip.AddrFrom4([4]byte(packet[16:20])), true
	case version == 6 && len(packet) >= ipv6Header:
		return netip.AddrFrom16([16]byte(packet[8:24])), netip.AddrFrom16([16]byte(packet[24:40])), true
	}
	return src, dst, false
}

// flowOf returns a hash of an IP packet's flow: its addresses and protocol, and
// its ports where every packet of the flow shows them (a later fragment does
// not, so fragments of one pair of hosts are one flow). The packet has passed
// addresses.
func flowOf(packet []byte) uint32 {
	var h uint32
	var protocol byte
	var payload []byte
	if packet[0]>>4 == 4 {
		h = mix(h, packet[12:20])
		protocol = packet[9]
		fragmented := binary.BigEndian.Uint16(packet[6:8])&0x3fff != 0 // more fragments, or an offset
		if header := int(packet[0]&0xf) * 4; !fragmented && header >= ipv4Header && header <= len(packet) {
			payload = packet[header:]
		}
	} else {
		h = mix(h, packet[8:40])
		protocol = packet[6]
		payload = packet[ipv6Header:]
	}
	h = mix(h, []byte{protocol})
	if (protocol == protocolTCP || protocol == protocolUDP) && len(payload) >= 4 {
		h = mix(h, payload[:4])
	}
	return h
}

// mix goes on with a hash (FNV-1a).
func mix(h uint32, b []byte) uint32 {
	if h == 0 {
		h = 2166136261
	}
	for _, c := range b {
		h = (h ^ uint32(c)) * 16777619
	}
	return h
}
