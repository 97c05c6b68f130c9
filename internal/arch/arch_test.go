package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// layers is the import table (docs/architecture.md). A package may import packages of
// lower layers. It may import a package of its own layer only if sameLayer lists it.
// Each new package must be added here.
var layers = map[string]int{
	"": 0, "metrics": 0,
	"internal/arch": 0, "internal/atomicfile": 0, "internal/delayqueue": 0, "internal/fields": 0, "internal/lpm": 0, "internal/test/headless": 0, "internal/netx": 0,
	"internal/netns": 0, "internal/printable": 0, "internal/simnet": 0, "internal/snapshot": 0, "internal/urlmap": 0,

	"dnsserver/wire": 1, "dnsserver/zone": 1,
	"origin/functions": 1, "edge/http1": 1, "edge/rfc9111": 1, "edge/cache": 1, "edge/fetch": 1,
	"mapping": 1, "geodata": 1, "replicas": 1, "pairs": 1, "functions/rewrite": 1, "functions/scaffold": 1,

	// The data plane serves, and the control plane decides. Neither imports its own
	// layer.
	"dnsserver": 2, "edge": 2, "origin": 2, "functions": 2,
	"console": 2, "internal/api": 2, "config": 2, "mobility": 2,

	"node": 3, "lab": 4, "lab/access": 4, "lab/compose": 4, "lab/model": 4, "lab/report": 4, "lab/vantage": 4, "lab/wan": 4, "cmd/perto": 5,

	"internal/test/expect": 4, // compares a lab or containers with a list of expectations

	// No part of the product: tools, and tests of the whole tree.
	"bench/dns/mkmmdb": 5, "bench/reload": 5, "bench/functions": 5, "bench/http": 5, "bench/http/peers": 5, "docs": 5, "scripts/geodata": 5,
}

// sameLayer lists the allowed imports inside a layer, each with its reason. Packages of
// layer 0 may import each other, and the compiler rejects cycles.
var sameLayer = map[string]map[string]string{
	"mapping":        {"replicas": "a map ranks the sites of a Fleet", "geodata": "and asks where networks are"},
	"pairs":          {"mapping": "a pair names resolver groups", "replicas": "the cluster's keys sign frames"},
	"dnsserver/zone": {"dnsserver/wire": "answers are packed when the zone is built"},
	"edge/cache":     {"edge/rfc9111": "an object carries its caching policy"},
	"edge/fetch": {"edge/http1": "requests to origins are HTTP/1 messages", "edge/rfc9111": "the leader decides what is storable",
		"edge/cache": "a fetch fills the cache"},
	"mobility":    {"functions": "a release names the settings of a function"},
	"lab":         {"lab/access": "clients and resolvers of the lab", "lab/vantage": "the lab serves their API", "lab/model": "delays of paths"},
	"lab/vantage": {"lab/access": "the API shows fetches"},
	"lab/report":  {"lab": "a report runs a lab", "lab/model": "or computes with its model"},
}

// fences lists the packages that may use an outside library. Tests may use any library.
var fences = []struct {
	library  string
	packages []string
}{
	{"github.com/miekg/dns", []string{"dnsserver", "dnsserver/zone", "replicas", "lab", "lab/access", "internal/test/expect"}},
	{"github.com/oschwald/", []string{"geodata"}},
	{"github.com/maxmind/mmdbwriter", []string{"geodata", "bench/dns/mkmmdb"}},
	{"github.com/dchest/siphash", []string{"mapping"}},
	{"github.com/tetratelabs/wazero", []string{"functions"}},
	{"gvisor.dev/gvisor", []string{"lab"}},
	{"github.com/vishvananda/netlink", []string{"lab/wan"}},
	{"github.com/dunglas/httpsfv", []string{"edge/rfc9111"}},
	{"github.com/alecthomas/kong", []string{"cmd/perto"}},
	{"github.com/KimMachineGun/automemlimit", []string{"cmd/perto"}},
	{"github.com/hashicorp/hcl", []string{"config", "internal/test/expect"}},
	{"github.com/chromedp/", []string{"internal/test/headless"}},
	{"github.com/prometheus/", []string{"metrics"}},
}

// file is one parsed Go file of the module.
type file struct {
	path string // slash-separated, from the module's root
	pkg  string // its folder from the module's root, "" for the root
	test bool
	ast  *ast.File
}

var fset = token.NewFileSet()

