package geodata

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"math"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"
	"github.com/oschwald/geoip2-golang/v2"

	"perto"
)

// world and cities decode the embedded data once for all tests.
var (
	world  = sync.OnceValues(World)
	cities = sync.OnceValues(LoadCities)
)

func loadWorld(t testing.TB) *Map {
	t.Helper()
	m, err := world()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func loadCities(t testing.TB) *Cities {
	t.Helper()
	c, err := cities()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// loadSample reads the committed sample: addresses with their places in the source.
func loadSample(t testing.TB) []Sampled {
	t.Helper()
	f, err := os.Open("testdata/sample.tsv.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zr, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var out []Sampled
	for lines := bufio.NewScanner(zr); lines.Scan(); {
		w := strings.Split(lines.Text(), "\t")
		lat, err1 := strconv.ParseFloat(w[1], 64)
		lon, err2 := strconv.ParseFloat(w[2], 64)
		addr, err3 := netip.ParseAddr(w[0])
		if err := errors.Join(err1, err2, err3); err != nil {
			t.Fatal(err)
		}
		out = append(out, Sampled{addr, perto.Place{Lat: lat, Lon: lon, Country: w[3]}})
	}
	return out
}

// TestWorldIsAccurateEnough checks the accuracy on the sample. For each family, p50 is
// at most 1 km, p99 is at most 60 km, and the country is that of the source. All data
// in the binary takes at most 6 MB.
func TestWorldIsAccurateEnough(t *testing.T) {
	m := loadWorld(t)
	errorsKm := make(map[bool][]float64)
	wrong := make(map[bool]int)
	for _, s := range loadSample(t) {
		p := m.LookupPlace(s.Addr)
		km := math.Inf(1)
		if p != (perto.Place{}) {
			km = p.DistanceKm(s.Place)
		}
		six := s.Addr.Is6()
		errorsKm[six] = append(errorsKm[six], km)
		if p.Country != s.Place.Country {
			wrong[six]++
		}
	}
	for six, list := range errorsKm {
		slices.Sort(list)
		p50, p99 := list[len(list)/2], list[len(list)*99/100]
		t.Logf("IPv6 %v: %d addresses, p50 %.2f km, p99 %.1f km, %d in another country", six, len(list), p50, p99, wrong[six])
		if len(list) != 10_000 || p50 > 1 || p99 > 60 || wrong[six] > 20 {
			t.Errorf("IPv6 %v: %d addresses, p50 %.2f km (<= 1), p99 %.1f km (<= 60), %d in another country (<= 20)", six, len(list), p50, p99, wrong[six])
		}
	}
	if size := len(worldFile) + len(citiesFile); size > 6_000_000 {
		t.Errorf("the embedded data has %d bytes, more than 6 MB", size)
	}
}

func TestWorldHasFamousPlaces(t *testing.T) {
	m := loadWorld(t)
	tests := []struct{ addr, country string }{
		{"200.144.248.1", "BR"}, {"193.136.0.1", "PT"}, {"2003:1c0::1", "DE"}, {"::ffff:200.144.248.1", "BR"},
	}
	for _, tt := range tests {
		if got := m.LookupPlace(netip.MustParseAddr(tt.addr)); got.Country != tt.country || got.Name == "" {
			t.Errorf("%s: got %+v, want a named place in %s", tt.addr, got, tt.country)
		}
	}
	for _, addr := range []string{"10.1.2.3", "127.0.0.1", "192.168.1.1", "fe80::1", "fd00::1", "::1", "224.0.0.1"} {
		if got := m.Lookup(netip.MustParseAddr(addr)); got != 0 {
			t.Errorf("%s: got cell %d, want unknown", addr, got)
		}
	}
	if got := m.Lookup(netip.Addr{}); got != 0 {
		t.Errorf("zero address: got cell %d", got)
	}
}

func TestCellsDoNotCrossBorders(t *testing.T) {
	m := loadWorld(t)
	for c := Cell(1); int(c) < m.NumCells(); c++ {
		if p := m.Place(c); len(p.Country) != 2 || !validPoint(p.Lat, p.Lon) {
			t.Fatalf("cell %d: %+v", c, p)
		}
	}
	if got := m.Place(Cell(m.NumCells())); m.NumCells() < maxCells && got != (perto.Place{}) {
		t.Errorf("a cell that is not there has place %v", got)
	}
}

func TestLookupDoesNotAllocate(t *testing.T) {
	m := loadWorld(t)
	for _, addr := range []string{"200.144.248.1", "2001:12c8::1", "::ffff:200.144.248.1"} {
		a := netip.MustParseAddr(addr)
		if n := testing.AllocsPerRun(100, func() { m.Lookup(a) }); n != 0 {
			t.Errorf("%s: got %v allocations, want 0", addr, n)
		}
	}
}

func TestOverrides(t *testing.T) {
	m := loadWorld(t)
	rio := perto.Place{Name: "Rio", Country: "BR", Lat: -22.9, Lon: -43.2}
	oslo := perto.Place{Name: "Oslo", Country: "NO", Lat: 59.9, Lon: 10.7}
	lab := perto.Place{Name: "Lab", Country: "PT", Lat: 40.2, Lon: -8.4}
	o := func(prefix string, p perto.Place) Override {
		return Override{Prefix: netip.MustParsePrefix(prefix), Place: p}
	}
	n, err := m.WithOverrides([]Override{o("198.18.1.7/32", lab), o("198.18.0.0/15", rio), o("198.18.1.0/24", oslo), o("2001:db8::/32", oslo), o("2001:db8:1:2::/64", lab)})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		addr   string
		want   perto.Place
		prefix string
	}{
		{"198.19.200.1", rio, "198.19.0.0/16"},
		{"198.18.1.9", oslo, ""},
		{"198.18.1.7", lab, "198.18.1.7/32"},
		{"2001:db8:5::1", oslo, ""},
		{"2001:db8:1:2::1", lab, "2001:db8:1:2::/64"},
	}
	for _, tt := range tests {
		a := netip.MustParseAddr(tt.addr)
		if got := n.LookupPlace(a); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.addr, got, tt.want)
		}
		if got := n.Prefix(a); tt.prefix != "" && got.String() != tt.prefix {
			t.Errorf("%s: got network %s, want %s", tt.addr, got, tt.prefix)
		}
	}
	elsewhere := netip.MustParseAddr("200.144.248.1")
	if n.LookupPlace(elsewhere) != m.LookupPlace(elsewhere) || m.LookupPlace(netip.MustParseAddr("198.18.1.9")) == oslo {
		t.Error("an override changed another network")
	}
	if len(n.Exceptions()) != 2 {
		t.Errorf("got exceptions %v, want the two long prefixes", n.Exceptions())
	}
	for _, bad := range [][]Override{{o("198.18.0.0/15", rio), o("198.18.0.0/15", oslo)}, {{Place: rio}}, {o("198.18.0.0/15", perto.Place{Lat: 99})}} {
		if _, err := m.WithOverrides(bad); err == nil {
			t.Errorf("%v was accepted", bad)
		}
	}
}

