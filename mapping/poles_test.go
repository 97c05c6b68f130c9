package mapping

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"perto"
	"perto/geodata"
	"perto/replicas"
)

// TestPolesAndAntimeridian draws PoPs at the edges of the coordinates: at the poles,
// where all longitudes are one point, and on both sides of the antimeridian. The first
// PoP of each cell must be the nearest by the angle between unit vectors. Between equal
// points, the order of names decides.
func TestPolesAndAntimeridian(t *testing.T) {
	geo := world(t)
	for seed := range uint64(2) {
		rng := rand.New(rand.NewPCG(seed, 4))
		var sites []replicas.Site
		for i := range 3 + rng.IntN(6) {
			p := perto.Place{Lat: rng.Float64()*180 - 90, Lon: rng.Float64()*360 - 180}
			switch rng.IntN(4) {
			case 0:
				p.Lat = 90 - 180*float64(rng.IntN(2))
			case 1:
				p.Lon = 180 - 360*float64(rng.IntN(2))
			case 2:
				p.Lon = math.Copysign(180-rng.Float64()/100, rng.Float64()-0.5)
			}
			sites = append(sites, replicas.Site{Name: perto.PoP(fmt.Sprintf("p%d", i)), Place: p})
		}
		p := standardPolicy()
		p.ScopeRegret = time.Duration(seed%2) * time.Millisecond
		m, err := NewMap(geo, sites, p)
		if err != nil {
			t.Fatal(err)
		}
		row := make([]time.Duration, len(m.Sites))
		for range 1000 {
			at := geo.Place(geodata.Cell(1 + rng.IntN(geo.NumCells()-1)))
			m.rtt(row, Clients{Place: at})
			list := rankSites(row, m.allowed()[0])
			for i := range list {
				if want := 4 + 2*1.6*angleKm(at, m.Sites[list[i].site].Place)/perto.FibreKmPerMs; math.Abs(float64(list[i].rtt)/1e3-want) > 0.01 {
					t.Fatalf("seed %d: %s to %s: RTT %v, want %.3f ms", seed, at, m.Sites[list[i].site].Place, list[i].rtt, want)
				}
				if i > 0 && (list[i].rtt < list[i-1].rtt || list[i].rtt == list[i-1].rtt && list[i].site < list[i-1].site) {
					t.Fatalf("seed %d: %s: the ranking is out of order", seed, at)
				}
			}
		}
		for c := range m.classes {
			if mid := m.classes[c].middle; math.IsNaN(mid.Lat+mid.Lon) || math.Abs(mid.Lat) > 90 || math.Abs(mid.Lon) > 180 {
				t.Fatalf("seed %d: class %d has its middle at %v", seed, c, mid)
			}
		}
	}
}

// angleKm is the great-circle distance by the angle between unit vectors.
func angleKm(a, b perto.Place) float64 {
	x, y := toVector(a), toVector(b)
	cross := vector{x[1]*y[2] - x[2]*y[1], x[2]*y[0] - x[0]*y[2], x[0]*y[1] - x[1]*y[0]}
	dot := x[0]*y[0] + x[1]*y[1] + x[2]*y[2]
	return perto.EarthRadiusKm * math.Atan2(math.Sqrt(cross[0]*cross[0]+cross[1]*cross[1]+cross[2]*cross[2]), dot)
}
