package mapping

import (
	"cmp"
	"math"
	"slices"
	"time"

	"perto"
)

// ranked is one PoP in the ranking of a class.
type ranked struct {
	rtt  uint32 // in microseconds, from the first cell of the class, or from its middle
	site uint16 // index into Map.Sites
	band uint8  // 0 is the best; PoPs of one band are equally good
}

// time returns the round-trip time.
func (r ranked) time() time.Duration { return time.Duration(r.rtt) * time.Microsecond }

// before reports whether a PoP comes before another in a ranking.
func (r ranked) before(s ranked) bool { return r.rtt < s.rtt || r.rtt == s.rtt && r.site < s.site }

// newRanked returns a PoP without its band.
func newRanked(site uint16, rtt time.Duration) ranked {
	return ranked{site: site, rtt: uint32(min(max(0, rtt/time.Microsecond), math.MaxUint32))}
}

// maxBands bounds the band number. All PoPs beyond are in the last band.
const maxBands = 255

// bandWidth returns how much longer the RTT of a PoP may be for it to count as equally
// good: 5 ms or 10 %, whichever is more. The jitter of the last mile hides smaller
// differences.
func bandWidth(head time.Duration) time.Duration {
	return max(5*time.Millisecond, head/10)
}

// rankSites sorts sites by their round-trip times and divides them into bands. row has
// the times of all sites.
func rankSites(row []time.Duration, sites []uint16) []ranked {
	out := make([]ranked, len(sites))
	for i, s := range sites {
		out[i] = newRanked(s, row[s])
	}
	sortRanked(out)
	band(out)
	return out
}

// rankHead appends the first n entries of rankSites to out, without sorting the rest.
func rankHead(out []ranked, row []time.Duration, sites []uint16, n int) []ranked {
	start := len(out)
	for _, s := range sites {
		r := newRanked(s, row[s])
		if len(out)-start == n {
			if !r.before(out[len(out)-1]) {
				continue
			}
			out = out[:len(out)-1]
		}
		out = append(out, r)
		for i := len(out) - 1; i > start && r.before(out[i-1]); i-- {
			out[i-1], out[i] = out[i], out[i-1]
		}
	}
	band(out[start:])
	return out
}

// radixBits is the size of a digit of sortRanked, and radixLeast the shortest list that
// is worth the clearing of its counters.
const (
	radixBits  = 10
	radixLeast = 128
)

// sortRanked sorts a ranking. A long list with times below 1 s is sorted by two digits of
// its times, which keeps the order of equal ones.
func sortRanked(list []ranked) {
	most := uint32(0)
	ordered := true
	for i, r := range list {
		most = max(most, r.rtt)
		ordered = ordered && (i == 0 || list[i-1].site < r.site)
	}
	if len(list) < radixLeast || most >= 1<<(2*radixBits) || !ordered {
		slices.SortFunc(list, func(a, b ranked) int {
			return cmp.Or(cmp.Compare(a.rtt, b.rtt), cmp.Compare(a.site, b.site))
		})
		return
	}
	from, to := list, make([]ranked, len(list))
	for shift := 0; shift < 2*radixBits; shift += radixBits {
		var at [1 << radixBits]uint32
		for _, r := range from {
			at[r.rtt>>shift%(1<<radixBits)]++
		}
		next := uint32(0)
		for i, n := range at {
			at[i] = next
			next += n
		}
		for _, r := range from {
			digit := r.rtt >> shift % (1 << radixBits)
			to[at[digit]] = r
			at[digit]++
		}
		from, to = to, from
	}
}

// band numbers the bands of a sorted ranking.
func band(list []ranked) {
	var most time.Duration // of the band
	var b uint8
	for i := range list {
		rtt := list[i].time()
		if i == 0 || rtt > most && b < maxBands {
			if i > 0 {
				b++
			}
			most = rtt + bandWidth(rtt)
		}
		list[i].band = b
	}
}

// rankDepth is how many PoPs at the head of a ranking identify a class. Networks with
// the same three nearest PoPs in the same order and bands get the same answers. The
// rest of the ranking is computed from the class's middle. Three keeps fail-over exact
// for the loss of any two PoPs, and the number of classes low (docs/rationale.md).
const rankDepth = 3

// classKey identifies a class: the fence that applies, and the head of the ranking.
type classKey struct {
	fence uint16 // index+1 into the fences of the country; 0: none
	site  [rankDepth]uint16
	band  [rankDepth]uint8
	n     uint8
}

func keyOf(fence uint16, list []ranked) classKey {
	k := classKey{fence: fence, n: uint8(min(len(list), rankDepth))}
	for i := range k.n {
		k.site[i], k.band[i] = list[i].site, list[i].band
	}
	return k
}

// vector is a point on the unit sphere, for means of places.
type vector [3]float64

func toVector(p perto.Place) vector {
	const rad = math.Pi / 180
	sinLat, cosLat := math.Sincos(p.Lat * rad)
	sinLon, cosLon := math.Sincos(p.Lon * rad)
	return vector{cosLat * cosLon, cosLat * sinLon, sinLat}
}

func (v vector) place() perto.Place {
	const deg = 180 / math.Pi
	return perto.Place{Lat: math.Atan2(v[2], math.Hypot(v[0], v[1])) * deg, Lon: math.Atan2(v[1], v[0]) * deg}
}
