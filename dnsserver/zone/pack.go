package zone

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"perto/dnsserver/wire"
)

// pack turns the record sets into nodes with packed tails.
func (b *builder) pack() {
	for key, set := range b.sets {
		n := b.node(key)
		if cut, below := b.cutAbove(key); below {
			n.cut = cut == key
			n.referral = b.referral(cut)
			if ds := set[dns.TypeDS]; n.cut && len(ds) > 0 {
				n.rrsets = map[uint16]*wire.Tail{dns.TypeDS: b.answer(ds)}
			}
			continue
		}
		n.rrsets = make(map[uint16]*wire.Tail, len(set)+1)
		for _, t := range sortedTypes(set) {
			n.rrsets[t] = b.answer(set[t])
		}
		if len(set) > 0 {
			n.rrsets[dns.TypeANY] = anyAnswer()
		}
		if cname := set[dns.TypeCNAME]; len(cname) == 1 {
			n.alias = b.aliasOf(cname[0].(*dns.CNAME))
			n.rrsets[dns.TypeANY] = n.alias.tail // RFC 8482, section 4.2: no HINFO record beside a CNAME
		}
	}
	for key, index := range b.services {
		n := b.node(key)
		n.service = index
		if n.rrsets == nil {
			n.rrsets = make(map[uint16]*wire.Tail)
		}
		n.rrsets[dns.TypeANY] = anyAnswer()
	}
	if b.cfg.Whoami != "" {
		if w, ok := b.keyOf(b.cfg.Whoami); ok && b.within(w) && b.sets[w] == nil && b.services[w] == 0 {
			b.node(w).whoami = true
		}
	}
	b.packNegative()
	for key, n := range b.zone.nodes { // empty non-terminals above glue
		if cut, below := b.cutAbove(key); below && n.referral == nil {
			n.referral = b.referral(cut)
		}
	}
	b.checkLoops()
}

// node returns the node of a name. It creates missing nodes and the empty non-terminals
// above.
func (b *builder) node(key string) *node {
	for up := wire.Parent([]byte(key)); len(up) >= len(b.zone.apex); up = wire.Parent(up) {
		if b.zone.nodes[string(up)] != nil {
			break
		}
		b.zone.nodes[string(up)] = new(node)
	}
	n := b.zone.nodes[key]
	if n == nil {
		n = new(node)
		b.zone.nodes[key] = n
	}
	return n
}

// packNegative packs the SOA record for negative answers. Its time to live is the lower
// of its own and its MINIMUM field (RFC 2308, section 3).
func (b *builder) packNegative() {
	soa := b.sets[string(b.zone.apex)][dns.TypeSOA][0].(*dns.SOA)
	b.zone.Serial = soa.Serial
	neg := dns.Copy(soa).(*dns.SOA)
	neg.Hdr.Ttl = min(soa.Hdr.Ttl, soa.Minttl)
	t := &wire.Tail{Authority: 1}
	b.appendRR(t, neg, b.zone.apex)
	b.zone.negative = *t
}

// answer packs an RRset as the answer to a question for its owner. All records
// get the lowest time to live of the set (RFC 2181, section 5.2).
func (b *builder) answer(rrs []dns.RR) *wire.Tail {
	t := &wire.Tail{Answers: uint16(len(rrs))}
	ttl := lowestTTL(rrs)
	for _, rr := range rrs {
		b.appendRR(t, withTTL(rr, ttl), nil)
	}
	if t0 := rrs[0].Header().Rrtype; len(rrs) > 1 && (t0 == dns.TypeA || t0 == dns.TypeAAAA) {
		t.Stride = uint16(len(t.Bytes) / len(rrs))
	}
	if len(t.Bytes) > maxTail {
		h := rrs[0].Header()
		b.fail("%s %s: the %d records take %d bytes and a DNS message has room for %d; remove some of them",
			strings.TrimSuffix(h.Name, "."), dns.TypeToString[h.Rrtype], len(rrs), len(t.Bytes), maxTail)
	}
	return t
}

// maxTail is the largest tail that fits every response over TCP, in bytes. A message
// has at most 65,535 (RFC 1035, section 4.2.2). The header, the longest question and an
// OPT record with a client subnet and its options take at most 512.
const maxTail = 1<<16 - 1 - 512

