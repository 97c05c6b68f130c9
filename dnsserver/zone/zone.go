package zone

import (
	"maps"
	"slices"

	"perto"
	"perto/dnsserver/wire"
)

// Zone is one zone of authority.
type Zone struct {
	Name   string // canonical ("cdn.example")
	Serial uint32 // of the SOA record

	apex     []byte // in wire form, lower case
	nodes    map[string]*node
	negative wire.Tail // the SOA for the authority section of negative answers
}

// node is one name of the tree. A node without records is an empty non-terminal, which
// exists as a name (RFC 4592, section 2.2.2).
type node struct {
	rrsets   map[uint16]*wire.Tail
	alias    *alias
	referral *wire.Tail // at and below a zone cut
	cut      bool       // this node is the cut
	service  int        // index+1 into Config.Services; 0: none
	whoami   bool
}

// alias is a CNAME at a node.
type alias struct {
	tail   *wire.Tail // the record
	target []byte     // in wire form and lower case; nil outside the zone
}

// Kind is the result of looking up a name and a type.
type Kind uint8

// The kinds of result.
const (
	Answer    Kind = iota // Tail is the answer
	NoData                // the name exists, the type does not; Tail is the SOA
	NXDomain              // the name does not exist; Tail is the SOA
	Referral              // the name is in a delegated zone; Tail holds NS and glue
	Alias                 // Tail is the CNAME record; the answer continues at Target
	ToService             // the answer is the addresses of Service
	Whoami                // the server reports its view of the client
)

// Result is the result of Find. Tail's pointers are relative to the zone's apex.
type Result struct {
	Kind    Kind
	Tail    *wire.Tail
	Service int    // index into Config.Services, for ToService
	Target  []byte // target of an Alias, in wire form and lower case; nil outside the zone
}

// MaxAliases is how many CNAME records one response follows. A resolver continues from
// the last one (BIND follows 11, Knot DNS 20).
const MaxAliases = 16

// ApexLen returns the length of the apex in wire form, in bytes.
func (z *Zone) ApexLen() int { return len(z.apex) }

// Negative returns the SOA record for negative answers.
func (z *Zone) Negative() *wire.Tail { return &z.negative }

// Find looks up a name at or below the apex, in wire form and lower case. It is one
// step of RFC 1034, section 4.3.2, with RFC 4592 for wildcards. For an Alias, the
// caller looks up the target next, as if the client had queried it. Find allocates
// nothing.
func (z *Zone) Find(name []byte, qtype uint16) Result {
	if n, ok := z.nodes[string(name)]; ok {
		return z.at(n, qtype)
	}
	var buf [wire.MaxName + 2]byte
	for encloser := wire.Parent(name); len(encloser) >= len(z.apex); encloser = wire.Parent(encloser) {
		n, ok := z.nodes[string(encloser)]
		if !ok {
			continue
		}
		if n.referral != nil {
			return Result{Kind: Referral, Tail: n.referral}
		}
		wildcard := append(append(buf[:0], 1, '*'), encloser...)
		if w, ok := z.nodes[string(wildcard)]; ok {
			return z.at(w, qtype)
		}
		break
	}
	return Result{Kind: NXDomain, Tail: &z.negative}
}

func (z *Zone) at(n *node, qtype uint16) Result {
	if n.referral != nil && !(n.cut && qtype == wire.TypeDS) {
		return Result{Kind: Referral, Tail: n.referral}
	}
	isAddress := qtype == wire.TypeA || qtype == wire.TypeAAAA
	switch {
	case n.service > 0 && isAddress:
		return Result{Kind: ToService, Service: n.service - 1}
	case n.whoami && qtype == wire.TypeTXT:
		return Result{Kind: Whoami}
	}
	if t, ok := n.rrsets[qtype]; ok {
		return Result{Kind: Answer, Tail: t}
	}
	if n.alias != nil {
		return Result{Kind: Alias, Tail: n.alias.tail, Target: n.alias.target}
	}
	return Result{Kind: NoData, Tail: &z.negative}
}

// Names returns the existing names of the zone as text, in canonical order. It is for
// checks and status pages.
func (z *Zone) Names() []string {
	keys := slices.Collect(maps.Keys(z.nodes))
	out := make([]string, len(keys))
	for i, k := range keys {
		out[i] = wire.NameString([]byte(k))
	}
	slices.Sort(out)
	return out
}

// Set is the zones that one server is authoritative for. It is immutable.
type Set struct {
	zones []*Zone
	index map[string]int // by apex
}

// NewSet returns a set of zones in the given order. Their names must differ.
func NewSet(zones ...*Zone) *Set {
	s := &Set{zones: zones, index: make(map[string]int, len(zones))}
	for i, z := range zones {
		s.index[string(z.apex)] = i
	}
	return s
}

// Match returns the index of the zone that answers for a name (wire form, lower case)
// and a type, or -1. This is the zone with the longest apex that is a suffix of the
// name. DS records of an apex belong to the parent zone, if it is in the set (RFC 4035,
// section 3.1.4.1).
func (s *Set) Match(name []byte, qtype uint16) int {
	for at := name; at != nil; at = wire.Parent(at) {
		i, ok := s.index[string(at)]
		if !ok {
			continue
		}
		if qtype == wire.TypeDS && len(at) == len(name) {
			if parent := s.Match(wire.Parent(at), wire.TypeNS); parent >= 0 {
				return parent
			}
		}
		return i
	}
	return -1
}

// At returns a zone by its index.
func (s *Set) At(i int) *Zone { return s.zones[i] }

// Len returns the number of zones.
func (s *Set) Len() int { return len(s.zones) }

// Service returns the index of the service at a textual name, or -1. Wildcard services
// and aliases match as in a query.
func (z *Zone) Service(name string) int {
	packed, err := wire.PackName(perto.CanonicalName(name))
	if err != nil || !wire.IsSuffix(packed, z.apex) {
		return -1
	}
	r := z.Find(packed, wire.TypeA)
	for range MaxAliases {
		if r.Kind != Alias || r.Target == nil {
			break
		}
		r = z.Find(r.Target, wire.TypeA)
	}
	if r.Kind != ToService {
		return -1
	}
	return r.Service
}
