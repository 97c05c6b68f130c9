package lab

import (
	"context"
	"net/netip"
	"testing"

	"perto"
	"perto/config"
	"perto/lab/access"
	"perto/lab/vantage"
)

// farWorld is a world of processes: its fetches have the address of an edge only.
type farWorld struct {
	vantage.World
	from perto.Place
	edge netip.Addr
}

func (w farWorld) Vantages() []VantageInfo { return []VantageInfo{{Name: "here", Where: w.from}} }

func (w farWorld) Fetch(_ context.Context, _, url string, _ bool) (*access.Fetched, error) {
	return &access.Fetched{URL: url, Address: w.edge}, nil
}

// TestWithProximityComparesDistances: without round trips, the nearest PoP is that with the
// shortest distance, among those that may serve the host.
func TestWithProximityComparesDistances(t *testing.T) {
	at := func(lon float64) perto.Place { return perto.Place{Lon: lon} }
	edge := func(name, addr string) []config.Edge {
		return []config.Edge{{Name: perto.Replica(name), Addresses: []netip.Addr{netip.MustParseAddr(addr)}}}
	}
	world := &config.World{
		PoPs: []config.PoP{{Name: "a", Place: at(1), Edges: edge("a-1", "192.0.2.1")}, {Name: "b", Place: at(10), Edges: edge("b-1", "192.0.2.2")},
			{Name: "c", Place: at(20), Edges: edge("c-1", "192.0.2.3")}, {Name: "empty", Place: at(0)}},
		Services: []config.Service{{Name: "some.example", Map: config.Map{PoPs: []perto.PoP{"b", "c"}}}},
	}
	for _, tt := range []struct{ name, host, edge, wantPoP, wantNearest string }{
		{"any PoP", "all.example", "192.0.2.3", "c", "a"},
		{"a service with some PoPs", "some.example", "192.0.2.3", "c", "b"},
		{"the nearest", "all.example", "192.0.2.1", "a", "a"},
		{"no edge", "all.example", "192.0.2.9", "", ""},
	} {
		w := WithProximity(farWorld{from: at(0), edge: netip.MustParseAddr(tt.edge)}, world)
		f, err := w.Fetch(t.Context(), "here", "http://"+tt.host+"/", false)
		if err != nil {
			t.Fatal(err)
		}
		p := f.Proximity
		switch {
		case tt.wantPoP == "":
			if p != nil || f.Server != "" {
				t.Errorf("%s: got %+v of %q", tt.name, p, f.Server)
			}
		case p == nil || p.PoP != tt.wantPoP || p.Nearest != tt.wantNearest || p.Lost != 0 || f.Server != tt.wantPoP+"-1":
			t.Errorf("%s: got %+v of %q, want %s, nearest %s", tt.name, p, f.Server, tt.wantPoP, tt.wantNearest)
		}
	}
}