func lowestTTL(rrs []dns.RR) uint32 {
	ttl := rrs[0].Header().Ttl
	for _, rr := range rrs {
		ttl = min(ttl, rr.Header().Ttl)
	}
	return ttl
}

func withTTL(rr dns.RR, ttl uint32) dns.RR {
	if rr.Header().Ttl == ttl {
		return rr
	}
	rr = dns.Copy(rr)
	rr.Header().Ttl = ttl
	return rr
}

// anyAnswer is the minimal answer to an ANY query (RFC 8482, section 4.2).
func anyAnswer() *wire.Tail {
	const text = "RFC8482"
	t := &wire.Tail{Answers: 1, Bytes: binary.BigEndian.AppendUint16(nil, wire.OwnerIsQuestion), Owners: []uint16{0}}
	t.Bytes = append(t.Bytes, 0, wire.TypeHINFO, 0, wire.ClassIN, 0, 0, 0x0e, 0x10, 0, byte(2+len(text)), byte(len(text)))
	t.Bytes = append(append(t.Bytes, text...), 0)
	return t
}

// referral packs the NS records of a zone cut and the servers' addresses in the zone.
func (b *builder) referral(cut string) *wire.Tail {
	if t := b.referrals[cut]; t != nil {
		return t
	}
	owner := []byte(cut)
	ns := b.sets[cut][dns.TypeNS]
	t := &wire.Tail{Authority: uint16(len(ns))}
	b.referrals[cut] = t
	ttl := lowestTTL(ns)
	for _, rr := range ns {
		b.appendRR(t, withTTL(rr, ttl), owner)
	}
	for _, rr := range ns {
		target, _ := b.keyOf(rr.(*dns.NS).Ns)
		for _, rrtype := range []uint16{dns.TypeA, dns.TypeAAAA} {
			for _, glue := range b.sets[target][rrtype] {
				b.appendRR(t, glue, []byte(target))
				t.Additional++
			}
		}
	}
	if len(t.Bytes) > maxTail {
		b.fail("%s NS: the name servers and their addresses take %d bytes and a DNS message has room for %d; remove some of them", text(cut), len(t.Bytes), maxTail)
	}
	return t
}

// aliasOf packs a CNAME record.
func (b *builder) aliasOf(rr *dns.CNAME) *alias {
	a := &alias{tail: b.answer([]dns.RR{rr})}
	if target, ok := b.keyOf(rr.Target); ok && b.within(target) {
		a.target = []byte(target)
	}
	return a
}

// checkLoops reports alias loops. It looks names up as queries do, so that it also
// finds loops through wildcards.
func (b *builder) checkLoops() {
	ends := make(map[string]bool) // names with a chain that ends
	for _, key := range slices.Sorted(maps.Keys(b.sets)) {
		if len(b.sets[key][dns.TypeCNAME]) == 0 {
			continue
		}
		chain := make(map[string]bool)
		for at := key; !ends[at]; {
			if chain[at] {
				b.fail("%s: the CNAME chain leads back to %s; point one of its records elsewhere", text(key), text(at))
				break
			}
			chain[at] = true
			r := b.zone.Find([]byte(at), dns.TypeNone)
			if r.Kind != Alias || r.Target == nil {
				break
			}
			at = string(r.Target)
		}
		maps.Copy(ends, chain) // or the loop was reported
	}
}

// appendRR adds one record to a tail. owner is its owner in wire form, or nil
// for the question's name.
func (b *builder) appendRR(t *wire.Tail, rr dns.RR, owner []byte) {
	if owner == nil {
		t.Owners = append(t.Owners, uint16(len(t.Bytes)))
		t.Bytes = binary.BigEndian.AppendUint16(t.Bytes, wire.OwnerIsQuestion)
	} else {
		b.appendName(t, owner)
	}
	h := rr.Header()
	t.Bytes = binary.BigEndian.AppendUint16(t.Bytes, h.Rrtype)
	t.Bytes = binary.BigEndian.AppendUint16(t.Bytes, h.Class)
	t.Bytes = binary.BigEndian.AppendUint32(t.Bytes, h.Ttl)
	lenAt := len(t.Bytes)
	t.Bytes = append(t.Bytes, 0, 0)
	if err := b.appendData(t, rr); err != nil {
		b.fail("%s: %v", h.Name, err)
		return
	}
	binary.BigEndian.PutUint16(t.Bytes[lenAt:], uint16(len(t.Bytes)-lenAt-2))
}

