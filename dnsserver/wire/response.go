package wire

import (
	"encoding/binary"
)

// Tail is the part of a response behind the question. It is packed once and copied for
// every query. Names in it are compressed against the zone's apex, and the question
// always ends in the apex. The pointers at Pointers hold offsets from the apex. Each
// response adds the apex's position in its question to them.
//
// Records of the question's name start with the pointer OwnerIsQuestion. Behind
// aliases, the owner is the target of the last alias, and the pointers at Owners are
// set to it.
//
// Addresses of one name are records of the same length, Stride. Each response begins
// with another one. Clients that use the first address therefore spread over all
// addresses.
//
// Invariant: every position p of a pointer satisfies p+2 <= len(Bytes). With a Stride,
// len(Bytes) is Answers*Stride, there are no Pointers, and Owners are the starts of the
// records.
type Tail struct {
	Bytes      []byte
	Answers    uint16 // records in the answer section
	Authority  uint16 // records in the authority section
	Additional uint16 // records in the additional section, without OPT
	Pointers   []uint16
	Inner      []uint16 // pointers with offsets from the start of Bytes
	Owners     []uint16
	Stride     uint16 // 0: the order is kept
}

// MaxInner is the highest offset that an inner pointer may have, in bytes. A pointer
// reaches 16,383 bytes (RFC 1035, section 4.1.4). The question and the aliases before a
// tail take less than half of that.
const MaxInner = 8192

// OwnerIsQuestion is the pointer to the question's name, which starts directly behind
// the header (RFC 1035, section 4.1.4).
const OwnerIsQuestion = 0xc000 | HeaderSize

// Response collects one response in a buffer of the caller.
type Response struct {
	buf  []byte
	max  int // the largest size allowed, in bytes, OPT included
	full bool
	// owner is a pointer to the owner name of the next records. This is the question's
	// name or the target of the last alias.
	owner uint16

	// Fields of the query by value: a pointer would move every Query to the heap.
	nameLen     int
	questionEnd int
	edns, do    bool
	hasECS      bool
	ecs         ECS
}

// optSize is the size of an OPT record without options. ecsMax is the size of an ECS
// option with the longest address. Both are in bytes.
const (
	optSize = 11
	ecsMax  = 4 + 4 + 16
)

// Begin starts the response to packet in buf. buf may be the packet's own buffer only
// if the packet is not used afterwards. max is the transport's limit in bytes (see
// UDPLimit).
func Begin(buf, packet []byte, q *Query, max int) Response {
	end := q.questionEnd
	if end == 0 {
		end = HeaderSize
	}
	buf = append(buf[:0], packet[:end]...)
	flags := flagQR | q.Flags&(opcodeMask|flagRD|flagCD)
	binary.BigEndian.PutUint16(buf[2:], flags)
	clear(buf[4:12])
	if end > HeaderSize {
		buf[5] = 1
	}
	return Response{buf: buf, max: max, owner: OwnerIsQuestion, nameLen: len(q.Name), questionEnd: end, edns: q.EDNS, do: q.DO, hasECS: q.HasECS, ecs: q.ECS}
}

// UDPLimit returns the largest size of a UDP response to q, in bytes.
func (q *Query) UDPLimit() int {
	if !q.EDNS {
		return MaxUDPPlain
	}
	return max(MaxUDPPlain, min(int(q.UDPSize), MaxUDP))
}

// SetAuthoritative sets the AA bit.
func (r *Response) SetAuthoritative() { r.buf[2] |= flagAA >> 8 }

// SetRcode sets the lower four bits of the response code.
func (r *Response) SetRcode(rcode int) { r.buf[3] = r.buf[3]&0xf0 | byte(rcode&0xf) }

func (r *Response) count(at int, n uint16) {
	binary.BigEndian.PutUint16(r.buf[at:], binary.BigEndian.Uint16(r.buf[at:])+n)
}

// fits reports whether n more bytes and the OPT record fit. If not, it marks the
// response as truncated.
func (r *Response) fits(n int) bool {
	need := len(r.buf) + n
	if r.edns {
		need += optSize
	}
	if r.hasECS {
		need += ecsMax
	}
	if need > r.max {
		r.full = true
	}
	return !r.full
}

// Append adds a packed tail. apexLen is the length of the zone's apex in wire form, in
// bytes. The question's name ends in the apex.
func (r *Response) Append(t *Tail, apexLen int) {
	if !r.fits(len(t.Bytes)) {
		return
	}
	start := len(r.buf)
	if t.Stride > 0 {
		first := r.rotation(int(t.Answers)) * int(t.Stride)
		r.buf = append(append(r.buf, t.Bytes[first:]...), t.Bytes[:first]...)
	} else {
		r.buf = append(r.buf, t.Bytes...)
	}
	apex := uint16(HeaderSize + r.nameLen - apexLen)
	for _, p := range t.Pointers {
		at := r.buf[start+int(p):]
		binary.BigEndian.PutUint16(at, 0xc000|(binary.BigEndian.Uint16(at)+apex))
	}
	for _, p := range t.Inner {
		at := r.buf[start+int(p):]
		binary.BigEndian.PutUint16(at, 0xc000|(binary.BigEndian.Uint16(at)+uint16(start)))
	}
	if r.owner != OwnerIsQuestion {
		for _, p := range t.Owners {
			binary.BigEndian.PutUint16(r.buf[start+int(p):], r.owner)
		}
	}
	r.count(6, t.Answers)
	r.count(8, t.Authority)
	r.count(10, t.Additional)
}

