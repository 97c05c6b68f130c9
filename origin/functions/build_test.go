package shopcode

import (
	"bytes"
	"crypto/sha256"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"perto/origin"
)

var update = flag.Bool("update", false, "write catalogue.h and built.txt anew")

// TestCatalogueHeader: the catalogue header of the guests matches the shop's list.
func TestCatalogueHeader(t *testing.T) {
	list, err := origin.Products()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	b.WriteString("// Made of origin/catalogue.tsv: go test ./origin/functions -run Catalogue -update\n\n")
	b.WriteString("static const struct {\n\tconst char *name, *about;\n\tunsigned name_len, about_len, cents;\n} catalogue[] = {\n")
	for _, p := range list {
		fmt.Fprintf(&b, "\t{%s, %s, %d, %d, %d},\n", quoteC(p.Name), quoteC(p.About), len(p.Name), len(p.About), p.Cents)
	}
	fmt.Fprintf(&b, "};\n#define CATALOGUE_LEN %du\n", len(list))
	check(t, "guests/catalogue.h", b.Bytes())
}

func quoteC(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

func check(t *testing.T, file string, want []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s does not match its sources (%v); run make, then go test ./origin/functions -update", file, err)
	}
}

// TestModulesMatchSources: built.txt has the digests of sources and modules. When the
// named compiler is installed, the modules are built again and compared.
func TestModulesMatchSources(t *testing.T) {
	compiler := "none"
	if out, err := exec.Command("clang", "--version").Output(); err == nil {
		compiler, _, _ = strings.Cut(string(out), "\n")
	}
	recorded, _ := os.ReadFile("guests/built.txt")
	by, _, _ := strings.Cut(string(recorded), "\n")
	if *update {
		by = compiler
	}
	var files []string
	for _, pattern := range []string{"guests/*.c", "guests/*.h", "guests/Makefile", "../../functions/scaffold/c/perto.h", "guests/*.wasm"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatal(pattern, err)
		}
		files = append(files, found...)
	}
	var b strings.Builder
	b.WriteString(by + "\n")
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%x  %s\n", sha256.Sum256(data), filepath.ToSlash(f))
	}
	check(t, "guests/built.txt", []byte(b.String()))
	if compiler != by {
		t.Logf("the modules were built by %q, here is %q: they are not built again", by, compiler)
		return
	}
	dir := t.TempDir()
	for _, name := range names() {
		out := filepath.Join(dir, name+".wasm")
		flags := makeFlags(t)
		build := exec.Command("clang", append(flags, "-o", out, name+".c")...)
		build.Dir = "guests"
		if text, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		again, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		if committed, err := Module(name + ".wasm"); err != nil || !bytes.Equal(again, committed) {
			t.Errorf("%s.wasm differs when built again (%v)", name, err)
		}
	}
}

// makeFlags returns the compiler flags of the Makefile.
func makeFlags(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("guests/Makefile")
	if err != nil {
		t.Fatal(err)
	}
	var flags []string
	for line := range strings.Lines(strings.ReplaceAll(string(text), "\\\n", " ")) {
		if name, value, ok := strings.Cut(line, "="); ok && slices.Contains([]string{"CFLAGS", "LDFLAGS"}, strings.TrimSpace(name)) {
			flags = append(flags, strings.Fields(value)...)
		}
	}
	if len(flags) < 8 {
		t.Fatalf("found the flags %q", flags)
	}
	return flags
}

// names returns the names of the modules, without ".wasm".
func names() []string {
	files, err := fs.Glob(modules, "guests/*.wasm")
	if err != nil {
		panic(err) // the pattern is valid
	}
	for i := range files {
		files[i] = strings.TrimSuffix(path.Base(files[i]), ".wasm")
	}
	return files
}
