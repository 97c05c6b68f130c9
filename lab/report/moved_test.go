package report

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"perto/geodata"
	"perto/lab"
)

// TestMovedCode runs the report with one view of each vantage. With the code at the
// edge, fragments must not be slower than the cached page, and no bytes must cross the
// WAN.
func TestMovedCode(t *testing.T) {
	geo, err := geodata.World()
	if err != nil {
		t.Fatal(err)
	}
	cities, err := geodata.LoadCities()
	if err != nil {
		t.Fatal(err)
	}
	m, err := MovedCode(t.Context(), lab.Config{Geo: geo, Place: cities.FindCity}, 1)
	if err != nil {
		t.Fatal(err)
	}
	s := m.Summary()
	// On a crowded machine, vantages near the origin gain nothing.
	if len(m.Vantages) != 40 || m.Views != 40 || s.Nearer < 28 || s.AtOrigin.P50 < s.AtEdge.P50+50*time.Millisecond {
		t.Errorf("%d vantages, %d gain: %+v", len(m.Vantages), s.Nearer, s)
	}
	if m.WAN["origin"] < 40<<10 || m.WAN["edge"] > m.WAN["origin"]/10 {
		t.Errorf("over the WAN: %v", m.WAN)
	}
	var text strings.Builder
	if err := m.WriteText(&text); err != nil || !strings.Contains(text.String(), "code at the edge") || strings.Count(text.String(), "\n") < 50 {
		t.Errorf("%v: %s", err, text.String())
	}
	var page strings.Builder
	if err := m.WriteHTML(&page); err != nil || strings.Count(page.String(), `<circle class="origin"`) != 40 || strings.Contains(page.String(), "NaN") {
		t.Errorf("%v: %s", err, page.String())
	}
	var again Moved
	if data, err := json.Marshal(m); err != nil || json.Unmarshal(data, &again) != nil || again.Summary() != s {
		t.Errorf("as JSON it is another report (%v)", err)
	}
}
