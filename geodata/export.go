package geodata

import (
	"bytes"
	"net"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"

	"perto"
	"perto/internal/lpm"
)

// exportType is a database type that readers of GeoIP2 databases accept. Its records
// hold coordinates.
const exportType = "DBIP-City-Lite"

// Export writes a map as an MMDB in the schema of GeoIP2 City, for programs that read
// this format. The file is larger than the map and slower to read. Export replaces the
// file atomically.
func Export(m *Map, path string) error {
	fail := func(err error) error {
		return &perto.Error{Op: "export geodata", Path: path, Kind: perto.KindInternal, Err: err}
	}
	tree, err := mmdbwriter.New(mmdbwriter.Options{
		DatabaseType: exportType, Description: map[string]string{"en": "perto map. " + Attribution + " (" + AttributionURL + ")"},
		RecordSize: 28, IncludeReservedNetworks: true, Languages: []string{"en"},
		DisableIPv4Aliasing: true, // the map has its own places for 2001::/32 and 2002::/16
	})
	if err != nil {
		return fail(err)
	}
	records := make([]mmdbtype.DataType, len(m.places))
	for c := range m.places[1:] {
		records[c+1] = exportRecord(m.places[c+1])
	}
	insert := func(network *net.IPNet, c Cell) error {
		if c == 0 {
			return nil
		}
		return tree.Insert(network, records[c])
	}
	for p, c := range lpm.Blocks4(m.Ranges4()) {
		if err := insert(&net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}, c); err != nil {
			return fail(err)
		}
	}
	for p, c := range lpm.Blocks6(m.Ranges6()) {
		if err := insert(&net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 128)}, c); err != nil {
			return fail(err)
		}
	}
	for _, e := range m.exceptions {
		if err := insert(&net.IPNet{IP: e.Prefix.Addr().AsSlice(), Mask: net.CIDRMask(e.Prefix.Bits(), e.Prefix.Addr().BitLen())}, e.Cell); err != nil {
			return fail(err)
		}
	}
	var b bytes.Buffer
	if _, err := tree.WriteTo(&b); err != nil {
		return fail(err)
	}
	return writeFile(path, b.Bytes())
}

func exportRecord(p perto.Place) mmdbtype.DataType {
	record := mmdbtype.Map{
		"country":  mmdbtype.Map{"iso_code": mmdbtype.String(p.Country)},
		"location": mmdbtype.Map{"latitude": mmdbtype.Float64(p.Lat), "longitude": mmdbtype.Float64(p.Lon)},
	}
	if p.Name != "" {
		record["city"] = mmdbtype.Map{"names": mmdbtype.Map{"en": mmdbtype.String(p.Name)}}
	}
	if p.Region != "" {
		record["subdivisions"] = mmdbtype.Slice{mmdbtype.Map{"iso_code": mmdbtype.String(p.Region)}}
	}
	return record
}
