package wire

import (
	"encoding/binary"
	"net/netip"
)

// Limits of RFC 1035, section 2.3.4, in bytes.
const (
	HeaderSize  = 12
	maxLabel    = 63
	MaxName     = 255 // a name in wire form with its final zero
	MaxUDPPlain = 512 // a UDP response without EDNS
)

// MaxUDP is the largest UDP response that perto sends, in bytes, whatever the query
// allows. It crosses an IPv6 path without fragments (DNS flag day 2020).
const MaxUDP = 1232

// Types, classes, codes and option numbers used here (IANA DNS parameters).
const (
	TypeA     = 1
	TypeNS    = 2
	TypeCNAME = 5
	TypeSOA   = 6
	TypeHINFO = 13
	TypeTXT   = 16
	TypeAAAA  = 28
	TypeOPT   = 41
	TypeDS    = 43
	TypeTSIG  = 250
	TypeIXFR  = 251
	TypeAXFR  = 252
	TypeANY   = 255

	ClassIN = 1

	RcodeNoError  = 0
	RcodeFormErr  = 1
	RcodeServFail = 2
	RcodeNXDomain = 3
	RcodeNotImp   = 4
	RcodeRefused  = 5
	RcodeBadVers  = 16

	optionECS    = 8
	optionCookie = 10
)

// Bits of the second 16-bit word of the header.
const (
	flagQR     = 1 << 15
	flagAA     = 1 << 10
	flagTC     = 1 << 9
	flagRD     = 1 << 8
	flagCD     = 1 << 4
	opcodeMask = 0xf << 11
)

// Verdict is the action for a packet.
type Verdict uint8

// The verdicts.
const (
	OK      Verdict = iota // a common query: answer it on the fast path
	Odd                    // well-formed as far as read, for the slow path
	Drop                   // no response: too short, or itself a response
	FormErr                // respond with FORMERR
	NotImp                 // respond with NOTIMP
	BadVers                // respond with BADVERS: EDNS of an unknown version
)

// Query is a parsed query. Its slices point into the packet.
type Query struct {
	Name        []byte // QNAME in wire form, in the client's case, with the final zero
	Type, Class uint16
	Flags       uint16 // second word of the header
	questionEnd int    // offset behind the question; 0 when it could not be read

	EDNS    bool
	UDPSize uint16 // largest response that the client accepts, in bytes (EDNS), unclamped
	DO      bool

	HasECS bool
	ECS    ECS
}

// ECS is the client subnet option of a query (RFC 7871, section 6).
type ECS struct {
	Family uint16     // 1 IPv4, 2 IPv6, 0 none (only with Source 0)
	Source uint8      // prefix length, in bits
	Addr   netip.Addr // the address, zero beyond Source; invalid for family 0
}

// Parse reads a query. It fills q as far as it can read, also when the verdict is an
// error, so that the response can repeat the question.
func Parse(packet []byte, q *Query) Verdict {
	*q = Query{}
	if len(packet) < HeaderSize {
		return Drop
	}
	q.Flags = binary.BigEndian.Uint16(packet[2:])
	if q.Flags&flagQR != 0 {
		return Drop // no response to a response: two servers could loop forever
	}
	if q.Flags&opcodeMask != 0 {
		return Odd
	}
	if questions := int(binary.BigEndian.Uint16(packet[4:])); questions != 1 {
		findOPT(packet, q, questions)
		return FormErr
	}
	end := nameEnd(packet, HeaderSize)
	if end < 0 || end+4 > len(packet) {
		return FormErr
	}
	q.Name = packet[HeaderSize:end]
	q.Type = binary.BigEndian.Uint16(packet[end:])
	q.Class = binary.BigEndian.Uint16(packet[end+2:])
	q.questionEnd = end + 4
	if packet[6]|packet[7]|packet[8]|packet[9] != 0 {
		return Odd // records before the additional section: IXFR, or an error
	}
	additional := int(binary.BigEndian.Uint16(packet[10:]))
	return parseAdditional(packet, q, additional)
}

