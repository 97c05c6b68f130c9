// Command geodata makes the data files that package geodata embeds.
// scripts/geodata/build runs it, and also downloads and checks the sources.
//
//	geodata cities -o FILE CITIES.PBF REGIONS_DIR
//	geodata world  -o FILE MMDB...
//	geodata sample -o FILE MMDB...
//	geodata land   -o FILE LAND.JSON
package main

import (
	"bytes"
	"compress/gzip"
	"flag"
	"fmt"
	"os"

	"perto/geodata"
)

// sampleSize is the number of addresses of each family in the accuracy test. sampleSeed
// makes them the same in each run.
const (
	sampleSize = 10_000
	sampleSeed = 20261123
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: geodata cities|world|sample|land -o FILE SOURCE...")
		os.Exit(2)
	}
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	out := flags.String("o", "", "file to write")
	radius := flags.Float64("radius", 0, "cell radius in km (world)")
	lambda4 := flags.Float64("lambda4", 0, "price of an IPv4 range in km (world)")
	lambda6 := flags.Float64("lambda6", 0, "price of an IPv6 range in km (world)")
	_ = flags.Parse(os.Args[2:]) // exits on errors
	var err error
	switch os.Args[1] {
	case "cities":
		err = buildCities(flags.Arg(0), flags.Arg(1), *out)
	case "world":
		err = buildWorld(flags.Args(), *out, geodata.Options{RadiusKm: *radius, Lambda4Km: *lambda4, Lambda6Km: *lambda6})
	case "sample":
		err = buildSample(flags.Args(), *out)
	case "land":
		err = buildLand(flags.Arg(0), *out)
	default:
		err = fmt.Errorf("no command %q", os.Args[1])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "geodata:", err)
		os.Exit(1)
	}
}

func buildWorld(files []string, out string, o geodata.Options) error {
	cities, err := geodata.LoadCities()
	if err != nil {
		return err
	}
	o.Cities, o.Source = cities, "DB-IP City Lite"
	report, err := geodata.Build(files, out, o)
	if err == nil {
		fmt.Print(report)
	}
	return err
}

// buildSample writes one line for each address: address, and latitude, longitude and
// country in the source.
func buildSample(files []string, out string) error {
	samples, err := geodata.Sample(files, sampleSize, sampleSeed)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	for _, s := range samples {
		fmt.Fprintf(&text, "%s\t%.5f\t%.5f\t%s\n", s.Addr, s.Place.Lat, s.Place.Lon, s.Place.Country)
	}
	return writeGzip(out, text.Bytes())
}

// writeGzip writes a header without name and time, so that equal content gives an equal
// file.
func writeGzip(out string, data []byte) error {
	var b bytes.Buffer
	zw, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := zw.Write(data); err != nil {
		return err
	}
	if err := zw.Close(); err != nil {
		return err
	}
	return os.WriteFile(out, b.Bytes(), 0o644)
}
