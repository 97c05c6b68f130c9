package perto

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// EarthRadiusKm is the mean radius of the earth in kilometres (IUGG R1).
const EarthRadiusKm = 6371.0

// Place is a point on the globe with its usual names.
type Place struct {
	Name    string  `json:"name"`    // city in its usual spelling ("São Paulo")
	Region  string  `json:"region"`  // first-level division code ("SP"), may be empty
	Country string  `json:"country"` // ISO 3166-1 alpha-2, upper case ("BR"), may be empty
	Lat     float64 `json:"lat"`     // degrees north, -90..90
	Lon     float64 `json:"lon"`     // degrees east, -180..180
}

// String returns the place in the form of the configuration. It leaves out numeric
// region codes because readers cannot interpret them.
func (p Place) String() string {
	switch {
	case p.Name == "":
		return fmt.Sprintf("%.4f,%.4f", p.Lat, p.Lon)
	case p.Region == "" || strings.ContainsAny(p.Region, "0123456789"):
		return p.Name + ", " + p.Country
	}
	return p.Name + ", " + p.Region + ", " + p.Country
}

// DistanceKm returns the great-circle distance between two places in kilometres
// (haversine formula on a sphere of [EarthRadiusKm]). Maps call it for each PoP and each
// cell, so the product of the two cosines is written with the cosine of the sum.
func (p Place) DistanceKm(q Place) float64 {
	const rad = math.Pi / 180
	sinLat, sinLon := math.Sin((q.Lat-p.Lat)*rad/2), math.Sin((q.Lon-p.Lon)*rad/2)
	cosines := (1 - 2*sinLat*sinLat + math.Cos((p.Lat+q.Lat)*rad)) / 2 // cos(p.Lat) cos(q.Lat)
	h := sinLat*sinLat + cosines*sinLon*sinLon
	return 2 * EarthRadiusKm * math.Asin(math.Sqrt(min(1, max(0, h))))
}

// FibreKmPerMs is the distance that light travels in optical fibre in one millisecond:
// about two thirds of its speed in vacuum.
const FibreKmPerMs = 200.0

// PriorRTT estimates the round-trip time over km kilometres of great circle before any
// measurement exists. It adds 4 ms for the two ends to a path 1.6 times the geometric
// length (docs/rationale.md#the-prior).
func PriorRTT(km float64) time.Duration {
	ms := 4 + 2*km*1.6/FibreKmPerMs
	return time.Duration(ms * float64(time.Millisecond))
}