// AppendNegative adds the SOA record of a negative response. Its time to live is at
// most ttl seconds. Resolvers keep the response for that time (RFC 2308, section 3).
func (r *Response) AppendNegative(t *Tail, apexLen int, ttl uint32) {
	start := len(r.buf)
	r.Append(t, apexLen)
	if r.full {
		return
	}
	at := r.buf[skipName(r.buf, start)+4:]
	binary.BigEndian.PutUint32(at, min(ttl, binary.BigEndian.Uint32(at)))
}

// recordHead is the size of a record without its data, in bytes. Its owner is a
// pointer.
const recordHead = 2 + 2 + 2 + 4 + 2

// AppendAlias adds a tail that is one CNAME record. Records that are added later
// belong to its target.
func (r *Response) AppendAlias(t *Tail, apexLen int) {
	target := len(r.buf) + recordHead
	r.Append(t, apexLen)
	r.owner = 0xc000 | uint16(target)
}

// rotation returns which of n records comes first. It uses the query's ID, which
// resolvers choose at random, so that no state is shared (Knot DNS does the same).
func (r *Response) rotation(n int) int {
	return int(binary.BigEndian.Uint16(r.buf)) % n
}

// AppendAddresses adds address records. rdata holds addresses of size bytes each (4 for
// A, 16 for AAAA). With rotate, each response begins with another one.
func (r *Response) AppendAddresses(rrtype uint16, ttl uint32, rdata []byte, size int, rotate bool) {
	n := len(rdata) / size
	if n == 0 || !r.fits(n*(recordHead+size)) {
		return
	}
	head := [recordHead]byte{byte(r.owner >> 8), byte(r.owner), byte(rrtype >> 8), byte(rrtype), 0, ClassIN,
		byte(ttl >> 24), byte(ttl >> 16), byte(ttl >> 8), byte(ttl), byte(size >> 8), byte(size)}
	at := 0
	if rotate && n > 1 {
		at = r.rotation(n) * size
	}
	buf := r.buf
	for range n {
		buf = append(append(buf, head[:]...), rdata[at:at+size]...)
		if at += size; at == len(rdata) {
			at = 0
		}
	}
	r.buf = buf
	r.count(6, uint16(n))
}

// Finish adds the OPT record and returns the packet. When the query had a client
// subnet, the OPT record repeats it and adds the scope in bits. rcodeHigh is the upper
// part of the response code, for BADVERS. A response that did not fit has the TC bit
// and no records, because partial record sets are not allowed (RFC 2181, section 9).
func (r *Response) Finish(scope uint8, rcodeHigh uint8) []byte {
	if r.full {
		r.buf = r.buf[:r.questionEnd]
		clear(r.buf[6:12])
		r.buf[2] |= flagTC >> 8
	}
	if !r.edns {
		return r.buf
	}
	r.count(10, 1)
	var do byte
	if r.do {
		do = 0x80
	}
	r.buf = append(r.buf, 0, 0, TypeOPT, MaxUDP>>8, MaxUDP&0xff, rcodeHigh, 0, do, 0, 0, 0)
	if !r.hasECS {
		return r.buf
	}
	lenAt := len(r.buf) - 2
	e := &r.ecs
	n := (int(e.Source) + 7) / 8
	r.buf = append(r.buf, 0, optionECS, 0, byte(4+n), byte(e.Family>>8), byte(e.Family), e.Source, scope)
	if e.Family == 1 {
		a := e.Addr.As4()
		r.buf = append(r.buf, a[:n]...)
	} else if e.Family == 2 {
		a := e.Addr.As16()
		r.buf = append(r.buf, a[:n]...)
	}
	binary.BigEndian.PutUint16(r.buf[lenAt:], uint16(8+n))
	return r.buf
}

// AppendError writes a response with only a response code. It is for queries that the
// verdict (FormErr, NotImp, BadVers) or the caller rejects.
func AppendError(buf, packet []byte, q *Query, rcode int, max int) []byte {
	r := Begin(buf, packet, q, max)
	r.SetRcode(rcode)
	return r.Finish(0, uint8(rcode>>4))
}

// AppendText adds a TXT record with one line of text, cut at 255 bytes. It is for rare
// queries about the server itself.
func (r *Response) AppendText(ttl uint32, line string) {
	line = line[:min(len(line), 255)]
	if !r.fits(recordHead + 1 + len(line)) {
		return
	}
	r.buf = binary.BigEndian.AppendUint16(r.buf, r.owner)
	r.buf = append(r.buf, 0, TypeTXT, 0, ClassIN)
	r.buf = binary.BigEndian.AppendUint32(r.buf, ttl)
	r.buf = binary.BigEndian.AppendUint16(r.buf, uint16(1+len(line)))
	r.buf = append(append(r.buf, byte(len(line))), line...)
	r.count(6, 1)
}
