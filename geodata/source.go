package geodata

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/oschwald/geoip2-golang/v2"
	"github.com/oschwald/maxminddb-golang/v2"

	"perto"
	"perto/internal/lpm"
)

const (
	// maxFileBytes bounds the file size read into memory. The largest known city
	// database (GeoIP2 Enterprise) has about 400 MB.
	maxFileBytes = 1 << 30
	// maxNetworks bounds the walk over a damaged search tree, because shared nodes can
	// form endless paths. DB-IP's IPv6 database has 8.4 million networks.
	maxNetworks = 1 << 26
)

// The two address families as indexes.
const (
	family4 = iota
	family6
	numFamilies
)

// granularity is the length of the longest networks that a map distinguishes.
var granularity = [numFamilies]int{lpm.Bits4, lpm.Bits6}

// network is one network of a source. key is its address with the most significant bit
// first, left-aligned. An IPv4 address is in the upper half.
type network struct {
	key  uint64
	loc  int32 // index into source.locations, or unknownLocation
	bits uint8
}

// unknownLocation marks networks that must be unknown in the map.
const unknownLocation = -1

// weight returns the weight of a network in [Report] and for the compiler. For IPv4, it
// is the number of addresses (in /24s). For IPv6, the number of addresses does not
// reflect the number of users, so the weight depends on the prefix length.
func (n network) weight(family int) float64 {
	switch {
	case family == family4:
		return math.Ldexp(1, lpm.Bits4-int(n.bits))
	case n.bits > lpm.Bits6:
		return math.Ldexp(1, lpm.Bits6-int(n.bits))
	}
	return float64(lpm.Bits6-int(n.bits)) + 1
}

// prefix returns the network in its usual form.
func (n network) prefix(family int) netip.Prefix {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], n.key)
	if family == family4 {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte(b[:4])), int(n.bits))
	}
	return netip.PrefixFrom(netip.AddrFrom16(b), int(n.bits))
}

// location is a distinct point of a source.
type location struct {
	lat, lon float64 // degrees, rounded to microDegree
	country  uint16  // index into source.countries
	at       vec
	weight   float64 // share of the addresses, each family counting as 1
}

// source is the input of the compiler.
type source struct {
	types     []string  // database types
	built     time.Time // newest build time
	countries []string  // ISO 3166-1 codes; "" where the source has none
	locations []location
	networks  [numFamilies][]network // by address
	skipped   [numFamilies]int       // networks without usable coordinates
	names     map[locationKey]int32
}

type locationKey struct {
	country  uint16
	lat, lon int32 // in units of coordinateUnit
}

// coordinateUnit is the resolution of coordinates in degrees: 1.1 m, as in
// GeoNames and finer than any source.
const coordinateUnit = 1e-5

// readSource reads MMDB files. Together they may give each family once.
func readSource(files []string) (*source, error) {
	s := &source{names: make(map[locationKey]int32)}
	for _, file := range files {
		data, err := readFile(file)
		if err == nil {
			err = s.addMMDB(file, data)
		}
		if err != nil {
			return nil, err
		}
	}
	if len(s.locations) == 0 {
		return nil, &perto.Error{Op: "compile geodata", Path: strings.Join(files, ", "), Kind: perto.KindInvalid,
			Err:  fmt.Errorf("no network has coordinates"),
			Hint: "use a city database: DB-IP City Lite, GeoLite2 City or GeoIP2 City"}
	}
	for f := range numFamilies {
		s.markReserved(f)
		s.weigh(f)
	}
	return s, nil
}