func moduleFiles(t *testing.T) []file {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	var files []file
	err = fs.WalkDir(os.DirFS(root), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if n := d.Name(); n != "." && (strings.HasPrefix(n, ".") || n == "testdata" || n == "node_modules") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		f, err := parser.ParseFile(fset, filepath.Join(root, p), nil, parser.ParseComments)
		if err != nil {
			return err
		}
		pkg := path.Dir(p)
		if pkg == "." {
			pkg = ""
		}
		files = append(files, file{path: p, pkg: pkg, test: strings.HasSuffix(p, "_test.go"), ast: f})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 10 {
		t.Fatalf("found %d Go files: the walk is broken", len(files))
	}
	return files
}

func imports(f file) []string {
	var out []string
	for _, spec := range f.ast.Imports {
		p, _ := strconv.Unquote(spec.Path.Value)
		out = append(out, p)
	}
	return out
}

// internalPackage returns the folder of an import of this module.
func internalPackage(imp string) (string, bool) {
	if imp == "perto" {
		return "", true
	}
	return strings.CutPrefix(imp, "perto/")
}

func TestImportsPointDown(t *testing.T) {
	for _, f := range moduleFiles(t) {
		layer, ok := layers[f.pkg]
		if !ok {
			t.Errorf("%s: package %q has no layer: add it to the table in internal/arch and to docs/architecture.md", f.path, f.pkg)
			continue
		}
		if f.test {
			continue
		}
		for _, imp := range imports(f) {
			to, ok := internalPackage(imp)
			if !ok {
				continue
			}
			below := layers[to]
			switch {
			case below < layer, layer == 0:
			case below == layer && sameLayer[f.pkg][to] != "":
			default:
				t.Errorf("%s: %q (layer %d) may not import %q (layer %d)", f.path, f.pkg, layer, to, below)
			}
		}
	}
}

func TestLibrariesAreFenced(t *testing.T) {
	for _, f := range moduleFiles(t) {
		if f.test {
			continue
		}
		for _, imp := range imports(f) {
			for _, fence := range fences {
				if strings.HasPrefix(imp, fence.library) && !slices.Contains(fence.packages, f.pkg) {
					t.Errorf("%s imports %s, which is for %v only", f.path, imp, fence.packages)
				}
			}
		}
	}
}

// TestImportTablesAreCurrent: every package in the tables exists, and every exception is
// used.
func TestImportTablesAreCurrent(t *testing.T) {
	packages, used := make(map[string]bool), make(map[[2]string]bool)
	for _, f := range moduleFiles(t) {
		packages[f.pkg] = true
		if f.test {
			continue
		}
		for _, imp := range imports(f) {
			if to, ok := internalPackage(imp); ok {
				used[[2]string{f.pkg, to}] = true
			}
			for _, fence := range fences {
				if strings.HasPrefix(imp, fence.library) {
					used[[2]string{f.pkg, fence.library}] = true
				}
			}
		}
	}
	for pkg := range layers {
		if !packages[pkg] {
			t.Errorf("layers names the package %q, which does not exist", pkg)
		}
	}
	for pkg, list := range sameLayer {
		for to := range list {
			if !used[[2]string{pkg, to}] {
				t.Errorf("sameLayer lets %s import %s, which it does not", pkg, to)
			}
		}
	}
	for _, fence := range fences {
		for _, pkg := range fence.packages {
			if !used[[2]string{pkg, fence.library}] {
				t.Errorf("fences lets %s use %s, which it does not", pkg, fence.library)
			}
		}
	}
}

func TestPackagesHaveComments(t *testing.T) {
	documented := make(map[string]bool)
	for _, f := range moduleFiles(t) {
		if f.test {
			if _, ok := documented[f.pkg]; !ok && strings.HasSuffix(f.ast.Name.Name, "_test") {
				continue
			}
		}
		documented[f.pkg] = documented[f.pkg] || (f.ast.Doc != nil && !f.test)
	}
	for pkg, ok := range documented {
		if !ok && pkg != "docs" && pkg != "bench" && !strings.HasPrefix(pkg, "bench/") {
			t.Errorf("package %q has no package comment", pkg)
		}
	}
}

// TestPackagesHaveNoGlobalState keeps fifty Nodes possible in one process. It forbids init
// functions, and channels and mutable registries at package level.
func TestPackagesHaveNoGlobalState(t *testing.T) {
	for _, f := range moduleFiles(t) {
		if f.test {
			continue
		}
		for _, decl := range f.ast.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil && d.Name.Name == "init" {
					t.Errorf("%s: init function", f.path)
				}
			case *ast.GenDecl:
				if d.Tok != token.VAR {
					continue
				}
				for _, spec := range d.Specs {
					v := spec.(*ast.ValueSpec)
					for _, e := range append([]ast.Expr{v.Type}, v.Values...) {
						if isChannel(e) {
							t.Errorf("%s: package-level channel %s", f.path, v.Names[0])
						}
					}
				}
			}
		}
	}
}

func isChannel(e ast.Expr) bool {
	switch x := e.(type) {
	case *ast.ChanType:
		return true
	case *ast.CallExpr:
		if id, ok := x.Fun.(*ast.Ident); ok && id.Name == "make" && len(x.Args) > 0 {
			return isChannel(x.Args[0])
		}
	}
	return false
}

func TestTodosNameAnIssue(t *testing.T) {
	for _, f := range moduleFiles(t) {
		for _, group := range f.ast.Comments {
			for _, c := range group.List {
				for _, word := range []string{"TO" + "DO", "FIX" + "ME", "XX" + "X"} {
					if i := strings.Index(c.Text, word); i >= 0 && !strings.HasPrefix(c.Text[i:], "TO"+"DO(#") {
						t.Errorf("%s: %s without an issue number: %s", fset.Position(c.Pos()), word, c.Text)
					}
				}
			}
		}
	}
}

// longFiles lists files that may exceed the soft limit of 500 lines, each with its
// reason.
var longFiles = map[string]string{}

func TestFilesHoldOneConcept(t *testing.T) {
	const maxLines, maxFuncLines = 500, 100
	for _, f := range moduleFiles(t) {
		if f.test {
			continue
		}
		if n := fset.Position(f.ast.End()).Line; n > maxLines && longFiles[f.path] == "" {
			t.Errorf("%s has %d lines: more than one concept? (limit %d)", f.path, n, maxLines)
		}
		for _, decl := range f.ast.Decls {
			if d, ok := decl.(*ast.FuncDecl); ok && d.Body != nil {
				if n := fset.Position(d.End()).Line - fset.Position(d.Pos()).Line; n > maxFuncLines {
					t.Errorf("%s: %s has %d lines (limit %d)", f.path, d.Name.Name, n, maxFuncLines)
				}
			}
		}
	}
}
