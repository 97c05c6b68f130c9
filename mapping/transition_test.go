package mapping

import (
	"net/netip"
	"testing"

	"perto/geodata"
)

// TestTransitionSubnetsAreScopedInside asks for one client in all transition forms. The
// decision must be that of its IPv4 address, and the scope must follow from its scope.
func TestTransitionSubnetsAreScopedInside(t *testing.T) {
	m, err := NewMap(world(t), tenSites(), standardPolicy())
	if err != nil {
		t.Fatal(err)
	}
	resolver := netip.MustParseAddr("8.20.1.1")
	plain := Subnet{netip.MustParseAddr("200.144.248.0"), 24}
	want := m.Locate(resolver, plain)
	tests := []struct {
		name, subnet string
		scope        uint8
		inside       bool
	}{
		{"6to4", "2002:c890:f800::/40", 16 + want.Scope, true},
		{"6to4 of a site", "2002:c890:f801::/48", 16 + want.Scope, true},
		{"6to4 with the usual length", "2002:c890:f801:7::/56", 16 + want.Scope, true},
		{"6to4, short", "2002:c890::/24", 24, true},
		{"6to4 without an address", "2002::/16", 16, false},
		{"6to4 of a private network", "2002:0a01:0200::/40", 40, false},
		{"NAT64", "64:ff9b::200.144.248.0/120", 96 + want.Scope, true},
		{"NAT64 without an address", "64:ff9b::/56", 56, false},
		{"Teredo", "2001:0:4136:e378:8000:63bf:376f:0700/120", 96 + want.Scope, true},
		{"Teredo without an address", "2001:0:4136:e300::/56", 56, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := netip.MustParsePrefix(tt.subnet)
			ecs := Subnet{p.Addr(), uint8(p.Bits())}
			got := m.Locate(resolver, ecs)
			if got.Scope != tt.scope || got.ByECS != tt.inside {
				t.Errorf("got %+v, want scope %d, by the subnet: %v", got, tt.scope, tt.inside)
			}
			if tt.inside && uint8(p.Bits()) >= got.Scope && tt.scope > 24 && (got.Class != want.Class || got.Hash != want.Hash) {
				t.Errorf("got %+v, want the decision %+v", got, want)
			}
			if n := testing.AllocsPerRun(100, func() { m.Locate(resolver, ecs) }); n != 0 {
				t.Errorf("got %v allocations, want 0", n)
			}
		})
	}
	for _, s := range []string{"2002:c890:f801::1", "64:ff9b::200.144.248.1", "2001:0:4136:e378:8000:63bf:376f:07fe"} {
		got, want := m.Locate(netip.MustParseAddr(s), Subnet{}), m.Locate(netip.MustParseAddr("200.144.248.1"), Subnet{})
		if got != want {
			t.Errorf("resolver %s: got %+v, want %+v", s, got, want)
		}
	}
	a := Decide(m, standardPolicy(), fleetOf(tenSites(), 1), nil)
	e := a.Explain(netip.MustParseAddr("2002:c890:f801::1"), Subnet{}, IPv4)
	if e.Inside != geodata.SixToFour.String() || e.Place.Name != "São Paulo" {
		t.Errorf("explained as %q in %s", e.Inside, e.Place)
	}
}