func TestWriteReadsBack(t *testing.T) {
	m := loadWorld(t)
	n, err := m.WithOverrides([]Override{{Prefix: netip.MustParsePrefix("198.18.1.7/32"), Place: perto.Place{Country: "PT", Lat: 40.2, Lon: -8.4}}})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := n.Write(&b); err != nil {
		t.Fatal(err)
	}
	back, err := readCompiled(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(back.Ranges4(), n.Ranges4()) || !slices.Equal(back.Ranges6(), n.Ranges6()) || !slices.Equal(back.Exceptions(), n.Exceptions()) || back.NumCells() != n.NumCells() {
		t.Error("the map read back differs")
	}
}

// TestDamagedFilesAreRefused truncates and changes a compiled map in many places. Each
// change must cause a clear error.
func TestDamagedFilesAreRefused(t *testing.T) {
	whole := worldFile
	tests := []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "empty"},
		{"text", []byte("this is no map, but it is long enough to be one, or so it hopes"), "neither an MMDB nor a compiled map"},
		{"only the magic", whole[:8], "truncated"},
		{"half", whole[:len(whole)/2], "truncated"},
		{"one byte short", whole[:len(whole)-1], "truncated"},
		{"one byte more", append(slices.Clone(whole), 0), "1 bytes after the end"},
		{"a bit flipped", func() []byte { b := slices.Clone(whole); b[len(b)/2] ^= 4; return b }(), "wrong checksum"},
		{"a later version", func() []byte { b := slices.Clone(whole); b[8] = 9; return b }(), "format version 9"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "map.geo")
			if err := os.WriteFile(path, tt.data, 0o644); err != nil {
				t.Fatal(err)
			}
			_, err := Open(path, nil)
			e, ok := errors.AsType[*perto.Error](err)
			if !ok || !strings.Contains(err.Error(), tt.want) || e.Path != path || e.Hint == "" || e.Kind != perto.KindInvalid {
				t.Errorf("got %v, want %q with path and hint", err, tt.want)
			}
		})
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none"), nil); err == nil {
		t.Error("a missing file was opened")
	}
}

