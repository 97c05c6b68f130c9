package geodata

import (
	"perto"
	"perto/internal/lpm"
)

// small returns a map with a few ranges of each kind, for the fuzzer's seed.
func (*Map) small() (*Map, error) {
	places := []perto.Place{{}, {Name: "A", Country: "BR", Lat: -23.5, Lon: -46.6}, {Country: "DE", Lat: 50.1, Lon: 8.7}}
	return newMap(Info{Source: "test"}, places,
		[]lpm.Range4[Cell]{{Start: 0, Value: 0}, {Start: 1000, Value: 1}, {Start: 70000, Value: 2}},
		[]lpm.Range6[Cell]{{Start: 0, Value: 0}, {Start: 0x2001_0db8_0001, Value: 2}, {Start: 0x2001_0db9_0000, Value: 0}})
}
