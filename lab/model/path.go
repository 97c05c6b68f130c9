package model

import (
	"math"
	"time"

	"perto"
)

// Parameters of a path's delay, fitted to the figures of the End-User Mapping paper.
const (
	PathBase       = 4 * time.Millisecond // of every path, for its two ends
	PathJitter     = 3 * time.Millisecond // most of the random delay that is added to it
	PathSigma      = 0.22                 // of the lognormal factor of a path's length
	DetourShare    = 0.04                 // of the paths
	DetourMin      = 20 * time.Millisecond
	DetourMax      = 110 * time.Millisecond
	LastMileMedian = 38 * time.Millisecond
	LastMileSigma  = 0.7
	LastMileFar    = 1.9 // factor where paths are inflated by more than 1.5
)

// RoundTrip returns the delay of a path over km of great circle without its base. f is
// the mean inflation of both ends, and factor the lognormal factor of the path.
func RoundTrip(km, f, factor float64) time.Duration {
	return time.Duration(2 * km * f * factor / perto.FibreKmPerMs * float64(time.Millisecond))
}

// Factor returns the factor of a path for a normally distributed draw.
func Factor(normal float64) float64 { return math.Exp(PathSigma * normal) }

// Detour returns the delay of a detour for a draw of 0..1.
func Detour(uniform float64) time.Duration {
	return DetourMin + time.Duration(uniform*float64(DetourMax-DetourMin))
}

// LastMile returns the delay of a client's access line for a normally distributed draw.
func LastMile(normal float64, country string) time.Duration {
	ms := float64(LastMileMedian) * math.Exp(LastMileSigma*normal)
	if Inflation(country) > inflationDeveloped {
		ms *= LastMileFar
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

// Inflation returns the mean ratio of paths to the great circle in a country.
func Inflation(country string) float64 {
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
