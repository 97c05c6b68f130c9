package geodata

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"sort"

	"perto"
)

// Sampled is an address with its coordinates and country in the source.
type Sampled struct {
	Addr  netip.Addr
	Place perto.Place
}

// Sample draws n addresses of each family from city databases. It draws networks by
// weight as in [Report], and addresses uniformly inside them. Equal arguments give
// equal results.
func Sample(files []string, n int, seed uint64) ([]Sampled, error) {
	s, err := readSource(files)
	if err != nil {
		return nil, err
	}
	rng := rand.New(rand.NewPCG(seed, 0))
	var out []Sampled
	for f := range numFamilies {
		nets := s.networks[f]
		sums := make([]float64, len(nets)) // cumulative weights
		total := 0.0
		for i, m := range nets {
			if m.loc >= 0 {
				total += m.weight(f)
			}
			sums[i] = total
		}
		for i := 0; i < n && total > 0; i++ {
			at := rng.Float64() * total
			m := nets[sort.Search(len(sums)-1, func(k int) bool { return sums[k] > at })]
			l := s.locations[m.loc]
			out = append(out, Sampled{m.random(f, rng), perto.Place{Country: s.countries[l.country], Lat: l.lat, Lon: l.lon}})
		}
	}
	return out, nil
}

// random returns an address of the network.
func (n network) random(family int, rng *rand.Rand) netip.Addr {
	var b [16]byte
	p := n.prefix(family)
	if family == family4 {
		u := uint32(n.key>>32) | rng.Uint32()&uint32(uint64(1)<<(32-p.Bits())-1)
		return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, u)))
	}
	high := n.key
	if p.Bits() < 64 {
		high |= rng.Uint64() & (1<<(64-p.Bits()) - 1)
	}
	binary.BigEndian.PutUint64(b[:], high)
	binary.BigEndian.PutUint64(b[8:], rng.Uint64())
	return netip.AddrFrom16(b)
}
