package mapping

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"perto/replicas"
)

// TestExplainStatesHoldDown: a replica that is well and does not serve needs a reason.
func TestExplainStatesHoldDown(t *testing.T) {
	sites, p := tenSites(), standardPolicy()
	m, err := NewMap(world(t), sites, p)
	if err != nil {
		t.Fatal(err)
	}
	fleet := fleetOf(sites, 1)
	i := slices.IndexFunc(fleet.Members, func(m replicas.Member) bool { return m.PoP == "gru" })
	member := &fleet.Members[i]
	member.State, member.Reason = replicas.StateDown, "held down until 14:03:20 UTC, its 3rd death in 10 minutes"
	member.HeldUntil = time.Date(2026, 11, 25, 14, 3, 20, 0, time.UTC)
	e := Decide(m, p, fleet, nil).Explain(netip.MustParseAddr("200.144.248.1"), Subnet{}, IPv4)
	const want = "gru-1: held down until 14:03:20 UTC, its 3rd death in 10 minutes"
	if c := e.Candidates[0]; c.PoP != "gru" || c.Chosen || !strings.Contains(c.Verdict, want) {
		t.Errorf("got %+v", c)
	}
	if !strings.Contains(e.Why, want) {
		t.Errorf("explained as %q", e.Why)
	}
}
