package mapping

import (
	"net/netip"
	"strings"
	"testing"

	"perto/geodata"
)

// TestAnycastResolversHaveNoPlace: the answer for such a resolver is that for an unknown
// place. Its client subnets still decide, and its scopes stay outside of others.
func TestAnycastResolversHaveNoPlace(t *testing.T) {
	geo, err := world(t).WithOverrides([]geodata.Override{{Prefix: netip.MustParsePrefix("200.144.248.53/32"), Anycast: true}})
	if err != nil {
		t.Fatal(err)
	}
	p := standardPolicy()
	p.ScopeRegret = 1e6
	m, err := NewMap(geo, tenSites(), p)
	if err != nil {
		t.Fatal(err)
	}
	a := Decide(m, p, fleetOf(tenSites(), 1), nil)
	unknown := a.Explain(netip.MustParseAddr("10.0.0.1"), Subnet{}, IPv4)
	for _, s := range []string{"8.8.8.8", "1.1.1.1", "9.9.9.9", "208.67.222.222", "2001:4860:4860::8888", "200.144.248.53"} {
		e := a.Explain(netip.MustParseAddr(s), Subnet{}, IPv4)
		if !e.Anycast || e.Class != unknownClass || e.Answer.PoP != unknown.Answer.PoP || !strings.Contains(e.Why, "is an anycast address") {
			t.Errorf("%s: got %s, %q; want %s", s, e.Answer.PoP, e.Why, unknown.Answer.PoP)
		}
	}
	for i, c := range unknown.Candidates {
		if c.DistanceKm != 0 || i > 0 && c.RTT < unknown.Candidates[i-1].RTT {
			t.Errorf("an unknown place is %.0f km and %v from %s, behind %v", c.DistanceKm, c.RTT, c.PoP, unknown.Candidates[i-1].RTT)
		}
	}
	e := a.Explain(netip.MustParseAddr("8.8.8.8"), Subnet{netip.MustParseAddr("200.144.248.0"), 24}, IPv4)
	if e.Anycast || e.Source != "ecs" || e.Answer.PoP != "gru" {
		t.Errorf("with a client subnet: got %s by %s", e.Answer.PoP, e.Source)
	}
	if e := a.Explain(netip.MustParseAddr("200.144.248.54"), Subnet{}, IPv4); e.Anycast || e.Answer.PoP != "gru" {
		t.Errorf("beside an anycast address: got %+v", e)
	}
}
