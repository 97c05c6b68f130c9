package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"perto"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// cities finds three places, so that tests need no world map.
func cities(query string) (perto.Place, error) {
	switch query {
	case "São Paulo, SP, BR", "São Paulo":
		return perto.Place{Name: "São Paulo", Region: "SP", Country: "BR", Lat: -23.55, Lon: -46.63}, nil
	case "London":
		return perto.Place{}, errors.New(`"London" is ambiguous: London, ENG, GB; London, ON, CA`)
	case "Ashburn, VA, US":
		return perto.Place{Name: "Ashburn", Region: "VA", Country: "US", Lat: 39.04, Lon: -77.49}, nil
	}
	return perto.Place{}, fmt.Errorf("no city %q", query)
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (go test ./config -update rewrites it); got\n%s\nwant\n%s", name, got, want)
	}
}

// TestParse reads every testdata/*.hcl and compares with its golden file. This holds
// the World as JSON for valid files, and the mistakes for others.
func TestParse(t *testing.T) {
	files, err := filepath.Glob("testdata/*.hcl")
	if err != nil || len(files) < 4 {
		t.Fatalf("found %v, error %v", files, err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".hcl")
		t.Run(name, func(t *testing.T) {
			src, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			cfg, err := Parse(src, name+".hcl", cities, nil)
			if err != nil {
				if cfg != nil {
					t.Error("a configuration came with the error: nothing may half-load")
				}
				golden(t, name+".golden", []byte(err.Error()+"\n"))
				return
			}
			out, err := json.MarshalIndent(cfg, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name+".golden", append(out, '\n'))
		})
	}
}

func TestLoadInlinesZoneFiles(t *testing.T) {
	dir := t.TempDir()
	conf := filepath.Join(dir, "perto.hcl")
	os.WriteFile(conf, []byte("zone \"cdn.example\" {\n  file = \"cdn.zone\"\n}\n"), 0o644)
	if _, err := Load(conf, cities); err == nil || !strings.Contains(err.Error(), "perto.hcl:2:10: zone file cdn.zone: no such file") {
		t.Errorf("missing zone file: got %v", err)
	}
	os.WriteFile(filepath.Join(dir, "cdn.zone"), []byte("data"), 0o644)
	cfg, err := Load(conf, cities)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(cfg.World.Zones[0].Data); got != "data" {
		t.Errorf("got zone data %q", got)
	}
	_, err = Load(filepath.Join(dir, "none.hcl"), cities)
	if e, ok := errors.AsType[*perto.Error](err); !ok || e.Kind != perto.KindInvalid || e.Hint == "" {
		t.Errorf("missing file: got %v, want an error with a hint", err)
	}
}

func TestJSONFormIsTheSame(t *testing.T) {
	cfg, err := Parse([]byte(`{"pop": {"gru": {"place": "São Paulo", "edge": {"gru-1": {"addresses": ["192.0.2.1"]}}}}}`), "perto.json", cities, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.World.PoPs) != 1 || cfg.World.PoPs[0].Edges[0].Name != "gru-1" {
		t.Errorf("got %+v", cfg.World.PoPs)
	}
}

func TestMistakesAreBounded(t *testing.T) {
	src := strings.Repeat("nonsense \"x\" {}\n", 100)
	_, err := Parse([]byte(src), "x.hcl", cities, nil)
	m, ok := errors.AsType[Mistakes](err)
	if !ok || len(m) != maxMistakes {
		t.Errorf("got %d mistakes of 100, want %d", len(m), maxMistakes)
	}
}

// TestHostileFilesAreRefused: a file that would exhaust the parser's stack or compute a
// value is a mistake.
func TestHostileFilesAreRefused(t *testing.T) {
	for name, tt := range map[string]struct{ src, file, want string }{
		"brackets":    {strings.Repeat("[", 1<<20), "x.hcl", "nest deeper"},
		"minus signs": {"a = " + strings.Repeat("-", 1<<20), "x.hcl", "expressions are not allowed"},
		"JSON":        {strings.Repeat("[", 1<<20), "x.json", "nest deeper"},
		"too large":   {strings.Repeat("# long\n", 1<<20), "x.hcl", "the limit is"},
		"a number":    {"pop \"a\" {\n  place = 5\n}", "x.hcl", "place takes a string"},
		"a condition": {"pop \"a\" {\n  place = true ? \"x\" : \"y\"\n}", "x.hcl", "expressions are not allowed"},
		"a template":  {"pop \"a\" {\n  place = \"${1}\"\n}", "x.hcl", "expressions are not allowed"},
	} {
		if _, err := Parse([]byte(tt.src), tt.file, cities, nil); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %.200v, want %q", name, err, tt.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.hcl")
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(src)
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		cfg, err := Parse(src, "fuzz.hcl", cities, nil)
		if (cfg == nil) == (err == nil) {
			t.Fatalf("got config %v and error %v", cfg, err)
		}
		if err != nil && err.Error() == "" {
			t.Fatal("an error without words")
		}
		if once := Format(src); !bytes.Equal(Format(once), once) {
			t.Fatalf("formatting twice differs from once:\n%s", once)
		}
	})
}

// TestShow: the output of Show parses to the same configuration and includes the
// defaults.
func TestShow(t *testing.T) {
	for _, name := range []string{"full", "design", "functions", "paths", "limits"} {
		src, err := os.ReadFile("testdata/" + name + ".hcl")
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := Parse(src, name+".hcl", cities, nil)
		if err != nil {
			t.Fatal(err)
		}
		shown := Show(cfg)
		golden(t, name+".shown", shown)
		again, err := Parse(shown, name+".shown", cities, nil)
		if err != nil {
			t.Fatalf("the output does not parse: %v\n%s", err, shown)
		}
		want, _ := json.Marshal(cfg)
		if got, _ := json.Marshal(again); !bytes.Equal(got, want) {
			t.Errorf("%s: after Show and Parse: got\n%s\nwant\n%s", name, got, want)
		}
	}
}

func TestShowEscapesStrings(t *testing.T) {
	const text = "a${b}%{c}\"\\\a\x01\t\n\u2028é"
	cfg := &Config{World: World{PoPs: []PoP{{Name: "gru", Place: perto.Place{Name: "Lisbon", Country: "PT"}, Provider: text,
		Edges: []Edge{{Name: "gru-1", Addresses: []netip.Addr{netip.MustParseAddr("203.0.113.10")}}}}}}}
	shown := Show(cfg)
	again, err := Parse(shown, "shown.hcl", func(string) (perto.Place, error) { return perto.Place{}, nil }, nil)
	if err != nil {
		t.Fatalf("the output does not parse: %v\n%s", err, shown)
	}
	if got := again.World.PoPs[0].Provider; got != text {
		t.Errorf("got %q, want %q", got, text)
	}
}

func TestParseSizeTakesUnits(t *testing.T) {
	for in, want := range map[string]uint64{"64MiB": 64 << 20, "1.5GiB": 3 << 29, "10kB": 10_000} {
		if got, err := ParseSize(in); got != want || err != nil {
			t.Errorf("%s: %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "64", "MiB", "-1MiB", "64 XiB"} {
		if _, err := ParseSize(in); err == nil {
			t.Errorf("%q was accepted", in)
		}
	}
}
