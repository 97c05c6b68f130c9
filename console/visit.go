package console

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"
)

// Visit is one fetch from a vantage. All times are in milliseconds.
type Visit struct {
	Vantage   string  `json:"vantage"`
	URL       string  `json:"url"`
	Edge      string  `json:"edge"`
	Status    int     `json:"status"`
	Bytes     int64   `json:"bytes"`
	Cache     string  `json:"cache"` // Cache-Status (RFC 9211)
	DNS       float64 `json:"dns_ms"`
	Connect   float64 `json:"connect_ms"`
	FirstByte float64 `json:"first_byte_ms"` // after the request was sent
	Total     float64 `json:"total_ms"`
	Error     string  `json:"error,omitempty"`
}

// Hit reports whether the edge replied from its cache. The last member of Cache-Status
// is that of the edge.
func (v *Visit) Hit() bool {
	members := strings.Split(v.Cache, ",")
	for p := range strings.SplitSeq(members[len(members)-1], ";") {
		if strings.TrimSpace(p) == "hit" {
			return true
		}
	}
	return false
}

// Verdict is HIT, MISS, or a dash for a reply without Cache-Status.
func (v *Visit) Verdict() string {
	switch {
	case v.Error != "":
		return "FAILED"
	case v.Cache == "":
		return "–"
	case v.Hit():
		return "HIT"
	}
	return "MISS"
}

// Bar is a part of a waterfall, in percent of its width.
type Bar struct {
	Class    string
	Text     string
	X, Width float64
}

// bars divides a visit into its steps. full is the time in ms that fills the width.
func (v *Visit) bars(full float64) (out []Bar) {
	x := 0.0
	for _, part := range []struct {
		class, text string
		ms          float64
	}{{"dns", "DNS", v.DNS}, {"connect", "connect", v.Connect}, {"wait", "first byte", v.FirstByte}, {"body", "body", v.Total - v.DNS - v.Connect - v.FirstByte}} {
		ms := max(0, part.ms)
		if width := 100 * ms / full; width > 0 {
			out = append(out, Bar{part.class, fmt.Sprintf("%s %.0f ms", part.text, ms), round2(x), round2(width)})
			x += width
		}
	}
	return out
}

func round2(x float64) float64 { return math.Round(100*x) / 100 }

// CityVisits are the visits of one vantage, in their order.
type CityVisits struct {
	Vantage *Vantage
	Visits  []*Visit
}

// Row is a visit with its waterfall.
type Row struct {
	*Visit
	Vantage *Vantage
	Nth     string // "first", "second", or "" when there is only one
	Bars    []Bar
}

// maxCities is the number of cities from which a page loads the site.
const maxCities = 6

// visitAll loads a URL from vantages concurrently. With again, each vantage loads it a
// second time, with the name in its cache.
func (c *Console) visitAll(ctx context.Context, list []*Vantage, url string, again bool) []Row {
	all := make([]CityVisits, len(list))
	var wg sync.WaitGroup
	for i, v := range list {
		wg.Go(func() {
			all[i].Vantage = v
			for turn := range 2 {
				if turn == 1 && !again {
					break
				}
				all[i].Visits = append(all[i].Visits, c.visit(ctx, v.Name, url, turn == 1))
			}
		})
	}
	wg.Wait()
	full := 1.0
	for _, city := range all {
		for _, v := range city.Visits {
			full = max(full, v.Total)
		}
	}
	var rows []Row
	for _, city := range all {
		for i, v := range city.Visits {
			r := Row{Visit: v, Vantage: city.Vantage, Bars: v.bars(full)}
			if again {
				r.Nth = []string{"first", "second"}[i]
			}
			rows = append(rows, r)
		}
	}
	return rows
}

// visit loads a URL once. A failure is in the visit's Error.
func (c *Console) visit(ctx context.Context, vantage, url string, remember bool) *Visit {
	v, err := c.cfg.Visit(ctx, vantage, url, remember)
	if err != nil {
		return &Visit{Vantage: vantage, URL: url, Error: err.Error()}
	}
	return v
}

// cities returns vantages that are far from each other. It starts with the first one,
// and then adds the vantage that is farthest from all chosen ones.
func cities(list []Vantage) []*Vantage {
	if len(list) == 0 {
		return nil
	}
	chosen := []*Vantage{&list[0]}
	near := make([]float64, len(list)) // distance from each to the nearest chosen one, in km
	for i := range list {
		near[i] = list[i].Place.DistanceKm(list[0].Place)
	}
	for len(chosen) < min(maxCities, len(list)) {
		best := -1
		for i := range list {
			if !slices.Contains(chosen, &list[i]) && (best < 0 || near[i] > near[best]) {
				best = i
			}
		}
		chosen = append(chosen, &list[best])
		for i := range list {
			near[i] = min(near[i], list[i].Place.DistanceKm(list[best].Place))
		}
	}
	return chosen
}

// Visits records the first bytes that vantages waited for, and it may be used by several
// goroutines. The zero value is ready.
type Visits struct {
	mu      sync.Mutex
	pending []float64            // since the last take, in ms
	last    map[string][]float64 // of each vantage, oldest first, in ms
}

// keptVisits is the number of visits that are kept of each vantage.
const keptVisits = 120

// Add records the wait of a vantage, from the start of the visit to the first byte.
func (v *Visits) Add(vantage string, wait time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	ms := float64(wait.Microseconds()) / 1000
	v.pending = append(v.pending, ms)
	if v.last == nil {
		v.last = make(map[string][]float64)
	}
	list := append(v.last[vantage], ms)
	v.last[vantage] = list[max(0, len(list)-keptVisits):]
}

// take returns the median of the waits since the last call, or 0 without a visit.
func (v *Visits) take() float64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	list := v.pending
	v.pending = nil
	if len(list) == 0 {
		return 0
	}
	slices.Sort(list)
	return list[len(list)/2]
}

// of returns the last waits of a vantage, oldest first, in ms.
func (v *Visits) of(vantage string) []float64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.last[vantage])
}
