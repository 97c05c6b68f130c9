package config

import (
	"net/netip"
	"strings"
	"testing"
)

// TestAddMachineKeepsTheRest: comments and the layout of other blocks stay, byte for byte.
func TestAddMachineKeepsTheRest(t *testing.T) {
	const src = `# head
node "gru-1" { # the first
   roles = ["dns","edge"]
  data  = "/data"
}
pop "gru" {
  place = "São Paulo, BR"
  edge "gru-1" { addresses = ["203.0.113.1"] } # rack 7
  # the last line
}
/* tail */
`
	tests := []struct {
		name, machine string
		want          string // inserted
	}{
		{"same PoP", "gru-2", "\n\nnode \"gru-2\" {\n  roles = [\"edge\"]\n  data  = \"/data\"\n}|  edge \"gru-2\" {\n    addresses = [\"203.0.113.2\"]\n  }\n"},
		{"new PoP", "lis-1", "\n\nnode \"lis-1\" {\n  roles = [\"edge\"]\n  data  = \"/data\"\n}|\n\npop \"lis\" {\n  place = \"Lisbon, PT\"\n  edge \"lis-1\" {\n    addresses = [\"203.0.113.2\"]\n  }\n}"},
	}
	for _, tt := range tests {
		m := Machine{Name: tt.machine, Place: "Lisbon, PT", Addresses: []netip.Addr{netip.MustParseAddr("203.0.113.2")}}
		got, err := AddMachine([]byte(src), "x.hcl", m)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		rest := string(got)
		for part := range strings.SplitSeq(tt.want, "|") {
			if !strings.Contains(rest, part) {
				t.Errorf("%s: %q is missing in\n%s", tt.name, part, got)
			}
			rest = strings.Replace(rest, part, "", 1)
		}
		if rest != src {
			t.Errorf("%s: the rest changed:\n%s", tt.name, rest)
		}
	}
	for name, bad := range map[string]string{"known": src, "json": "{}", "syntax": "node {{", "empty": ""} {
		file := map[bool]string{true: "x.json", false: "x.hcl"}[name == "json"]
		if _, err := AddMachine([]byte(bad), file, Machine{Name: "gru-1"}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