// readFile reads a whole file. A memory-mapped file would crash the process when
// another process truncates it.
func readFile(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		kind := perto.KindUnavailable
		if os.IsNotExist(err) {
			kind = perto.KindNotFound
		}
		return nil, &perto.Error{Op: "open geodata", Path: file, Kind: kind, Err: pathless(err),
			Hint: "leave the file out to use the map inside perto"}
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	switch {
	case err != nil:
		return nil, &perto.Error{Op: "read geodata", Path: file, Kind: perto.KindUnavailable, Err: pathless(err)}
	case len(data) > maxFileBytes:
		return nil, &perto.Error{Op: "read geodata", Path: file, Kind: perto.KindInvalid,
			Err: fmt.Errorf("larger than %d MiB", maxFileBytes>>20), Hint: "is it a geolocation database?"}
	case len(data) == 0:
		return nil, &perto.Error{Op: "read geodata", Path: file, Kind: perto.KindInvalid,
			Err: fmt.Errorf("the file is empty"), Hint: "download it again"}
	}
	return data, nil
}

// pathless returns the cause inside a path error, because perto.Error prints the path.
func pathless(err error) error {
	if pe, ok := err.(*os.PathError); ok { //nolint:errorlint // os.Open does not wrap it
		return pe.Err
	}
	return err
}

// flatRecord is the schema of the npm packages of ip-location-db.
type flatRecord struct {
	Country   string   `maxminddb:"country_code"`
	Latitude  *float64 `maxminddb:"latitude"`
	Longitude *float64 `maxminddb:"longitude"`
}

// decoder reads country and coordinates from a record of one schema.
type decoder func(r maxminddb.Result) (country string, lat, lon *float64, err error)

func decodeFlat(r maxminddb.Result) (string, *float64, *float64, error) {
	var rec flatRecord
	err := r.Decode(&rec)
	return rec.Country, rec.Latitude, rec.Longitude, err
}

func decodeGeoIP2(r maxminddb.Result) (string, *float64, *float64, error) {
	var rec geoip2.City
	err := r.Decode(&rec)
	return rec.Country.ISOCode, rec.Location.Latitude, rec.Location.Longitude, err
}

// decoderFor chooses the schema by the database's type, or returns nil.
func decoderFor(databaseType string) decoder {
	switch {
	case strings.HasPrefix(databaseType, "city "): // "city ipv4", "city ipv6"
		return decodeFlat
	case strings.Contains(databaseType, "City"), strings.Contains(databaseType, "Enterprise"):
		return decodeGeoIP2
	}
	return nil
}

func (s *source) addMMDB(file string, data []byte) error {
	fail := func(err error, hint string) error {
		return &perto.Error{Op: "read geodata", Path: file, Kind: perto.KindInvalid, Err: err, Hint: hint}
	}
	const damaged = "the file is damaged or not an MMDB: download it again"
	db, err := maxminddb.OpenBytes(data)
	if err != nil {
		return fail(err, damaged)
	}
	defer db.Close()
	decode := decoderFor(db.Metadata.DatabaseType)
	if decode == nil {
		return fail(fmt.Errorf("database type %q has no coordinates", db.Metadata.DatabaseType),
			"use a city database: DB-IP City Lite, GeoLite2 City or GeoIP2 City")
	}
	s.types = append(s.types, db.Metadata.DatabaseType)
	if built := db.Metadata.BuildTime().UTC(); built.After(s.built) {
		s.built = built
	}
	had := [numFamilies]int{len(s.networks[family4]), len(s.networks[family6])}
	byOffset := make(map[uintptr]int32) // many networks share a record
	for r := range db.Networks() {
		if err := r.Err(); err != nil {
			return fail(err, damaged)
		}
		f, n := networkOf(r.Prefix())
		if had[f] > 0 {
			return &perto.Error{Op: "compile geodata", Path: file, Kind: perto.KindConflict,
				Err:  fmt.Errorf("another input has already given IPv%d networks", 4+2*f),
				Hint: "give one database for both families, or one for each"}
		}
		loc, ok := byOffset[r.Offset()]
		if !ok {
			country, lat, lon, err := decode(r)
			if err != nil {
				return fail(err, damaged)
			}
			loc = s.locate(country, lat, lon)
			byOffset[r.Offset()] = loc
		}
		if loc == unknownLocation {
			s.skipped[f]++
			continue
		}
		n.loc = loc
		if s.networks[f] = append(s.networks[f], n); len(s.networks[f]) > maxNetworks {
			return fail(fmt.Errorf("more than %d networks", maxNetworks), damaged)
		}
	}
	return nil
}