// writeMMDB makes a small database of one type, with a record for each network.
func writeMMDB(t testing.TB, databaseType string, networks map[string]mmdbtype.DataType) string {
	t.Helper()
	tree, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: databaseType, RecordSize: 24, IncludeReservedNetworks: true})
	if err != nil {
		t.Fatal(err)
	}
	for network, record := range networks {
		_, n, err := net.ParseCIDR(network)
		if err != nil {
			t.Fatal(err)
		}
		if err := tree.Insert(n, record); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "test.mmdb")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := tree.WriteTo(f); err != nil {
		t.Fatal(err)
	}
	return path
}

func flat(country string, lat, lon float64) mmdbtype.Map {
	return mmdbtype.Map{"country_code": mmdbtype.String(country), "latitude": mmdbtype.Float64(lat), "longitude": mmdbtype.Float64(lon)}
}

func geoip(country string, lat, lon float64) mmdbtype.Map {
	return mmdbtype.Map{"country": mmdbtype.Map{"iso_code": mmdbtype.String(country)},
		"location": mmdbtype.Map{"latitude": mmdbtype.Float64(lat), "longitude": mmdbtype.Float64(lon)}}
}

func TestCompileReadsBothSchemas(t *testing.T) {
	for name, tt := range map[string]struct {
		databaseType string
		record       func(string, float64, float64) mmdbtype.Map
	}{"flat": {"city ipv4", flat}, "GeoLite2": {"GeoLite2-City", geoip}, "DB-IP": {"DBIP-City-Lite", geoip}} {
		t.Run(name, func(t *testing.T) {
			path := writeMMDB(t, tt.databaseType, map[string]mmdbtype.DataType{
				"80.0.0.0/16":   tt.record("GB", 51.5, -0.1),
				"80.1.0.0/16":   tt.record("FR", 48.9, 2.3),
				"80.2.0.0/24":   tt.record("BE", 50.85, 4.35),
				"80.2.1.0/24":   tt.record("NL", 51.0, 4.4), // near, but over the border
				"2a00:100::/32": tt.record("DE", 50.1, 8.7),
			})
			m, err := Open(path, loadCities(t))
			if err != nil {
				t.Fatal(err)
			}
			for addr, want := range map[string]string{"80.0.3.4": "GB", "80.1.3.4": "FR", "80.2.0.9": "BE", "80.2.1.9": "NL", "2a00:100::1": "DE", "90.0.0.1": ""} {
				if got := m.LookupPlace(netip.MustParseAddr(addr)); got.Country != want {
					t.Errorf("%s: got %v, want %q", addr, got, want)
				}
			}
			if got := m.LookupPlace(netip.MustParseAddr("80.0.3.4")); got.Name != "London" {
				t.Errorf("got %v, want it named after London", got)
			}
		})
	}
}

