package node

import (
	"net/netip"
	"strings"
	"testing"

	"perto"
	"perto/config"
)

// TestHeartbeatsUseAFamilyOfBothMachines: an edge that has only IPv6 reports to the IPv6
// address of a name server whose first address is IPv4.
func TestHeartbeatsUseAFamilyOfBothMachines(t *testing.T) {
	const source = `
node "a-1" {
  roles = ["dns", "edge"]
  key   = "k"
}
node "b-1" {
  roles = ["edge"]
  key   = "k"
}
node "c-1" {
  roles = ["edge"]
  key   = "k"
}
pop "a" {
  place = "0, 0"
  edge "a-1" { addresses = ["203.0.113.10", "2001:db8::10"] }
}
pop "b" {
  place = "0, 0"
  edge "b-1" { addresses = ["2001:db8::20"] }
}
pop "c" {
  place = "0, 0"
  edge "c-1" { addresses = ["203.0.113.30", "2001:db8::30"] }
}
`
	parse := func(src string) *config.Config {
		t.Helper()
		cfg, err := config.Parse([]byte(src), "x.hcl", func(string) (perto.Place, error) { return perto.Place{}, nil }, nil)
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	cfg := parse(source)
	for i, want := range []string{"203.0.113.10:5399", "[2001:db8::10]:5399", "203.0.113.10:5399"} {
		if got := heartbeatTargets(&cfg.World, cfg.Nodes[i].Addresses); len(got) != 1 || got[0].at != netip.MustParseAddrPort(want) {
			t.Errorf("%s reports to %v, want %s", cfg.Nodes[i].Name, got, want)
		}
	}
	if got := familyWarnings(cfg); len(got) != 0 {
		t.Errorf("warnings: %v", got)
	}
	cfg = parse(strings.Replace(source, `"203.0.113.10", "2001:db8::10"`, `"203.0.113.10"`, 1))
	if got := strings.Join(Warnings(cfg), "\n"); !strings.Contains(got, "node b-1 cannot send heartbeats to name server a-1") || strings.Contains(got, "c-1") {
		t.Errorf("without a common family: %s", got)
	}
}
