package mapping

import (
	"net/netip"

	"perto/geodata"
)

// Group is a resolver group: the /24 of an IPv4 address or the /48 of an IPv6 address. The
// resolvers of one provider in one place share it. The zero Group is none.
type Group uint64

// groupV4 marks groups of IPv4.
const groupV4 Group = 1 << 63

// GroupOf returns the group of an address. The IPv4 address inside an IPv6 address decides
// ([geodata.Embedded]). It allocates nothing.
func GroupOf(a netip.Addr) Group {
	a, _ = geodata.Embedded(a)
	switch {
	case a.Is4():
		b := a.As4()
		return groupV4 | Group(b[0])<<16 | Group(b[1])<<8 | Group(b[2])
	case a.IsValid():
		b := a.As16()
		return Group(b[0])<<40 | Group(b[1])<<32 | Group(b[2])<<24 | Group(b[3])<<16 | Group(b[4])<<8 | Group(b[5])
	}
	return 0
}

// Prefix returns the network of the group.
func (g Group) Prefix() netip.Prefix {
	if g&groupV4 != 0 {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(g >> 16), byte(g >> 8), byte(g)}), groupIPv4)
	}
	return netip.PrefixFrom(netip.AddrFrom16([16]byte{byte(g >> 40), byte(g >> 32), byte(g >> 24), byte(g >> 16), byte(g >> 8), byte(g)}), groupIPv6)
}

// String returns the network, for example "193.0.2.0/24".
func (g Group) String() string {
	if g == 0 {
		return "none"
	}
	return g.Prefix().String()
}

// MarshalText returns the network.
func (g Group) MarshalText() ([]byte, error) { return []byte(g.String()), nil }

// UnmarshalText reads the output of MarshalText.
func (g *Group) UnmarshalText(text []byte) error {
	if string(text) == "none" {
		*g = 0
		return nil
	}
	p, err := netip.ParsePrefix(string(text))
	if err != nil {
		return err
	}
	*g = GroupOf(p.Addr())
	return nil
}

// hash mixes the bits of a group (the final steps of splitmix64).
func (g Group) hash() uint64 { return mix64(uint64(g)) }

func mix64(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// groupTable maps groups to classes: open addressing with linear probing, at most half
// full. It is immutable after its construction.
type groupTable struct {
	keys    []Group // 0: empty
	classes []uint16
	mask    uint64
}

func newGroupTable(groups int) *groupTable {
	size := 16
	for size < 2*groups {
		size *= 2
	}
	return &groupTable{keys: make([]Group, size), classes: make([]uint16, size), mask: uint64(size - 1)}
}

func (t *groupTable) put(g Group, class uint16) {
	i := g.hash() & t.mask
	for t.keys[i] != 0 && t.keys[i] != g {
		i = (i + 1) & t.mask
	}
	t.keys[i], t.classes[i] = g, class
}

// get returns the class of a group.
func (t *groupTable) get(g Group) (class uint16, ok bool) {
	for i := g.hash() & t.mask; t.keys[i] != 0; i = (i + 1) & t.mask {
		if t.keys[i] == g {
			return t.classes[i], true
		}
	}
	return 0, false
}