func TestCompileRefusesOtherDatabases(t *testing.T) {
	tests := []struct {
		name, databaseType string
		record             mmdbtype.DataType
		want               string
	}{
		{"country only", "GeoLite2-Country", mmdbtype.Map{"country": mmdbtype.Map{"iso_code": mmdbtype.String("BR")}}, "has no coordinates"},
		{"ASN", "GeoLite2-ASN", mmdbtype.Map{"autonomous_system_number": mmdbtype.Uint32(1)}, "has no coordinates"},
		{"city without coordinates", "GeoLite2-City", mmdbtype.Map{"country": mmdbtype.Map{"iso_code": mmdbtype.String("BR")}}, "no network has coordinates"},
		{"wrong types inside", "city ipv4", mmdbtype.Map{"latitude": mmdbtype.String("north")}, "damaged"},
		{"off the globe", "city ipv4", flat("BR", 123, 456), "no network has coordinates"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := writeMMDB(t, tt.databaseType, map[string]mmdbtype.DataType{"80.0.0.0/16": tt.record})
			_, err := Open(path, nil)
			e, ok := errors.AsType[*perto.Error](err)
			if !ok || !strings.Contains(err.Error(), tt.want) || e.Hint == "" {
				t.Errorf("got %v, want %q and a hint", err, tt.want)
			}
		})
	}
	path := writeMMDB(t, "city ipv4", map[string]mmdbtype.DataType{"80.0.0.0/16": flat("BR", -23, -46)})
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := 0; cut < len(data); cut += max(1, len(data)/50) {
		os.WriteFile(path, data[:cut], 0o644)
		if _, err := Open(path, nil); err == nil {
			t.Errorf("cut at %d of %d: was opened", cut, len(data))
		}
	}
}

func TestBuildKeepsTheOldFileOnError(t *testing.T) {
	out := filepath.Join(t.TempDir(), "map.geo")
	good := writeMMDB(t, "city ipv4", map[string]mmdbtype.DataType{"80.0.0.0/16": flat("BR", -23, -46)})
	if _, err := Build([]string{good}, out, Options{}); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	bad := writeMMDB(t, "GeoLite2-ASN", nil)
	if _, err := Build([]string{bad}, out, Options{}); err == nil {
		t.Fatal("a database without places was built")
	}
	if after, err := os.ReadFile(out); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the old file changed (%v)", err)
	}
}

// TestExportIsReadableByGeoIP2 reads an exported map with geoip2-golang.
func TestExportIsReadableByGeoIP2(t *testing.T) {
	path := writeMMDB(t, "city ipv4", map[string]mmdbtype.DataType{"80.0.0.0/16": flat("GB", 51.5, -0.1), "2a00:100::/32": flat("DE", 50.1, 8.7)})
	m, err := Open(path, loadCities(t))
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out.mmdb")
	if err := Export(m, out); err != nil {
		t.Fatal(err)
	}
	db, err := geoip2.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for addr, want := range map[string]string{"80.0.1.2": "GB", "2a00:100::1": "DE"} {
		got, err := db.City(netip.MustParseAddr(addr))
		if err != nil || got.Country.ISOCode != want || got.Location.Latitude == nil {
			t.Errorf("%s: got %+v, error %v", addr, got, err)
		}
	}
}

