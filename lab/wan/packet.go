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

// Protocols with two ports in their first four bytes.
const (
	protocolTCP = 6
	protocolUDP = 17
)

// addresses returns the source and the destination of an IP packet. ok is false when
// the bytes are not an IP packet.
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

// flowOf returns a hash of an IP packet's flow: its addresses, its protocol and its
// ports. Ports are left out for fragments, because only the first fragment has them. So
// the fragments of one pair of hosts are one flow. The packet must have passed
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

// mix adds bytes to a hash (FNV-1a).
func mix(h uint32, b []byte) uint32 {
	if h == 0 {
		h = 2166136261
	}
	for _, c := range b {
		h = (h ^ uint32(c)) * 16777619
	}
	return h
}