// networkOf returns the family and the compiler's form of a prefix.
func networkOf(p netip.Prefix) (family int, n network) {
	a, bits := p.Addr(), p.Bits()
	if a.Is4In6() && bits >= 96 {
		a, bits = a.Unmap(), bits-96
	}
	n.bits = uint8(bits)
	if a.Is4() {
		b := a.As4()
		n.key = uint64(binary.BigEndian.Uint32(b[:])) << 32
		return family4, n
	}
	b := a.As16()
	n.key = binary.BigEndian.Uint64(b[:])
	return family6, n
}

// locate returns the index of a location, new or existing. It returns unknownLocation
// for records without valid coordinates.
func (s *source) locate(country string, lat, lon *float64) int32 {
	if lat == nil || lon == nil || !validPoint(*lat, *lon) {
		return unknownLocation
	}
	if !validCountry(country) {
		country = ""
	}
	c := slices.Index(s.countries, country)
	if c < 0 {
		c = len(s.countries)
		s.countries = append(s.countries, country)
	}
	key := locationKey{uint16(c), toUnits(*lat), toUnits(*lon)}
	id, ok := s.names[key]
	if !ok {
		id = int32(len(s.locations))
		s.names[key] = id
		la, lo := fromUnits(key.lat), fromUnits(key.lon)
		s.locations = append(s.locations, location{lat: la, lon: lo, country: uint16(c), at: vecOf(la, lo)})
	}
	return id
}

func toUnits(degrees float64) int32    { return int32(math.Round(degrees / coordinateUnit)) }
func fromUnits(units int32) float64    { return float64(units) / (1 / coordinateUnit) }
func validPoint(lat, lon float64) bool { return math.Abs(lat) <= 90 && math.Abs(lon) <= 180 }

// validCountry reports whether s has the form of an ISO 3166-1 alpha-2 code.
func validCountry(s string) bool {
	return len(s) == 2 && s[0] >= 'A' && s[0] <= 'Z' && s[1] >= 'A' && s[1] <= 'Z'
}

// markReserved adds the special-purpose networks that the source leaves out and that
// are too small to stay unknown as gaps.
func (s *source) markReserved(family int) {
	for _, p := range reserved {
		f, n := networkOf(netip.MustParsePrefix(p))
		if f != family {
			continue
		}
		n.loc = unknownLocation
		nets := s.networks[f]
		at, _ := slices.BinarySearchFunc(nets, n.key, func(m network, key uint64) int {
			if m.key < key {
				return -1
			}
			return 1
		})
		covered := at > 0 && nets[at-1].prefix(f).Overlaps(n.prefix(f)) ||
			at < len(nets) && nets[at].prefix(f).Overlaps(n.prefix(f))
		if !covered {
			s.networks[f] = slices.Insert(nets, at, n)
		}
	}
}

// reserved are the networks of the IANA special-purpose registries (RFC 6890) that are
// too small to stay unknown as gaps (see gapBits).
var reserved = [...]string{
	"192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.51.100.0/24", "203.0.113.0/24",
	"2001:db8::/32", "2001:2::/48",
}

// weigh adds the share of each location in a family's addresses to its weight.
func (s *source) weigh(family int) {
	total := 0.0
	for _, n := range s.networks[family] {
		if n.loc >= 0 {
			total += n.weight(family)
		}
	}
	for _, n := range s.networks[family] {
		if n.loc >= 0 {
			s.locations[n.loc].weight += n.weight(family) / total
		}
	}
}
