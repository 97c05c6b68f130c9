package mapping

import (
	"math"
	"time"

	"perto"
	"perto/geodata"
	"perto/replicas"
)

// Clients are clients that a map treats alike: a cell, or the middle of a class.
type Clients struct {
	Cell  geodata.Cell // 0 when they are no single cell
	Place perto.Place
}

// RTT is a source of round-trip times to the sites of a map. It writes the times from
// clients to all sites into row, in the order of the sites. Rankings count whole
// microseconds. It must be safe for concurrent use.
type RTT func(row []time.Duration, from Clients)

// Source makes the RTT of a map. Rankings, explanations and the class of unknown
// addresses read one source, so that a measured time replaces an estimate everywhere.
type Source func(sites []replicas.Site) RTT

// PriorRTT is the source without measurements. It estimates from the great circle
// ([perto.PriorRTT]), rounded to microseconds. One is the time for 60 m.
func PriorRTT(sites []replicas.Site) RTT {
	at := make([]vector, len(sites))
	for i := range sites {
		at[i] = toVector(sites[i].Place)
	}
	// The estimate is linear in the angle between two places.
	fixed := float64(perto.PriorRTT(0) / time.Microsecond)
	slope := float64((perto.PriorRTT(perto.EarthRadiusKm) - perto.PriorRTT(0)) / time.Microsecond)
	return func(row []time.Duration, from Clients) {
		v := toVector(from.Place)
		for i := range row {
			w := &at[i]
			x, y, z := v[0]-w[0], v[1]-w[1], v[2]-w[2]
			angle := 2 * asin(math.Sqrt(x*x+y*y+z*z)/2)
			row[i] = time.Duration(fixed+slope*angle+0.5) * time.Microsecond
		}
	}
}

// asin is the arc sine of 0..1. Its error is below 2e-8, which is 13 cm on the ground
// (Abramowitz and Stegun, Handbook of Mathematical Functions, 4.4.46). A map calls it for
// each site and each cell, and it takes a fifth of the time of math.Asin.
func asin(x float64) float64 {
	p := 1.5707963050 + x*(-0.2145988016+x*(0.0889789874+x*(-0.0501743046+x*(0.0308918810+x*(-0.0170881256+x*(0.0066700901-x*0.0012624911))))))
	return math.Pi/2 - math.Sqrt(max(0, 1-x))*p
}
