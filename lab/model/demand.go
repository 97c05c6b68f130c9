package model

import (
	"perto"
	"perto/geodata"
)

// demandElse is the demand of an inhabitant where the table has no other value.
const demandElse = 0.12

// Demand returns the demand of an inhabitant of a country, relative to the United States.
// The values are calibrated: no statistic of traffic is behind them.
func Demand(country string) float64 {
	switch country {
	case "US", "CA", "AU", "NZ", "GB", "IE", "NL", "SE", "NO", "DK", "FI", "CH":
		return 1
	case "DE", "FR", "BE", "AT", "JP", "KR", "SG", "HK":
		return 0.8
	case "IT", "ES", "PT", "PL", "CZ", "GR", "HU", "TW", "IL":
		return 0.6
	case "BR", "TR", "AR", "CL", "MX", "RU", "SA", "MY":
		return 0.4
	case "VN", "TH":
		return 0.2
	case "IN":
		return 0.06
	case "CN":
		return 0.03
	}
	return demandElse
}

// publicElse is the share of clients with a public resolver where the table has no other
// value.
const publicElse = 0.08

// publicShare returns the share of a country's clients that use a public resolver, as in
// 2014. The values are calibrated.
func publicShare(country string) float64 {
	switch country {
	case "VN":
		return 0.36
	case "TR":
		return 0.33
	case "ID":
		return 0.16
	case "IN":
		return 0.15
	case "BR", "IT", "MY":
		return 0.14
	case "AR":
		return 0.12
	case "US", "DE":
		return 0.05
	case "KR":
		return 0.01
	}
	return publicElse
}

// place returns a place of the model's own tables.
func place(name, country string, lat, lon float64) perto.Place {
	return perto.Place{Name: name, Country: country, Lat: lat, Lon: lon}
}

// publicSites are the places of a public resolver in 2014. There is none in India, in
// South America and in Africa.
func publicSites() []perto.Place {
	return []perto.Place{
		place("The Dalles", "US", 45.59, -121.18), place("Council Bluffs", "US", 41.26, -95.86), place("Charleston", "US", 32.78, -79.93),
		place("Dublin", "IE", 53.33, -6.25), place("Mons", "BE", 50.45, 3.95), place("Frankfurt", "DE", 50.11, 8.68), place("Hamina", "FI", 60.57, 27.2),
		place("Singapore", "SG", 1.29, 103.85), place("Changhua", "TW", 24.08, 120.54), place("Hong Kong", "HK", 22.28, 114.17),
		place("Tokyo", "JP", 35.69, 139.69), place("Sydney", "AU", -33.87, 151.21),
	}
}

// publicNext is the probability of each step from a site of the public resolver to the
// next nearest one. Anycast routing does not always reach the nearest.
const publicNext = 0.30

// hubs are the places of resolvers of enterprises with clients abroad.
func hubs() []perto.Place {
	return []perto.Place{
		place("New York", "US", 40.71, -74.01), place("San Jose", "US", 37.34, -121.89), place("London", "GB", 51.51, -0.13),
		place("Frankfurt", "DE", 50.11, 8.68), place("Singapore", "SG", 1.29, 103.85), place("Tokyo", "JP", 35.69, 139.69),
	}
}

// The classes of resolvers by the share of clients without a public resolver.
const (
	localShare    = 0.36  // in the largest city within localKm
	regionalShare = 0.14  // in the largest city at 70 to 240 km
	distantShare  = 0.26  // in the largest city at 250 to 540 km
	nationalShare = 0.205 // in one of the 3 largest cities of the country
	localKm       = 40.0
)

// Class is the kind of a resolver, seen from its clients.
type Class uint8

// The classes. The rest of the clients has a resolver abroad, in a hub.
const (
	Local Class = iota
	Regional
	Distant
	National
	Abroad
	Public
	Classes // their number
)

// String returns the name of the class.
func (c Class) String() string {
	return [...]string{"local", "regional", "distant", "national", "abroad", "public"}[c]
}

// sphere is the cities as unit vectors, by country in descending order of population.
type sphere struct {
	cities    []geodata.City
	at        []vector
	byCountry map[string][]int32
}

func newSphere(cities []geodata.City) *sphere {
	s := &sphere{cities: cities, at: make([]vector, len(cities)), byCountry: make(map[string][]int32)}
	for i := range cities {
		s.at[i] = vectorOf(cities[i].Place)
		s.byCountry[cities[i].Country] = append(s.byCountry[cities[i].Country], int32(i))
	}
	return s
}

// largest returns the largest city of the same country at a distance of from to to km.
// It returns the city itself when there is none.
func (s *sphere) largest(city int32, from, to float64) int32 {
	near, far := chord(from), chord(to)
	for _, i := range s.byCountry[s.cities[city].Country] {
		if d := s.at[city].chord(s.at[i]); d >= near && d <= far {
			return i
		}
	}
	return city
}
