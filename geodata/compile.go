package geodata

import (
	"fmt"
	"slices"
	"strings"

	"perto"
	"perto/internal/lpm"
)

// Options configures the compiler. The embedded map was made with the zero Options.
type Options struct {
	// RadiusKm is the largest distance of a location from the centre of its cell. 0
	// means [DefaultRadiusKm]. A smaller radius needs more cells. A map can have
	// 65,535.
	RadiusKm float64
	// Lambda4Km and Lambda6Km are the price of a range. A range is kept if, without it,
	// one unit of weight (a /24, or an IPv6 network) would be off by this many km. 0
	// means the defaults, and a negative value keeps every range.
	Lambda4Km, Lambda6Km float64
	// Cities provides the names of cells. When nil, cells have no names.
	Cities *Cities
	// Source replaces the database types in [Info].
	Source string
}

// The defaults of [Options], chosen on DB-IP City Lite of 2026-06: the
// smallest map with p50 <= 1 km and p99 <= 60 km for both families.
const (
	DefaultRadiusKm  = 28
	DefaultLambda4Km = 60
	DefaultLambda6Km = 100
)

func (o Options) withDefaults() (Options, error) {
	for _, f := range []struct {
		v   *float64
		def float64
	}{{&o.RadiusKm, DefaultRadiusKm}, {&o.Lambda4Km, DefaultLambda4Km}, {&o.Lambda6Km, DefaultLambda6Km}} {
		if *f.v == 0 {
			*f.v = f.def
		}
	}
	o.Lambda4Km, o.Lambda6Km = max(0, o.Lambda4Km), max(0, o.Lambda6Km)
	if !(o.RadiusKm >= 1 && o.RadiusKm <= 2000) {
		return o, &perto.Error{Op: "compile geodata", Kind: perto.KindInvalid,
			Err: fmt.Errorf("radius of %g km", o.RadiusKm), Hint: "choose one from 1 to 2000 km"}
	}
	return o, nil
}

// Compile makes a map from city databases in MMDB format: one for both families or one
// for each. It reads the schema of GeoIP2 City, GeoLite2 City and DB-IP City Lite, and
// the flat schema of the ip-location-db packages. Errors are [*perto.Error] with a
// hint. DB-IP's 14.8 million networks take some 8 seconds and 0.7 GB.
func Compile(files []string, o Options) (*Map, Report, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, Report{}, err
	}
	s, err := readSource(files)
	if err != nil {
		return nil, Report{}, err
	}
	cells := coverCells(s, o.RadiusKm)
	leaves := [numFamilies][]leaf{
		prune(s, cells, family4, o.Lambda4Km),
		prune(s, cells, family6, o.Lambda6Km),
	}
	number, places := numberCells(s, cells, leaves, o)
	if len(places) > maxCells {
		return nil, Report{}, &perto.Error{Op: "compile geodata", Path: strings.Join(files, ", "), Kind: perto.KindInvalid,
			Err: fmt.Errorf("%d cells, more than %d", len(places)-1, maxCells-1), Hint: "choose a larger radius"}
	}
	r4 := make([]lpm.Range4[Cell], len(leaves[family4]))
	for i, l := range leaves[family4] {
		r4[i] = lpm.Range4[Cell]{Start: uint32(l.key >> (64 - lpm.Bits4)), Value: number[l.cell+1]}
	}
	r6 := make([]lpm.Range6[Cell], len(leaves[family6]))
	for i, l := range leaves[family6] {
		r6[i] = lpm.Range6[Cell]{Start: l.key >> (64 - lpm.Bits6), Value: number[l.cell+1]}
	}
	info := Info{Source: o.Source, Built: s.built, RadiusKm: o.RadiusKm}
	if info.Source == "" {
		info.Source = strings.Join(s.types, " + ")
	}
	m, err := newMap(info, places, r4, r6)
	if err != nil {
		return nil, Report{}, &perto.Error{Op: "compile geodata", Path: strings.Join(files, ", "), Kind: perto.KindInvalid, Err: err}
	}
	report := Report{Source: info.Source, Locations: len(s.locations), Cells: len(places) - 1,
		IPv4: reportFamily(s, m, family4), IPv6: reportFamily(s, m, family6)}
	report.IPv4.Ranges, report.IPv6.Ranges = len(r4), len(r6)
	countries := make(map[string]bool)
	for _, p := range places[1:] {
		countries[p.Country] = true
	}
	report.Countries = len(countries)
	return m, report, nil
}

// numberCells numbers the cells in use from 1, country by country and by descending
// weight. The numbers of a country then share their high byte, which makes the compiled
// file smaller. number is indexed by cell+1, and unknown is at 0.
func numberCells(s *source, cells cellSet, leaves [numFamilies][]leaf, o Options) (number []Cell, places []perto.Place) {
	used := make([]bool, len(cells.centre)+1)
	for _, ls := range leaves {
		for _, l := range ls {
			used[l.cell+1] = true
		}
	}
	var order []int32
	for c := range cells.centre {
		if used[c+1] {
			order = append(order, int32(c))
		}
	}
	country := func(cell int32) string { return s.countries[s.locations[cells.centre[cell]].country] }
	slices.SortStableFunc(order, func(a, b int32) int { return strings.Compare(country(a), country(b)) })
	number = make([]Cell, len(cells.centre)+1)
	places = make([]perto.Place, 1, len(order)+1)
	for _, c := range order {
		l := &s.locations[cells.centre[c]]
		number[c+1] = Cell(len(places)) // wraps when there are too many, and the caller then returns an error
		p := perto.Place{Country: country(c), Lat: l.lat, Lon: l.lon}
		if o.Cities != nil {
			if city, ok := o.Cities.near(p.Country, l.at, o.RadiusKm); ok {
				p.Name, p.Region = city.Name, city.Region
			}
		}
		places = append(places, p)
	}
	return number, places
}
