package geodata

import (
	"cmp"
	"slices"
)

// cellSet assigns the locations of a source to cells.
type cellSet struct {
	centre []int32 // by cell: the location at its centre
	of     []int32 // by location: its cell
}

// coverCells chooses cells such that each location is at most radiusKm from the centre
// of its cell, in the same country. It visits locations by descending weight. A
// location becomes a centre unless another centre is near. The places with most users
// therefore have no error. Then each location moves to its nearest centre.
func coverCells(s *source, radiusKm float64) cellSet {
	set := cellSet{of: make([]int32, len(s.locations))}
	order := make([]int32, len(s.locations))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(i, j int32) int {
		a, b := &s.locations[i], &s.locations[j]
		return cmp.Or(cmp.Compare(b.weight, a.weight), cmp.Compare(a.country, b.country),
			cmp.Compare(a.lat, b.lat), cmp.Compare(a.lon, b.lon))
	})
	g := newGrid(radiusKm)
	at := func(cell int32) vec { return s.locations[set.centre[cell]].at }
	for _, i := range order {
		l := &s.locations[i]
		cell := g.near(l.country, l.at, radiusKm, at)
		if cell < 0 {
			cell = int32(len(set.centre))
			set.centre = append(set.centre, i)
			g.add(l.country, l.at, cell)
		}
	}
	for i := range s.locations {
		l := &s.locations[i]
		set.of[i] = g.near(l.country, l.at, radiusKm, at)
	}
	return set
}
