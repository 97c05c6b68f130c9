package mapping

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"perto"
	"perto/geodata"
	"perto/replicas"
)

func TestCostRoundsAndSaturates(t *testing.T) {
	for _, tt := range []struct {
		d, want time.Duration
	}{
		{0, 0}, {-time.Second, 0}, {time.Millisecond, time.Millisecond}, {7 * time.Microsecond, 0},
		{8 * time.Microsecond, 15625 * time.Nanosecond}, {time.Minute, 65535 * CostUnit},
	} {
		if got := CostOf(tt.d).Duration(); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.d, got, tt.want)
		}
	}
}

func TestCostsMeanAndNearest(t *testing.T) {
	c := NewCosts(2, 3)
	copy(c.Row(0), []Cost{10, 20, 30})
	copy(c.Row(1), []Cost{90, 20, 10})
	row := make([]Cost, 3)
	c.Mean(row, []Sample{{0, 1}, {1, 3}}, []uint16{0, 1, 2})
	if row[0] != 70 || row[1] != 20 || row[2] != 15 {
		t.Errorf("the mean is %v, want [70 20 15]", row)
	}
	if got := Nearest(row, []uint16{0, 1}); got != 1 {
		t.Errorf("the nearest of sites 0 and 1 is %d, want 1", got)
	}
	if got := Nearest([]Cost{5, 5}, []uint16{1, 0}); got != 1 {
		t.Errorf("of equal sites the nearest is %d, want the first, 1", got)
	}
}

// TestPriorIsThatOfTheGreatCircle compares the fast form with perto.PriorRTT.
func TestPriorIsThatOfTheGreatCircle(t *testing.T) {
	geo := world(t)
	var sites []replicas.Site
	for cell := 1; cell < geo.NumCells(); cell += 97 {
		sites = append(sites, replicas.Site{Place: geo.Place(geodata.Cell(cell))})
	}
	// The other side of the earth is where the series for the angle ends.
	p := sites[0].Place
	sites = append(sites, replicas.Site{Place: perto.Place{Lat: -p.Lat, Lon: p.Lon + 180}})
	rtt, row := PriorRTT(sites), make([]time.Duration, len(sites))
	for cell := 1; cell < geo.NumCells(); cell += 101 {
		place := geo.Place(geodata.Cell(cell))
		rtt(row, Clients{geodata.Cell(cell), place})
		for i, got := range row {
			if want := perto.PriorRTT(place.DistanceKm(sites[i].Place)); (got - want).Abs() > 2*time.Microsecond {
				t.Fatalf("%s to %s: got %s, want %s", place, sites[i].Place, got, want)
			}
		}
	}
}

// TestRankHeadIsTheHead compares both kinds of ranking with a simple sort, for short and
// long lists, with equal times, and with times that the radix sort does not take.
func TestRankHeadIsTheHead(t *testing.T) {
	draw := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{1, 2, 3, 100, 128, 1000} {
		for _, most := range []int64{10, 300_000, 5_000_000} {
			row, sites := make([]time.Duration, n), make([]uint16, 0, n)
			for i := range row {
				row[i] = time.Duration(draw.Int64N(most)) * time.Microsecond
				if i == 0 || draw.IntN(10) > 0 {
					sites = append(sites, uint16(i))
				}
			}
			got := rankSites(row, sites)
			want := slices.SortedStableFunc(slices.Values(sites), func(a, b uint16) int { return cmp.Compare(row[a], row[b]) })
			for i, r := range got {
				if r.site != want[i] || r.time() != row[want[i]] || i > 0 && r.band < got[i-1].band {
					t.Fatalf("%d sites below %d us: entry %d is %+v, want site %d", n, most, i, r, want[i])
				}
			}
			if head := rankHead(nil, row, sites, 8); !slices.Equal(head, got[:min(8, len(got))]) {
				t.Errorf("%d sites below %d us: the head is %v, want %v", n, most, head, got[:min(8, len(got))])
			}
		}
	}
}
