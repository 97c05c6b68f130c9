package geodata

import (
	"bytes"
	"cmp"
	"compress/gzip"
	_ "embed"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"

	"perto"
)

// City is a city of at least [MinPopulation] inhabitants.
type City struct {
	perto.Place
	Population int
}

// MinPopulation is the number of inhabitants from which the table has all cities.
const MinPopulation = 15_000

// cityGridKm is the cell width of the spatial index of cities. A search without a
// result within this distance scans all cities.
const cityGridKm = 100

// Cities is the table of the world's cities. It is immutable.
type Cities struct {
	list    []City              // in descending order of population
	folded  []string            // fold(Name), in the order of list
	regions map[string][]region // by country
	// countries are those with a city, numbered from 1.
	countries map[string]uint16
	// byName is the largest city of each folded name, and smaller the next one of the same
	// name by city. Both hold indexes of list; -1 ends a chain.
	byName  map[string]int32
	smaller []int32

	// spatial makes the index at the first call, so that look-ups by name start twice
	// as fast.
	spatial func() *spatialIndex
}

// spatialIndex finds cities by location.
type spatialIndex struct {
	at       []vec // in the order of Cities.list
	grid     *grid // by country
	everyone *grid // all countries under country 0
}

// region is a first-level division of a country.
type region struct {
	code   string // as in ISO 3166-2, without the country
	name   string
	folded string
}

//go:embed cities.tsv.gz
var citiesFile []byte

// LoadCities decodes the table inside the binary (GeoNames, see [CitiesAttribution]).
// It takes some 40 ms: callers should keep the result.
func LoadCities() (*Cities, error) {
	zr, err := gzip.NewReader(bytes.NewReader(citiesFile))
	if err == nil {
		var c *Cities
		if c, err = readCities(zr); err == nil {
			return c, nil
		}
	}
	return nil, &perto.Error{Op: "load cities", Kind: perto.KindInternal, Err: err, Hint: "the binary was built from damaged sources"}
}

// readCities reads lines of tab-separated fields. "R country code name" is a region. "C
// country region name lat lon population" is a city, with coordinates in units of
// coordinateUnit. All regions come first. docs/formats/geodata.md has the details.
func readCities(r io.Reader) (*Cities, error) {
	var all strings.Builder
	if _, err := io.Copy(&all, r); err != nil {
		return nil, err
	}
	c := &Cities{countries: make(map[string]uint16), regions: make(map[string][]region)}
	c.list = make([]City, 0, strings.Count(all.String(), "\nC"))
	n := 0
	for line := range strings.Lines(all.String()) { // names are parts of this one string
		n++
		var fields [7]string
		f := splitTabs(strings.TrimSuffix(line, "\n"), fields[:0])
		switch {
		case len(f) == 4 && f[0] == "R":
			c.regions[f[1]] = append(c.regions[f[1]], region{code: f[2], name: f[3], folded: fold(f[3])})
		case len(f) == 7 && f[0] == "C":
			lat, err1 := strconv.ParseInt(f[4], 10, 32)
			lon, err2 := strconv.ParseInt(f[5], 10, 32)
			pop, err3 := strconv.Atoi(f[6])
			p := perto.Place{Name: f[3], Region: f[2], Country: f[1], Lat: fromUnits(int32(lat)), Lon: fromUnits(int32(lon))}
			if cmp.Or(err1, err2, err3) != nil || !validPoint(p.Lat, p.Lon) || !validCountry(p.Country) {
				return nil, fmt.Errorf("line %d: wrong city %q", n, line)
			}
			c.list = append(c.list, City{p, pop})
		default:
			return nil, fmt.Errorf("line %d: neither region nor city: %q", n, line)
		}
	}
	c.index()
	return c, nil
}

// splitTabs appends the fields of a line, up to the capacity of out and one more.
func splitTabs(line string, out []string) []string {
	for len(out) < cap(out) {
		field, rest, more := strings.Cut(line, "\t")
		out = append(out, field)
		if !more {
			return out
		}
		line = rest
	}
	return append(out, line)
}

func (c *Cities) index() {
	// The places are large. Sort their indexes first, then move each place once.
	order := make([]int32, len(c.list))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int {
		return cmp.Or(cmp.Compare(c.list[b].Population, c.list[a].Population), cmp.Compare(a, b))
	})
	sorted := make([]City, len(c.list))
	c.folded, c.smaller = make([]string, len(c.list)), make([]int32, len(c.list))
	for i, from := range order {
		sorted[i] = c.list[from]
		c.folded[i] = fold(sorted[i].Name)
		if country := sorted[i].Country; c.countries[country] == 0 {
			c.countries[country] = uint16(len(c.countries) + 1)
		}
	}
	c.list = sorted
	c.byName = make(map[string]int32, len(sorted))
	for i, name := range slices.Backward(c.folded) {
		next, ok := c.byName[name]
		if !ok {
			next = -1
		}
		c.smaller[i], c.byName[name] = next, int32(i)
	}
	c.spatial = sync.OnceValue(c.indexSpace)
}

func (c *Cities) indexSpace() *spatialIndex {
	x := &spatialIndex{at: make([]vec, len(c.list)), grid: newGrid(cityGridKm), everyone: newGrid(cityGridKm)}
	for i, city := range c.list {
		x.at[i] = vecOf(city.Lat, city.Lon)
		x.grid.add(c.countries[city.Country], x.at[i], int32(i))
		x.everyone.add(0, x.at[i], int32(i))
	}
	return x
}

// NearestCity returns the nearest city of any country. It returns the zero
// Place for coordinates that are not on the globe.
func (c *Cities) NearestCity(lat, lon float64) perto.Place {
	if !validPoint(lat, lon) || len(c.list) == 0 {
		return perto.Place{}
	}
	v, x := vecOf(lat, lon), c.spatial()
	best := x.everyone.near(0, v, cityGridKm, func(id int32) vec { return x.at[id] })
	if best < 0 {
		best = 0
		for i := range x.at {
			if x.at[i].dot(v) > x.at[best].dot(v) {
				best = int32(i)
			}
		}
	}
	return c.list[best].Place
}

// near returns the nearest city of a country within maxKm, which is limited to
// cityGridKm.
func (c *Cities) near(country string, at vec, maxKm float64) (City, bool) {
	x := c.spatial()
	id, ok := c.countries[country]
	if !ok {
		return City{}, false
	}
	i := x.grid.near(id, at, min(maxKm, cityGridKm), func(id int32) vec { return x.at[id] })
	if i < 0 {
		return City{}, false
	}
	return c.list[i], true
}

// All returns the cities in descending order of population. The caller must not change
// the slice.
func (c *Cities) All() []City { return c.list }