// appendData adds RDATA. It compresses names only in the types of RFC 1035 (RFC 3597,
// section 4).
func (b *builder) appendData(t *wire.Tail, rr dns.RR) error {
	switch rr := rr.(type) {
	case *dns.NS:
		return b.appendText(t, rr.Ns)
	case *dns.CNAME:
		return b.appendText(t, rr.Target)
	case *dns.PTR:
		return b.appendText(t, rr.Ptr)
	case *dns.MX:
		t.Bytes = binary.BigEndian.AppendUint16(t.Bytes, rr.Preference)
		return b.appendText(t, rr.Mx)
	case *dns.SOA:
		if err := b.appendText(t, rr.Ns); err != nil {
			return err
		}
		if err := b.appendText(t, rr.Mbox); err != nil {
			return err
		}
		for _, v := range []uint32{rr.Serial, rr.Refresh, rr.Retry, rr.Expire, rr.Minttl} {
			t.Bytes = binary.BigEndian.AppendUint32(t.Bytes, v)
		}
		return nil
	}
	buf := make([]byte, dns.Len(rr)+1)
	end, err := dns.PackRR(rr, buf, 0, nil, false)
	if err != nil {
		return fmt.Errorf("cannot be packed: %w", err)
	}
	_, start, err := dns.UnpackDomainName(buf[:end], 0)
	if err != nil {
		return err
	}
	t.Bytes = append(t.Bytes, buf[start+10:end]...)
	return nil
}

func (b *builder) appendText(t *wire.Tail, name string) error {
	packed, err := wire.PackName(name)
	if err != nil {
		return fmt.Errorf("%q: %w", name, err)
	}
	b.appendName(t, packed)
	return nil
}

// appendName adds a name. The name ends in a pointer to the apex, or to an earlier name
// of the tail with the same suffix.
func (b *builder) appendName(t *wire.Tail, name []byte) {
	if b.plain {
		t.Bytes = append(t.Bytes, name...)
		return
	}
	if b.packing != t {
		b.packing, b.offsets = t, nil
	}
	apexAt := -1 // start of the apex in name; the root's apex saves no bytes
	var lower [wire.MaxName]byte
	if apex := b.zone.apex; len(apex) > 1 && len(name) >= len(apex) && wire.IsSuffix(wire.Lower(&lower, name), apex) {
		apexAt = len(name) - len(apex)
	}
	for at := 0; ; {
		if at == apexAt {
			t.Pointers = append(t.Pointers, uint16(len(t.Bytes)))
			t.Bytes = append(t.Bytes, 0, 0)
			return
		}
		if name[at] == 0 {
			t.Bytes = append(t.Bytes, 0)
			return
		}
		rest := string(name[at:])
		if offset, ok := b.offsets[rest]; ok {
			t.Inner = append(t.Inner, uint16(len(t.Bytes)))
			t.Bytes = binary.BigEndian.AppendUint16(t.Bytes, offset)
			return
		}
		if len(t.Bytes) < wire.MaxInner {
			if b.offsets == nil {
				b.offsets = make(map[string]uint16)
			}
			b.offsets[rest] = uint16(len(t.Bytes))
		}
		next := at + 1 + int(name[at])
		t.Bytes = append(t.Bytes, name[at:next]...)
		at = next
	}
}

// canonicalData returns a record's data in canonical form, so that equal data has equal
// bytes (RFC 4034, section 6.2). Names are uncompressed, and names in the types of RFC
// 1035 and in SRV are in lower case.
func canonicalData(rr dns.RR) ([]byte, error) {
	plain := &builder{plain: true}
	var t wire.Tail
	if err := plain.appendData(&t, rr); err != nil {
		return nil, err
	}
	from := len(t.Bytes) // where names start
	switch rr.(type) {
	case *dns.NS, *dns.CNAME, *dns.PTR:
		from = 0
	case *dns.MX:
		from = 2
	case *dns.SRV:
		from = 6
	}
	for i, c := range t.Bytes[from:] {
		if 'A' <= c && c <= 'Z' {
			t.Bytes[from+i] = c + 'a' - 'A'
		}
	}
	return t.Bytes, nil
}
