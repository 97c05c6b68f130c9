package model

import (
	"math"
	"reflect"
	"testing"

	"perto/geodata"
)

func draw(t *testing.T, cfg Config) *World {
	t.Helper()
	cities, err := geodata.LoadCities()
	if err != nil {
		t.Fatal(err)
	}
	return Draw(cities, cfg)
}

func TestDrawDependsOnTheSeedAlone(t *testing.T) {
	cfg := Config{Seed: 3, Blocks: 300, Sites: 100}
	a, b := draw(t, cfg), draw(t, cfg)
	if !reflect.DeepEqual(a, b) {
		t.Error("one seed gave two worlds")
	}
	cfg.Seed = 4
	if reflect.DeepEqual(a.Sites, draw(t, cfg).Sites) {
		t.Error("another seed gave the same sites")
	}
}

// TestDrawIsConsistent checks the shares of demand and the links of a World.
func TestDrawIsConsistent(t *testing.T) {
	w := draw(t, Config{Seed: 1, Blocks: 2000, Sites: 200})
	sum, clients := 0.0, 0
	var byClass [Classes]float64
	for i, r := range w.Resolvers {
		clients += len(r.Blocks)
		byClass[r.Class] += r.Weight
		for _, b := range r.Blocks {
			if w.Blocks[b].Resolver != i {
				t.Fatalf("block %d is a client of resolver %d, and resolver %d has it", b, w.Blocks[b].Resolver, i)
			}
		}
	}
	for _, b := range w.Blocks {
		sum += b.Weight
		if b.Row >= w.RTT.Rows() {
			t.Fatalf("row %d of %d", b.Row, w.RTT.Rows())
		}
	}
	if clients != len(w.Blocks) || math.Abs(sum-1) > 1e-9 {
		t.Errorf("%d of %d blocks have a resolver, and their weights are %.9f", clients, len(w.Blocks), sum)
	}
	for c, share := range byClass {
		if share <= 0.005 || share > 0.5 {
			t.Errorf("class %s has a share of %.3f", Class(c), share)
		}
	}
}

// TestPathsAreNotFasterThanLight compares each path with the great circle in fibre.
func TestPathsAreNotFasterThanLight(t *testing.T) {
	w := draw(t, Config{Seed: 1, Blocks: 200, Sites: 100})
	for _, b := range w.Blocks {
		for s, cost := range w.RTT.Row(b.Row) {
			// The shortest paths of the lognormal factor are those of straight fibre.
			if light := 2 * b.Place.DistanceKm(w.Sites[s]) / 300; cost.Duration().Seconds()*1000 < light {
				t.Fatalf("%s to %s takes %s, and light %.1f ms", b.Place, w.Sites[s], cost.Duration(), light)
			}
		}
	}
}

func TestMiddle(t *testing.T) {
	w := &World{Blocks: []Block{{Place: place("", "", 0, 10), Weight: 1}, {Place: place("", "", 0, 30), Weight: 1}}}
	if m := w.Middle([]int{0, 1}); math.Abs(m.Lat) > 1e-9 || math.Abs(m.Lon-20) > 1e-9 {
		t.Errorf("the middle is %v", m)
	}
}
