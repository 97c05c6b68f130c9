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

// crates is where Debian's package librust-png-dev installs the crates of the Rust guest.
const crates = "/usr/share/cargo/registry"

// compilers returns the compilers of this machine that build guests, one a line.
func compilers() string {
	clang, rust := "none", "none"
	if out, err := exec.Command("clang", "--version").Output(); err == nil {
		clang, _, _ = strings.Cut(string(out), "\n")
	}
	if out, err := exec.Command("/usr/bin/rustc", "--version").Output(); err == nil {
		rust = strings.TrimSpace(string(out))
	}
	var versions []string
	for _, crate := range []string{"adler", "bitflags", "cfg-if", "crc32fast", "flate2", "miniz_oxide", "png"} {
		found, _ := filepath.Glob(filepath.Join(crates, crate+"-[0-9]*"))
		for _, f := range found {
			versions = append(versions, filepath.Base(f))
		}
	}
	return clang + "\n" + rust + " with " + strings.Join(versions, " ") + "\n"
}

// TestModulesMatchSources: built.txt has the digests of sources and modules. When the
// named compilers are installed, the modules are built again and compared.
func TestModulesMatchSources(t *testing.T) {
	here := compilers()
	recorded, _ := os.ReadFile("guests/built.txt")
	by := ""
	if lines := strings.SplitAfterN(string(recorded), "\n", 3); len(lines) == 3 {
		by = lines[0] + lines[1]
	}
	if *update {
		by = here
	}
	var files []string
	for _, pattern := range []string{"guests/*.c", "guests/*.h", "guests/*.rs", "guests/Makefile", "guests/build-rust", "../../functions/scaffold/c/perto.h",
		"../../functions/scaffold/rust/http.rs", "guests/*.wasm"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatal(pattern, err)
		}
		files = append(files, found...)
	}
	var b strings.Builder
	b.WriteString(by)
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%x  %s\n", sha256.Sum256(data), filepath.ToSlash(f))
	}
	check(t, "guests/built.txt", []byte(b.String()))
	byC, byRust, _ := strings.Cut(by, "\n")
	hereC, hereRust, _ := strings.Cut(here, "\n")
	for _, name := range names() {
		out := filepath.Join(t.TempDir(), name+".wasm")
		build := exec.Command("./build-rust", name+".rs", out)
		if _, err := os.Stat("guests/" + name + ".rs"); err != nil {
			if byC != hereC {
				t.Logf("%s was built by %q; this machine has %q, so it is not built again", name, byC, hereC)
				continue
			}
			build = exec.Command("clang", append(makeFlags(t), "-o", out, name+".c")...)
		} else if byRust != hereRust {
			t.Logf("%s was built by %q; this machine has %q, so it is not built again", name, byRust, hereRust)
			continue
		}
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
