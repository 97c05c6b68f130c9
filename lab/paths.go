package lab

import (
	"hash/fnv"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"perto"
	"perto/lab/model"
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

// NewPaths returns the model with the parameters of the lab.
func NewPaths(seed uint64) *Paths { return &Paths{Seed: seed, LongWay: model.DetourShare} }

type endKey struct {
	lat, lon float64
	site     string
	last     time.Duration
}

// sameSiteRTT is the delay between two ends of one site.
const sameSiteRTT = 200 * time.Microsecond

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
	f := (model.Inflation(a.Place.Country) + model.Inflation(b.Place.Country)) / 2
	factor := model.Factor(draw.NormFloat64())
	km := a.Place.DistanceKm(b.Place)
	rtt := model.PathBase + time.Duration(draw.Float64()*float64(model.PathJitter))
	rtt += model.RoundTrip(km, f, factor)
	if draw.Float64() < p.LongWay && km > 0 {
		rtt += model.Detour(draw.Float64())
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
	return model.LastMile(draw.NormFloat64(), country)
}
