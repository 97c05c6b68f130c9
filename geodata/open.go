package geodata

import (
	"bytes"
	_ "embed"
	"os"
	"path/filepath"

	"perto"
)

//go:embed world.geo
var worldFile []byte

// World decodes the map inside the binary: the world at city level, from DB-IP
// City Lite (see [Attribution]). It takes some 150 ms and 45 MB: decode it once
// and share the result.
func World() (*Map, error) {
	m, err := readCompiled(worldFile)
	if err != nil {
		return nil, &perto.Error{Op: "load the world map", Kind: perto.KindInternal, Err: err, Hint: "the binary was built from damaged sources"}
	}
	return m, nil
}

// mmdbMarker is what begins the metadata at the end of every MMDB.
const mmdbMarker = "\xab\xcd\xefMaxMind.com"

// Open reads a map from a file: a compiled one, or a city database in MMDB
// format, which is compiled with the default [Options] (seconds for a large
// one: `perto geodata build` does it ahead). The names of cells come from
// cities, which may be nil. Errors are [*perto.Error] and name the file.
func Open(path string, cities *Cities) (*Map, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	if filepath.Ext(path) == ".mmdb" || bytes.Contains(data[max(0, len(data)-mmdbTail):], []byte(mmdbMarker)) {
		data = nil // Compile reads it again: do not hold it twice
		m, _, err := Compile([]string{path}, Options{Cities: cities})
		return m, err
	}
	m, err := readCompiled(data)
	if e, ok := err.(*perto.Error); ok { //nolint:errorlint // readCompiled does not wrap it
		e.Path = path
	}
	return m, err
}

// mmdbTail is where the marker is searched: the last 128 KiB, as the MaxMind DB
// format prescribes.
const mmdbTail = 128 << 10

// Build compiles city databases as [Compile] does and writes the map to the file
// out, which appears whole or not at all.
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

// writeFile replaces a file through a temporary one beside it.
func writeFile(path string, data []byte) error {
	fail := func(err error) error {
		return &perto.Error{Op: "write geodata", Path: path, Kind: perto.KindUnavailable, Err: pathless(err)}
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fail(err)
	}
	defer os.Remove(f.Name()) // nothing to remove after the rename
	if _, err = f.Write(data); err == nil {
		err = f.Chmod(0o644)
	}
	if err2 := f.Close(); err == nil {
		err = err2
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fail(err)
	}
	return nil
}
