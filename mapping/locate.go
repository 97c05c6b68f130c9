package mapping

import (
	"fmt"
	"net/netip"
)

// Subnet is a client subnet from a query (RFC 7871), as far as mapping needs it.
type Subnet struct {
	Addr netip.Addr // zero beyond Bits; invalid when the query had none
	Bits uint8      // SOURCE PREFIX-LENGTH
}

// String returns the subnet in the form of the query. IPv4-mapped subnets keep their
// length.
func (s Subnet) String() string {
	if s.Addr.Is4In6() && s.Bits < mappedBits {
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

// The longest scopes that Locate returns, in bits (RFC 7871, section 11.1).
const (
	maxScopeIPv4 = 24
	maxScopeIPv6 = 56
)

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
// An IPv4-mapped subnet (::ffff:192.0.2.0/120) is an IPv4 subnet. Its lengths include
// the 96 bits in front of it.
func (m *Map) Locate(resolver netip.Addr, ecs Subnet) Located {
	resolver = resolver.Unmap()
	if !ecs.Addr.IsValid() || ecs.Bits == 0 {
		return m.locateResolver(resolver)
	}
	mapped := uint8(0)
	if ecs.Addr.Is4In6() && ecs.Bits >= mappedBits {
		mapped = mappedBits
		ecs.Bits -= mappedBits
	}
	ecs.Addr = ecs.Addr.Unmap()
	if ecs.Bits == 0 || !isPublic(ecs.Addr) {
		// The subnet has no place. Its answer must not be cached for all clients of the
		// resolver, so its scope is the subnet.
		l := m.locateResolver(resolver)
		l.Scope = mapped + clampScope(ecs, ecs.Bits)
		return l
	}
	class, scope := m.lookup(ecs.Addr)
	l := Located{Client: ecs.Addr, ByECS: true, Class: class, Scope: clampScope(ecs, scope)}
	if class == unknownClass {
		r := m.locateResolver(resolver)
		l.Class, l.Learned = r.Class, r.Learned
	}
	l.Hash = hashBlock(ecs.Addr, l.Scope)
	l.Scope += mapped
	return l
}

// mappedBits is the length of ::ffff:0:0/96, in bits (RFC 4291, section 2.5.5.2).
const mappedBits = 96

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
	limit := uint8(maxScopeIPv6)
	if ecs.Addr.Is4() {
		limit = maxScopeIPv4
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
