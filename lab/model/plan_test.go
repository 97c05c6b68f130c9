package model

import (
	"testing"

	"perto/geodata"
	"perto/replicas"
)

// TestPlanAddsWhereUsersAre: the first city is near the users far from all sites, each
// addition saves less than the one before, and nothing is left to save near a site.
func TestPlanAddsWhereUsersAre(t *testing.T) {
	cities, err := geodata.LoadCities()
	if err != nil {
		t.Fatal(err)
	}
	tokyo, london := place("Tokyo", "JP", 35.69, 139.69), place("London", "GB", 51.51, -0.13)
	sites := []replicas.Site{{Place: london}}
	p := NewPlan([]Users{{tokyo, 3}, {london, 1}}, sites, cities, 3)
	if len(p.Additions) == 0 || p.Additions[0].Place.DistanceKm(tokyo) > 50 || p.Additions[0].Share != 0.75 {
		t.Fatalf("the plan for users in Tokyo is %+v", p.Additions)
	}
	world := NewPlan(DemandOf(cities), sites, cities, 4)
	for i, a := range world.Additions[1:] {
		if before := world.Additions[i]; a.SavedMean > before.SavedMean || a.SavedMean <= 0 || a.Mean >= before.Mean {
			t.Errorf("addition %d saves %s after %s", i+1, a.SavedMean, before.SavedMean)
		}
	}
	if p := NewPlan([]Users{{london, 1}}, sites, cities, 2); len(p.Additions) != 0 {
		t.Errorf("users beside their site need %+v", p.Additions)
	}
}
