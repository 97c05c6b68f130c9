package model

import (
	"math"

	"perto"
)

// vector is a point on the unit sphere. It makes distances cheap.
type vector [3]float64

func vectorOf(p perto.Place) vector {
	const rad = math.Pi / 180
	sinLat, cosLat := math.Sincos(p.Lat * rad)
	sinLon, cosLon := math.Sincos(p.Lon * rad)
	return vector{cosLat * cosLon, cosLat * sinLon, sinLat}
}

// chord returns the straight distance of two points.
func (v vector) chord(w vector) float64 {
	x, y, z := v[0]-w[0], v[1]-w[1], v[2]-w[2]
	return math.Sqrt(x*x + y*y + z*z)
}

// km returns the great-circle distance.
func (v vector) km(w vector) float64 {
	return 2 * perto.EarthRadiusKm * math.Asin(min(1, v.chord(w)/2))
}

// chord returns the chord of a great-circle distance.
func chord(km float64) float64 { return 2 * math.Sin(km/perto.EarthRadiusKm/2) }

// place returns the place in the direction of a vector.
func (v vector) place() perto.Place {
	const deg = 180 / math.Pi
	return perto.Place{Lat: math.Atan2(v[2], math.Hypot(v[0], v[1])) * deg, Lon: math.Atan2(v[1], v[0]) * deg}
}
