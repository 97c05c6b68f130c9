package mapping

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"perto/geodata"
)

// Subnet is a client subnet from a query (RFC 7871), as far as mapping needs it.
type Subnet struct {
	Addr netip.Addr // zero beyond Bits; invalid when the query had none
	Bits uint8      // SOURCE PREFIX-LENGTH
}

// String returns the subnet in the form of the query. IPv4-mapped subnets keep their
// length.
func (s Subnet) String() string {
	if s.Addr.Is4In6() && s.Bits < geodata.Mapped.Bits() {
		s.Addr = s.Addr.Unmap()
	}
	return fmt.Sprintf("%s/%d", s.Addr, s.Bits)
}

// Located is the location of a query's client on the map.
type Located struct {
	Client netip.Addr // the address that the decision is for
	ByECS  bool       // it is the client subnet's address, not the resolver's
	// Learned is set when the class follows from the resolver's clients, not its place.
	Learned bool
	Class   uint16
	Scope   uint8  // SCOPE PREFIX-LENGTH of the answer, in bits
	Hash    uint32 // spreads clients over a split: hash of the scope's block or the resolver's group
}

// The longest client subnets that resolvers send, and the longest scopes of answers, in
// bits (RFC 7871, section 11.1).
const (
	MaxScopeIPv4 = 24
	MaxScopeIPv6 = 56
)

// ClientSubnet returns the subnet that a resolver sends for a client: its /24 or /56.
func ClientSubnet(client netip.Addr) Subnet {
	bits := MaxScopeIPv4
	if client.Is6() {
		bits = MaxScopeIPv6
	}
	p, err := client.Prefix(bits)
	if err != nil {
		return Subnet{}
	}
	return Subnet{Addr: p.Addr(), Bits: uint8(bits)}
}

// groupIPv4 and groupIPv6 are the prefix lengths of a resolver group, in bits.
const (
	groupIPv4 = 24
	groupIPv6 = 48
)

// Locate decides which address a query is answered for and looks it up. It uses the
// client subnet if that is a public address with at least one bit, else the resolver.
// The scope is 0 for source 0 (RFC 7871, section 7.1.2) and without a subnet. It is
// never longer than the source, /24 and /56. Locate allocates nothing.
//
// The IPv4 address inside an IPv6 address decides (see [geodata.Embedded]). The scope
// then includes the bits in front of it. For example, the scope of a 6to4 client is 16
// bits longer than that of its IPv4 address.
func (m *Map) Locate(resolver netip.Addr, ecs Subnet) Located {
	resolver, _ = geodata.Embedded(resolver)
	if !ecs.Addr.IsValid() || ecs.Bits == 0 {
		return m.locateResolver(resolver)
	}
	inner, form := ecs.embedded()
	if inner.Bits == 0 || !isPublic(inner.Addr) {
		// The subnet has no place. Its answer must not be cached for all clients of the
		// resolver, so its scope is the subnet.
		l := m.locateResolver(resolver)
		if l.Scope = form.Bits() + clampScope(inner, inner.Bits); ecs.Bits < form.Bits() {
			l.Scope = clampScope(ecs, ecs.Bits)
		}
		return l
	}
	class, scope := m.lookup(inner.Addr)
	l := Located{Client: inner.Addr, ByECS: true, Class: class, Scope: clampScope(inner, scope)}
	if class == unknownClass {
		r := m.locateResolver(resolver)
		l.Class, l.Learned = r.Class, r.Learned
	}
	l.Hash = hashBlock(inner.Addr, l.Scope)
	l.Scope += form.Bits()
	return l
}

// embedded returns the IPv4 subnet inside an IPv6 subnet, and its form. The subnet has
// no bits when it ends before the IPv4 address begins. Other subnets are returned as
// they are.
func (s Subnet) embedded() (Subnet, geodata.Transition) {
	addr, form := geodata.Embedded(s.Addr)
	if form == geodata.Native || form == geodata.Mapped && s.Bits < form.Bits() {
		return Subnet{addr, s.Bits}, geodata.Native
	}
	bits := min(max(s.Bits, form.Bits())-form.Bits(), 32)
	b := addr.As4()
	masked := binary.BigEndian.Uint32(b[:]) &^ uint32(uint64(1)<<(32-bits)-1) // Teredo inverts the zeros too
	binary.BigEndian.PutUint32(b[:], masked)
	return Subnet{netip.AddrFrom4(b), bits}, form
}

func (m *Map) locateResolver(resolver netip.Addr) Located {
	bits := uint8(groupIPv4)
	if !resolver.Is4() {
		bits = groupIPv6
	}
	l := Located{Client: resolver, Hash: hashBlock(resolver, bits)}
	if m.learned != nil {
		if l.Class, l.Learned = m.learned.table.get(GroupOf(resolver)); l.Learned {
			return l
		}
	}
	l.Class, _ = m.lookup(resolver)
	for i := range m.exceptions {
		if m.exceptions[i].prefix.Contains(resolver) {
			l.Class = m.exceptions[i].class
			break
		}
	}
	return l
}

func clampScope(ecs Subnet, scope uint8) uint8 {
	limit := uint8(MaxScopeIPv6)
	if ecs.Addr.Is4() {
		limit = MaxScopeIPv4
	}
	return min(scope, limit, ecs.Bits)
}

// isPublic reports whether an address can have a place in the world.
func isPublic(a netip.Addr) bool {
	return !a.IsPrivate() && !a.IsLoopback() && !a.IsUnspecified() && !a.IsLinkLocalUnicast() && !a.IsMulticast()
}

// hashBlock hashes the first bits of an address (FNV-1a with the final steps of
// splitmix64).
func hashBlock(a netip.Addr, bits uint8) uint32 {
	b := a.As16()
	from := 0
	if a.Is4() {
		from = 12
	}
	x := uint64(14695981039346656037)
	for i := from; i < 16 && bits > 0; i++ {
		c := b[i]
		if bits < 8 {
			c &= 0xff << (8 - bits)
			bits = 0
		} else {
			bits -= 8
		}
		x = (x ^ uint64(c)) * 1099511628211
	}
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return uint32(x >> 32)
}
