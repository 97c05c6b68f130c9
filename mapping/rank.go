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
	site uint16        // index into Map.Sites
	band uint8         // 0 is the best; PoPs of one band are equally good
	rtt  time.Duration // from the first cell of the class, or from its middle
}

// maxBands bounds the band number. All PoPs beyond are in the last band.
const maxBands = 255

// bandWidth returns how much longer the RTT of a PoP may be for it to count as equally
// good: 5 ms or 10 %, whichever is more. The jitter of the last mile hides smaller
// differences.
func bandWidth(head time.Duration) time.Duration {
	return max(5*time.Millisecond, head/10)
}

// rankSites sorts the allowed sites by their round-trip times and divides them into
// bands. allowed is nil for all.
func rankSites(rtt []time.Duration, allowed func(i int) bool) []ranked {
	out := make([]ranked, 0, len(rtt))
	for i, d := range rtt {
		if allowed == nil || allowed(i) {
			out = append(out, ranked{site: uint16(i), rtt: d})
		}
	}
	slices.SortFunc(out, func(a, b ranked) int {
		return cmp.Or(cmp.Compare(a.rtt, b.rtt), cmp.Compare(a.site, b.site))
	})
	band(out)
	return out
}

// band numbers the bands of a sorted ranking.
func band(list []ranked) {
	var head time.Duration
	var b uint8
	for i := range list {
		switch {
		case i == 0:
			head = list[i].rtt
		case list[i].rtt > head+bandWidth(head) && b < maxBands:
			b++
			head = list[i].rtt
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
