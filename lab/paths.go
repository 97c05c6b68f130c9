package lab

import (
	"hash/fnv"
	"io"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"perto"
)

// End is one end of a path: its place and its access line.
type End struct {
	Place    perto.Place
	Site     string        // ends of one site (a PoP) are next to each other
	LastMile time.Duration // delay of its access line, for a round trip
	Loss     float64       // share of packets lost on its access line, 0..1
}

// Paths is the model for the delay and the loss of packets (docs/rationale.md, "The
// lab's delays"). Over d kilometres of great circle a round trip takes
//
//	4 ms + U(0,3) ms + 2 d f L / 200 km/ms + the last miles
//
// where f is the mean path inflation of the two countries and L is a lognormal factor
// of the pair. One pair in 25 has a detour. All random draws depend only on the seed
// and the two places, so a run can be repeated.
type Paths struct {
	Seed uint64
	// LongWay is the share of pairs of places that have a path with a detour of 20
	// to 110 ms, 0..1.
	LongWay float64

	mu  sync.Mutex
	rtt map[[2]endKey]time.Duration
}

// longWayShare is the share of pairs that have a path with a detour.
const longWayShare = 0.04

// NewPaths returns the model with the parameters of the lab.
func NewPaths(seed uint64) *Paths { return &Paths{Seed: seed, LongWay: longWayShare} }

type endKey struct {
	lat, lon float64
	site     string
	last     time.Duration
}

// Parameters of the model, fitted to published end-user mapping figures
// (F. Chen, R. Sitaraman, M. Torres, "End-User Mapping", SIGCOMM 2015).
const (
	pathBase       = 4 * time.Millisecond
	pathJitter     = 3 * time.Millisecond
	pathSigma      = 0.22
	sameSiteRTT    = 200 * time.Microsecond
	detourMin      = 20 * time.Millisecond
	detourMax      = 110 * time.Millisecond
	lastMileMedian = 38 * time.Millisecond
	lastMileSigma  = 0.7
	lastMileFar    = 1.9 // where paths are inflated by more than 1.5
)

// RTT returns the round-trip time between two ends. It is symmetric.
func (p *Paths) RTT(a, b End) time.Duration {
	key := [2]endKey{keyOf(a), keyOf(b)}
	p.mu.Lock()
	defer p.mu.Unlock()
	if rtt, ok := p.rtt[key]; ok {
		return rtt
	}
	rtt := p.compute(a, b)
	if p.rtt == nil {
		p.rtt = make(map[[2]endKey]time.Duration)
	}
	p.rtt[key] = rtt
	p.rtt[[2]endKey{key[1], key[0]}] = rtt
	return rtt
}

func keyOf(e End) endKey { return endKey{e.Place.Lat, e.Place.Lon, e.Site, e.LastMile} }

func (p *Paths) compute(a, b End) time.Duration {
	last := a.LastMile + b.LastMile
	if a.Site != "" && a.Site == b.Site {
		return sameSiteRTT + last
	}
	draw := p.draws(a.Place, b.Place)
	f := (inflation(a.Place.Country) + inflation(b.Place.Country)) / 2
	factor := math.Exp(pathSigma * draw.NormFloat64())
	km := a.Place.DistanceKm(b.Place)
	rtt := pathBase + time.Duration(draw.Float64()*float64(pathJitter))
	rtt += time.Duration(2 * km * f * factor / perto.FibreKmPerMs * float64(time.Millisecond))
	if draw.Float64() < p.LongWay && km > 0 {
		rtt += detourMin + time.Duration(draw.Float64()*float64(detourMax-detourMin))
	}
	return rtt + last
}

// draws returns a source of random numbers for an unordered pair of places.
func (p *Paths) draws(a, b perto.Place) *rand.Rand {
	x, y := placeHash(a), placeHash(b)
	return rand.New(rand.NewPCG(p.Seed^(x+y), x^y))
}

func placeHash(pl perto.Place) uint64 {
	h := fnv.New64a()
	io.WriteString(h, perto.Place{Lat: pl.Lat, Lon: pl.Lon}.String())
	return h.Sum64()
}

// Lost draws whether a packet between two ends is lost.
func (p *Paths) Lost(a, b End) bool {
	loss := a.Loss + b.Loss
	return loss > 0 && rand.Float64() < loss
}

// DrawLastMile returns the delay of a client's access line, drawn by its name.
func (p *Paths) DrawLastMile(name, country string) time.Duration {
	h := fnv.New64a()
	io.WriteString(h, name)
	draw := rand.New(rand.NewPCG(p.Seed, h.Sum64()))
	ms := float64(lastMileMedian) * math.Exp(lastMileSigma*draw.NormFloat64())
	if inflation(country) > inflationDeveloped {
		ms *= lastMileFar
	}
	return time.Duration(ms)
}

// The mean path inflation over the great circle, by the density of a country's
// networks.
const (
	inflationDeveloped = 1.5
	inflationMiddle    = 2.3
	inflationElse      = 2.5
)

func inflation(country string) float64 {
	switch country {
	case "US", "CA", "GB", "IE", "DE", "FR", "NL", "BE", "LU", "CH", "AT", "DK", "SE", "NO", "FI", "IS", "ES", "PT", "IT",
		"CZ", "PL", "HU", "SK", "SI", "EE", "LV", "LT", "GR", "JP", "KR", "SG", "HK", "TW", "AU", "NZ", "IL", "AE", "QA":
		return inflationDeveloped
	case "BR", "MX", "AR", "CL", "UY", "CO", "PE", "CR", "PA", "ZA", "TR", "RU", "UA", "RO", "BG", "RS", "HR", "CN", "IN",
		"MY", "TH", "ID", "PH", "VN", "SA", "KZ", "MA", "TN", "EG", "KE":
		return inflationMiddle
	}
	return inflationElse
}
