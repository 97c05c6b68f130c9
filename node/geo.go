package node

import (
	"perto/config"
	"perto/geodata"
)

// LoadMap returns the World's map with the World's overrides: a file, or embedded when
// none is named.
func LoadMap(g *config.Geodata, embedded *geodata.Map) (*geodata.Map, error) {
	m := embedded
	if g.Database != "" {
		var err error
		if m, err = OpenMap(g.Database); err != nil {
			return nil, err
		}
	}
	return WithOverrides(m, g)
}

// OpenMap opens a compiled map or an MMDB, or the embedded world map for "".
func OpenMap(file string) (*geodata.Map, error) {
	if file == "" {
		return geodata.World()
	}
	cities, err := geodata.LoadCities()
	if err != nil {
		return nil, err
	}
	return geodata.Open(file, cities)
}

// WithOverrides returns the map with the World's overrides applied.
func WithOverrides(m *geodata.Map, g *config.Geodata) (*geodata.Map, error) {
	if len(g.Overrides)+len(g.Anycast) == 0 {
		return m, nil
	}
	var overrides []geodata.Override
	for _, o := range g.Overrides {
		overrides = append(overrides, geodata.Override{Prefix: o.Prefix, Place: o.Place})
	}
	for _, p := range g.Anycast {
		overrides = append(overrides, geodata.Override{Prefix: p, Anycast: true})
	}
	return m.WithOverrides(overrides)
}