// findOPT looks for the OPT record of a query with none or several questions, so that
// the error response has one too (RFC 6891, section 6.1.1).
func findOPT(packet []byte, q *Query, questions int) {
	if packet[6]|packet[7]|packet[8]|packet[9] != 0 {
		return
	}
	off := HeaderSize
	for range questions {
		if off = skipName(packet, off); off < 0 || off+4 > len(packet) {
			return
		}
		off += 4
	}
	var rest Query
	rest.questionEnd = off
	if parseAdditional(packet, &rest, int(binary.BigEndian.Uint16(packet[10:]))) != FormErr {
		q.EDNS, q.UDPSize, q.DO = rest.EDNS, rest.UDPSize, rest.DO
	}
}

// parseAdditional reads the additional section, which usually holds one OPT.
func parseAdditional(packet []byte, q *Query, count int) Verdict {
	off := q.questionEnd
	verdict := OK
	for range count {
		root := off < len(packet) && packet[off] == 0
		if off = skipName(packet, off); off < 0 || off+10 > len(packet) {
			return FormErr
		}
		rrtype := binary.BigEndian.Uint16(packet[off:])
		dataLen := int(binary.BigEndian.Uint16(packet[off+8:]))
		data := off + 10
		if data+dataLen > len(packet) {
			return FormErr
		}
		if rrtype == TypeOPT {
			if !root || q.EDNS {
				return FormErr // RFC 6891, section 6.1.1: one OPT, owned by the root
			}
			q.EDNS = true
			q.UDPSize = binary.BigEndian.Uint16(packet[off+2:])
			q.DO = packet[off+6]&0x80 != 0
			if packet[off+5] != 0 {
				verdict = BadVers
			} else if !parseOptions(packet[data:data+dataLen], q) {
				return FormErr
			}
		} else if verdict == OK {
			verdict = Odd // TSIG, SIG(0) or an unsupported record
		}
		off = data + dataLen
	}
	if off != len(packet) {
		return FormErr
	}
	return verdict
}

func parseOptions(opts []byte, q *Query) bool {
	for len(opts) > 0 {
		if len(opts) < 4 {
			return false
		}
		code, n := binary.BigEndian.Uint16(opts), int(binary.BigEndian.Uint16(opts[2:]))
		if 4+n > len(opts) {
			return false
		}
		data := opts[4 : 4+n]
		switch code {
		case optionECS:
			if q.HasECS || !parseECS(data, &q.ECS) {
				return false
			}
			q.HasECS = true
		case optionCookie:
			if n != 8 && (n < 16 || n > 40) { // RFC 7873, section 5.2.2
				return false
			}
		}
		opts = opts[4+n:]
	}
	return true
}

// parseECS checks the requirements of RFC 7871, section 6 for a query. SCOPE is zero,
// the address has the bytes that the prefix needs, and no bit beyond the prefix is set.
func parseECS(data []byte, e *ECS) bool {
	if len(data) < 4 || data[3] != 0 {
		return false
	}
	e.Family, e.Source = binary.BigEndian.Uint16(data), data[2]
	addr := data[4:]
	if len(addr) != (int(e.Source)+7)/8 {
		return false
	}
	if rest := e.Source % 8; rest != 0 && addr[len(addr)-1]<<rest != 0 {
		return false
	}
	switch e.Family {
	case 0: // dig +subnet=0 sends this
		return e.Source == 0
	case 1:
		if e.Source > 32 {
			return false
		}
		var a [4]byte
		copy(a[:], addr)
		e.Addr = netip.AddrFrom4(a)
	case 2:
		if e.Source > 128 {
			return false
		}
		var a [16]byte
		copy(a[:], addr)
		e.Addr = netip.AddrFrom16(a)
	default:
		return false
	}
	return true
}

// nameEnd returns the offset behind the uncompressed name at off, or -1. A pointer in
// the question is invalid, because no name precedes it.
func nameEnd(packet []byte, off int) int {
	start := off
	for {
		if off >= len(packet) {
			return -1
		}
		n := int(packet[off])
		if n == 0 {
			return off + 1
		}
		off += 1 + n
		if n > maxLabel || off-start+1 > MaxName {
			return -1
		}
	}
}

// skipName returns the offset behind a name that may end in a pointer, or -1.
func skipName(packet []byte, off int) int {
	start := off
	for {
		if off >= len(packet) {
			return -1
		}
		n := int(packet[off])
		switch {
		case n == 0:
			return off + 1
		case n >= 0xc0:
			if off+2 > len(packet) {
				return -1
			}
			return off + 2
		case n > maxLabel:
			return -1
		}
		off += 1 + n
		if off-start+1 > MaxName {
			return -1
		}
	}
}
