package geodata

import "net/netip"

// Transition is a form of IPv6 addresses that contain an IPv4 address. The IPv6 prefix
// of such an address says nothing about its place. The IPv4 address does.
type Transition uint8

// The transition forms. The local-use prefix 64:ff9b:1::/48 (RFC 8215) is not among
// them: each network chooses the position of the IPv4 address in it.
const (
	Native    Transition = iota // no IPv4 address inside
	Mapped                      // ::ffff:0:0/96 (RFC 4291, section 2.5.5.2)
	NAT64                       // 64:ff9b::/96 (RFC 6052, section 2.1)
	SixToFour                   // 2002::/16 (RFC 3056, section 2)
	Teredo                      // 2001::/32 (RFC 4380, section 4)
)

var transitions = [...]struct {
	name string
	bits uint8 // position of the IPv4 address
	// prefix contains all addresses of the form.
	prefix netip.Prefix
}{
	Native:    {"", 0, netip.Prefix{}},
	Mapped:    {"IPv4-mapped", 96, netip.MustParsePrefix("::ffff:0:0/96")},
	NAT64:     {"NAT64", 96, netip.MustParsePrefix("64:ff9b::/96")},
	SixToFour: {"6to4", 16, netip.MustParsePrefix("2002::/16")},
	Teredo:    {"Teredo", 96, netip.MustParsePrefix("2001::/32")},
}

// String returns the name of the form, or "" for [Native].
func (t Transition) String() string { return transitions[t].name }

// Bits returns how many bits of the IPv6 address precede the IPv4 address.
func (t Transition) Bits() uint8 { return transitions[t].bits }

// Prefix returns the network of all addresses of the form.
func (t Transition) Prefix() netip.Prefix { return transitions[t].prefix }

// Embedded returns the IPv4 address inside an IPv6 address, and the form that contains
// it. It returns other addresses as they are, without a zone, and [Native]. The client
// address inside a Teredo address is stored inverted. Embedded does not allocate.
func Embedded(a netip.Addr) (netip.Addr, Transition) {
	if a.Is4() || !a.IsValid() {
		return a, Native
	}
	b := a.As16()
	form, at, invert := Native, 12, byte(0)
	switch {
	case b[0] == 0x20 && b[1] == 0x02:
		form, at = SixToFour, 2
	case b[0] == 0x20 && b[1] == 0x01 && b[2] == 0 && b[3] == 0:
		form, invert = Teredo, 0xff
	case b[0] != 0:
	case a.Is4In6():
		form = Mapped
	case [12]byte(b[:12]) == [12]byte{0, 0x64, 0xff, 0x9b}:
		form = NAT64
	}
	if form == Native {
		return a.WithZone(""), Native
	}
	return netip.AddrFrom4([4]byte{b[at] ^ invert, b[at+1] ^ invert, b[at+2] ^ invert, b[at+3] ^ invert}), form
}
