package geodata

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"perto"
)

// FindCity returns the place for a user's query. It accepts
//
//	"Lisbon"                 a name that only one city has
//	"Springfield, IL, US"    with region (code or name) and country
//	"Porto, PT"              with the country, if that makes it unique
//	"-23.55,-46.63"          a point; it gets the country of the nearest city
//
// Case, accents and punctuation do not matter. A name may be the first words of a
// longer one, if no city has exactly that name ("New York", "Frankfurt, HE, DE"). An
// unknown name is an error of KindNotFound with similar names. An ambiguous name means
// the largest city when it has ten times the inhabitants of the second one ("London").
// Otherwise it is an error of KindInvalid. It lists the candidates in a form that FindCity
// accepts.
func (c *Cities) FindCity(query string) (perto.Place, error) {
	fail := func(kind perto.Kind, hint, format string, args ...any) (perto.Place, error) {
		return perto.Place{}, &perto.Error{Op: "find city", Path: strconv.Quote(query), Kind: kind, Err: fmt.Errorf(format, args...), Hint: hint}
	}
	const forms = `write "City", "City, CC", "City, REGION, CC" or "latitude,longitude"`
	parts := strings.Split(query, ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	if lat, lon, ok := parsePoint(parts); ok {
		if !validPoint(lat, lon) {
			return fail(perto.KindInvalid, "latitudes are -90..90, longitudes -180..180, in this order", "not a point on the globe")
		}
		return perto.Place{Lat: lat, Lon: lon, Country: c.NearestCity(lat, lon).Country}, nil
	}
	q := cityQuery{name: fold(parts[0])}
	switch len(parts) {
	case 1:
	case 2:
		q.country = strings.ToUpper(parts[1])
	case 3:
		q.region, q.country = fold(parts[1]), strings.ToUpper(parts[2])
	default:
		return fail(perto.KindInvalid, forms, "too many commas")
	}
	switch {
	case q.name == "":
		return fail(perto.KindInvalid, forms, "no name")
	case len(parts) > 1 && c.countries[q.country] == 0:
		return fail(perto.KindNotFound, forms+"; CC is a country code of two letters (ISO 3166-1)", "no country %q", q.country)
	}
	switch found := c.find(q); {
	case len(found) == 0:
		return fail(perto.KindNotFound, c.didYouMean(q), "no city of %d inhabitants or more has this name", MinPopulation)
	case len(found) == 1 || c.list[found[0]].Population >= farLarger*c.list[found[1]].Population:
		return c.list[found[0]].Place, nil
	default:
		return fail(perto.KindInvalid, "write one of: "+c.candidates(found), "%d cities have this name", len(found))
	}
}

// farLarger is the factor by which a city must be larger than others of its name to be
// meant without a region or country.
const farLarger = 10

func parsePoint(parts []string) (lat, lon float64, ok bool) {
	if len(parts) != 2 {
		return 0, 0, false
	}
	lat, err1 := strconv.ParseFloat(parts[0], 64)
	lon, err2 := strconv.ParseFloat(parts[1], 64)
	return lat, lon, err1 == nil && err2 == nil
}

// cityQuery is a query in folded form. country is an upper-case code or empty.
type cityQuery struct{ name, region, country string }

// find returns the matching cities in descending order of population. These are the
// cities with exactly the name, or else those with a longer name that begins with it.
func (c *Cities) find(q cityQuery) []int32 {
	var found []int32
	if i, ok := c.byName[q.name]; ok {
		for ; i >= 0; i = c.smaller[i] {
			if c.inside(i, q) {
				found = append(found, i)
			}
		}
	}
	if len(found) == 0 {
		for i, name := range c.folded {
			if strings.HasPrefix(name, q.name+" ") && c.inside(int32(i), q) {
				found = append(found, int32(i))
			}
		}
	}
	return c.withoutParts(found)
}

// withoutParts drops places near a larger one of the same name, because GeoNames lists
// quarters and municipalities as well as their city.
func (c *Cities) withoutParts(found []int32) []int32 {
	const nearKm = 30
	var out []int32
	for _, i := range found {
		part := slices.ContainsFunc(out, func(j int32) bool {
			return c.folded[i] == c.folded[j] && c.list[i].Country == c.list[j].Country && c.list[i].DistanceKm(c.list[j].Place) < nearKm
		})
		if !part {
			out = append(out, i)
		}
	}
	return out
}

// inside reports whether a city is in the country and the region of a query.
func (c *Cities) inside(i int32, q cityQuery) bool {
	city := &c.list[i]
	if q.country != "" && city.Country != q.country {
		return false
	}
	if q.region == "" || fold(city.Region) == q.region {
		return true
	}
	for _, r := range c.regions[city.Country] {
		if r.code == city.Region && r.folded == q.region {
			return true
		}
	}
	return false
}

// maxCandidates is how many cities an error message lists.
const maxCandidates = 8

// candidates lists cities in a form that FindCity accepts.
func (c *Cities) candidates(found []int32) string {
	var out []string
	for n, i := range found {
		if n == maxCandidates {
			out = append(out, fmt.Sprintf("... (%d more)", len(found)-n))
			break
		}
		p := c.list[i].Place
		s := strconv.Quote(p.String())
		// Two cities of one name in one region need coordinates to be distinguished.
		for _, j := range found {
			if q := c.list[j].Place; i != j && p.String() == q.String() {
				s = fmt.Sprintf("\"%.4f,%.4f\"", p.Lat, p.Lon)
			}
		}
		out = append(out, s)
	}
	return strings.Join(out, ", ")
}

// didYouMean returns a hint with the cities of the most similar names in the same
// country, or of the same name elsewhere.
func (c *Cities) didYouMean(q cityQuery) string {
	if q.country != "" {
		if elsewhere := c.find(cityQuery{name: q.name}); len(elsewhere) > 0 {
			return "did you mean " + c.candidates(elsewhere[:min(3, len(elsewhere))]) + "?"
		}
	}
	limit := 1 + len(q.name)/5 // one mistake, and one more for every five letters
	var best []int32
	for i, name := range c.folded {
		// The first words of a longer name also match.
		d := distance(q.name, name, limit)
		if q.country != "" && c.list[i].Country != q.country || d > limit {
			continue
		}
		if d < limit {
			best, limit = best[:0], d
		}
		best = append(best, int32(i))
	}
	if len(best) == 0 {
		return "give a larger city near it, or the point as latitude,longitude"
	}
	return "did you mean " + c.candidates(best[:min(3, len(best))]) + "?"
}
