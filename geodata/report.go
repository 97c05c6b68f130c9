package geodata

import (
	"fmt"
	"strings"

	"perto/internal/lpm"
)

// Report states how compiling changed the data. Errors are distances between an
// address's place in the source and its place in the map. They are weighted over the
// whole source: IPv4 by addresses, IPv6 by the length of the prefix. (The source's own
// error is larger than most of them.)
type Report struct {
	Source    string       `json:"source"`
	Locations int          `json:"locations"` // distinct points in the source
	Cells     int          `json:"cells"`
	Countries int          `json:"countries"`
	IPv4      FamilyReport `json:"ipv4"`
	IPv6      FamilyReport `json:"ipv6"`
	Bytes     int          `json:"bytes"` // of the compiled file, when one was written
}

// FamilyReport is the part of a [Report] about one address family. Shares are of the
// weight, 0..1.
type FamilyReport struct {
	Networks     int     `json:"networks"`
	Skipped      int     `json:"skipped"` // networks without usable coordinates
	Ranges       int     `json:"ranges"`
	MeanKm       float64 `json:"mean_km"`
	P50Km        float64 `json:"p50_km"`
	P90Km        float64 `json:"p90_km"`
	P99Km        float64 `json:"p99_km"`
	P999Km       float64 `json:"p999_km"`
	Over100Km    float64 `json:"over_100_km"`
	Over1000Km   float64 `json:"over_1000_km"`
	WrongCountry float64 `json:"wrong_country"`
}

// String returns the report as a table for people.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d locations in %d countries -> %d cells", r.Source, r.Locations, r.Countries, r.Cells)
	if r.Bytes > 0 {
		fmt.Fprintf(&b, ", %.2f MB", float64(r.Bytes)/1e6)
	}
	b.WriteString("\n      networks    ranges  error km: mean    p50    p90    p99  p99.9   >100km  >1000km  wrong country\n")
	for i, f := range []FamilyReport{r.IPv4, r.IPv6} {
		fmt.Fprintf(&b, "IPv%d  %8d  %8d  %14.1f %6.1f %6.1f %6.1f %6.1f  %6.3f%%  %6.3f%%  %12.3f%%\n", 4+2*i, f.Networks, f.Ranges,
			f.MeanKm, f.P50Km, f.P90Km, f.P99Km, f.P999Km, 100*f.Over100Km, 100*f.Over1000Km, 100*f.WrongCountry)
	}
	return b.String()
}

// histogramStepKm is the resolution of the quantiles in a report.
const histogramStepKm = 0.1

// reportFamily compares a map with its source.
func reportFamily(s *source, m *Map, family int) FamilyReport {
	r := FamilyReport{Skipped: s.skipped[family]}
	at := make([]vec, m.NumCells())
	for c := range at {
		at[c] = vecOf(m.places[c].Lat, m.places[c].Lon)
	}
	histogram := make([]float64, int(20100/histogramStepKm)) // half the equator is 20,015 km
	total := 0.0
	for _, n := range s.networks[family] {
		if n.loc == unknownLocation {
			continue
		}
		r.Networks++
		l, w := &s.locations[n.loc], n.weight(family)
		cell := m.cellOf(n, family)
		km := l.at.km(at[cell])
		total += w
		histogram[int(km/histogramStepKm)] += w
		r.MeanKm += km * w
		if km > 100 {
			r.Over100Km += w
		}
		if km > 1000 {
			r.Over1000Km += w
		}
		if m.places[cell].Country != s.countries[l.country] {
			r.WrongCountry += w
		}
	}
	if total == 0 {
		return r
	}
	for _, p := range []*float64{&r.MeanKm, &r.Over100Km, &r.Over1000Km, &r.WrongCountry} {
		*p /= total
	}
	quantile := func(q float64) float64 {
		sum := 0.0
		for i, w := range histogram {
			if sum += w; sum >= q*total {
				return float64(i) * histogramStepKm
			}
		}
		return float64(len(histogram)) * histogramStepKm
	}
	r.P50Km, r.P90Km, r.P99Km, r.P999Km = quantile(.5), quantile(.9), quantile(.99), quantile(.999)
	return r
}

// cellOf looks up a network's first address.
func (m *Map) cellOf(n network, family int) Cell {
	if family == family4 {
		return m.v4.At(uint32(n.key >> (64 - lpm.Bits4)))
	}
	return m.v6.At(n.key >> (64 - lpm.Bits6))
}