func TestFindCity(t *testing.T) {
	c := loadCities(t)
	tests := []struct{ query, want string }{
		{"São Paulo, SP, BR", "São Paulo, SP, BR"},
		{"sao paulo, sp, br", "São Paulo, SP, BR"},
		{"São Paulo, São Paulo, BR", "São Paulo, SP, BR"},
		{"Ashburn, VA, US", "Ashburn, VA, US"},
		{"San Jose, CA, US", "San Jose, CA, US"},
		{"Sydney, NSW, AU", "Sydney, NSW, AU"},
		{"Mumbai, IN", "Mumbai, MH, IN"},
		{"Frankfurt am Main", "Frankfurt am Main, HE, DE"},
		{"Frankfurt", "Frankfurt am Main, HE, DE"}, // 11 times as large as Frankfurt (Oder)
		{"London", "London, ENG, GB"},
		{"London, CA", "London, ON, CA"},
		{"Tokyo", "Tokyo, JP"},
		{"Johannesburg", "Johannesburg, GT, ZA"},
		{"Toronto, ON, CA", "Toronto, ON, CA"},
		{"-23.55, -46.63", "-23.5500,-46.6300"},
	}
	for _, tt := range tests {
		got, err := c.FindCity(tt.query)
		if err != nil || got.String() != tt.want {
			t.Errorf("%q: got %v, error %v; want %s", tt.query, got, err, tt.want)
		}
	}
	if got, _ := c.FindCity("-23.55,-46.63"); got.Country != "BR" {
		t.Errorf("coordinates: got country %q, want BR", got.Country)
	}
	wrong := []struct {
		query string
		kind  perto.Kind
		want  string
	}{
		{"Springfield", perto.KindInvalid, "write one of: "},
		{"San Jose", perto.KindInvalid, "San Jose, CA, US"},
		{"São Pulo", perto.KindNotFound, "São Paulo"},
		{"Porto, XX", perto.KindNotFound, "no country"},
		{"95, 0", perto.KindInvalid, "not a point on the globe"},
		{"", perto.KindInvalid, "no name"},
		{"a, b, c, d", perto.KindInvalid, "too many commas"},
	}
	for _, tt := range wrong {
		_, err := c.FindCity(tt.query)
		e, ok := errors.AsType[*perto.Error](err)
		if !ok || e.Kind != tt.kind || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: got %v, want %q", tt.query, err, tt.want)
		}
	}
	if len(c.list) < 24_000 {
		t.Errorf("only %d cities", len(c.list))
	}
}

// FuzzRead gives damaged compiled maps with a valid checksum to Read. It may return
// errors. It must not panic or return a map whose lookups give cells that it does not
// have.
func FuzzRead(f *testing.F) {
	m, err := (&Map{}).small()
	if err != nil {
		f.Fatal(err)
	}
	var b bytes.Buffer
	if err := m.Write(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes()[headerBytes:])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, payload []byte) {
		m, err := readPayload(payload)
		if err != nil {
			return
		}
		for _, a := range []string{"0.0.0.0", "200.144.248.1", "255.255.255.255", "2001:db8::1", "ffff::"} {
			if c := m.Lookup(netip.MustParseAddr(a)); int(c) >= m.NumCells() {
				t.Fatalf("%s: cell %d of %d", a, c, m.NumCells())
			}
		}
	})
}

func FuzzFindCity(f *testing.F) {
	for _, q := range []string{"São Paulo, SP, BR", "Springfield", "1,2", ",,,", "st. denis"} {
		f.Add(q)
	}
	c := loadCities(f)
	f.Fuzz(func(t *testing.T, query string) {
		p, err := c.FindCity(query)
		if err == nil && !validPoint(p.Lat, p.Lon) {
			t.Fatalf("%q: %+v", query, p)
		}
	})
}

// BenchmarkLookup looks up the addresses of the sample. On the same addresses it also
// measures geoip2-golang with the databases of PERTO_MMDB (IPv4 and IPv6 databases,
// comma-separated).
func BenchmarkLookup(b *testing.B) {
	m := loadWorld(b)
	var byFamily [numFamilies][]netip.Addr
	for _, s := range loadSample(b) {
		f := family4
		if s.Addr.Is6() {
			f = family6
		}
		byFamily[f] = append(byFamily[f], s.Addr)
	}
	for f, name := range [numFamilies]string{"v4", "v6"} {
		addrs := byFamily[f]
		b.Run(name+"/perto", func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				m.Lookup(addrs[i])
				if i++; i == len(addrs) {
					i = 0
				}
			}
		})
		path := os.Getenv("PERTO_MMDB")
		if path == "" {
			continue
		}
		db, err := geoip2.Open(path)
		if err != nil {
			b.Fatal(err)
		}
		defer db.Close()
		b.Run(name+"/geoip2", func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if _, err := db.City(addrs[i]); err != nil {
					b.Fatal(err)
				}
				if i++; i == len(addrs) {
					i = 0
				}
			}
		})
	}
}

func BenchmarkWorld(b *testing.B) {
	for b.Loop() {
		if _, err := World(); err != nil {
			b.Fatal(err)
		}
	}
}
