package config

import (
	"fmt"
	"os"
	"regexp"
	"testing"
)

// TestLimitsAreDocumented: docs/edge.md lists the keys with their defaults.
func TestLimitsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../docs/edge.md")
	if err != nil {
		t.Fatal(err)
	}
	l := DefaultLimits()
	w := newShower()
	w.limits(&l, RoleDNS|RoleEdge)
	lines := regexp.MustCompile(`(?m)^ *(\w+) += "?([^"\n]+)"?$`).FindAllSubmatch(w.file.Bytes(), -1)
	if len(lines) != len(l.keys()) {
		t.Fatalf("%d keys are shown, want %d", len(lines), len(l.keys()))
	}
	for _, m := range lines {
		row := fmt.Sprintf("(?m)^\\| `%s` \\| %s \\|", m[1], m[2])
		if !regexp.MustCompile(row).Match(page) {
			t.Errorf("no row for %s with the default %s", m[1], m[2])
		}
	}
}
