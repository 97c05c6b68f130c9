package geodata

import (
	"bytes"
	_ "embed"
	"path/filepath"

	"perto"
	"perto/internal/atomicfile"
)

//go:embed world.geo
var worldFile []byte

// World decodes the map inside the binary: the world at city level, from DB-IP City
// Lite (see [Attribution]). It takes some 150 ms and 45 MB: callers should decode it
// once and share the result.
func World() (*Map, error) {
	m, err := readCompiled(worldFile)
	if err != nil {
		return nil, &perto.Error{Op: "load the world map", Kind: perto.KindInternal, Err: err, Hint: "the binary was built from damaged sources"}
	}
	return m, nil
}

// mmdbMarker begins the metadata at the end of every MMDB.
const mmdbMarker = "\xab\xcd\xefMaxMind.com"

// Open reads a compiled map, or a city database in MMDB format. It compiles a database
// with the default [Options], which takes seconds for a large one. `perto geodata
// build` does this in advance. The names of cells come from cities, which may be nil.
// Errors are [*perto.Error] with the file's name.
func Open(path string, cities *Cities) (*Map, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	if filepath.Ext(path) == ".mmdb" || bytes.Contains(data[max(0, len(data)-mmdbTail):], []byte(mmdbMarker)) {
		data = nil // Compile reads the file again: do not keep two copies in memory
		m, _, err := Compile([]string{path}, Options{Cities: cities})
		return m, err
	}
	m, err := readCompiled(data)
	if e, ok := err.(*perto.Error); ok { //nolint:errorlint // readCompiled does not wrap it
		e.Path = path
	}
	return m, err
}

// mmdbTail is the part of a file in which to search for the marker: the last 128 KiB,
// as the MaxMind DB format prescribes.
const mmdbTail = 128 << 10

// Build compiles city databases like [Compile] and writes the map to the file out. It
// replaces the file atomically.
func Build(files []string, out string, o Options) (Report, error) {
	m, report, err := Compile(files, o)
	if err != nil {
		return report, err
	}
	var b bytes.Buffer
	if err := m.Write(&b); err != nil {
		return report, err
	}
	report.Bytes = b.Len()
	return report, writeFile(out, b.Bytes())
}

// writeFile replaces a file as a whole.
func writeFile(path string, data []byte) error {
	if err := atomicfile.Write(path, data, 0o644); err != nil {
		return &perto.Error{Op: "write geodata", Path: path, Kind: perto.KindUnavailable, Err: pathless(err)}
	}
	return nil
}
