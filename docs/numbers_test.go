package docs

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// A number of the code in a page or a comment is followed by the constants that it is
// made of, in the form
//
//	2.4 s (`replicas: missedRemove*DefaultInterval - leaseSlack`)
//
// The test computes the expression from the sources of that package.
var numbered = regexp.MustCompile("(\\d[\\d,]*(?:\\.\\d+)?)(?:[  ](ms|s|min|minutes|seconds|KiB|MiB|GiB|%)\\b)?[^`\\n]{0,40}?\\(`([a-z0-9/]+): ([^`]+)`\\)")

// units are what a number with a unit is worth in the code: nanoseconds or bytes.
var units = map[string]int64{"": 1, "%": 1, "ms": int64(time.Millisecond), "s": int64(time.Second), "seconds": int64(time.Second),
	"min": int64(time.Minute), "minutes": int64(time.Minute), "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}

// TestNumbersAreThoseOfTheCode checks every number that names its constants.
func TestNumbersAreThoseOfTheCode(t *testing.T) {
	found := 0
	for name, text := range texts(t) {
		for _, m := range numbered.FindAllStringSubmatch(text, -1) {
			found++
			said := constant.BinaryOp(constant.MakeFromLiteral(strings.ReplaceAll(m[1], ",", ""), literalKind(m[1]), 0), token.MUL, constant.MakeInt64(units[m[2]]))
			is, err := evaluate("../"+m[3], m[4])
			if err != nil {
				t.Errorf("%s: %s: %v", name, m[0], err)
				continue
			}
			if !constant.Compare(said, token.EQL, is) {
				t.Errorf("%s says %q, but %s is %s", name, m[0], m[4], is)
			}
		}
	}
	if found < 8 {
		t.Errorf("found only %d numbers that name their constants", found)
	}
}

func literalKind(number string) token.Token {
	if strings.Contains(number, ".") {
		return token.FLOAT
	}
	return token.INT
}

// evaluate computes a constant expression with the constants of the package in dir.
func evaluate(dir, expression string) (constant.Value, error) {
	e := evaluator{constants: make(map[string]ast.Expr)}
	files, err := filepath.Glob(dir + "/*.go")
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("no package in %s", dir)
	}
	for _, f := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), f, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		for _, d := range parsed.Decls {
			if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.CONST {
				e.declare(g)
			}
		}
	}
	x, err := parser.ParseExpr(expression)
	if err != nil {
		return nil, err
	}
	return e.value(x, 0)
}

type evaluator struct{ constants map[string]ast.Expr }

func (e *evaluator) declare(g *ast.GenDecl) {
	for _, s := range g.Specs {
		v := s.(*ast.ValueSpec)
		for i, n := range v.Names {
			if i < len(v.Values) {
				e.constants[n.Name] = v.Values[i]
			}
		}
	}
}

// durations are the constants of package time that expressions use.
var durations = map[string]time.Duration{"Nanosecond": time.Nanosecond, "Microsecond": time.Microsecond, "Millisecond": time.Millisecond,
	"Second": time.Second, "Minute": time.Minute, "Hour": time.Hour}

// maxDepth bounds constants that are made of others.
const maxDepth = 20

func (e *evaluator) value(x ast.Expr, depth int) (constant.Value, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("the expression never ends")
	}
	switch x := x.(type) {
	case *ast.BasicLit:
		return constant.MakeFromLiteral(x.Value, x.Kind, 0), nil
	case *ast.ParenExpr:
		return e.value(x.X, depth+1)
	case *ast.Ident:
		c, ok := e.constants[x.Name]
		if !ok {
			return nil, fmt.Errorf("no constant is called %s", x.Name)
		}
		return e.value(c, depth+1)
	case *ast.SelectorExpr:
		d, ok := durations[x.Sel.Name]
		if !ok {
			return nil, fmt.Errorf("cannot evaluate %s", x.Sel.Name)
		}
		return constant.MakeInt64(int64(d)), nil
	case *ast.BinaryExpr:
		a, err := e.value(x.X, depth+1)
		if err != nil {
			return nil, err
		}
		b, err := e.value(x.Y, depth+1)
		if err != nil {
			return nil, err
		}
		if x.Op == token.SHL || x.Op == token.SHR {
			by, _ := constant.Uint64Val(b)
			return constant.Shift(a, x.Op, uint(by)), nil
		}
		op := x.Op
		if op == token.QUO && a.Kind() == constant.Int && b.Kind() == constant.Int {
			op = token.QUO_ASSIGN // of integers (go/constant)
		}
		return constant.BinaryOp(a, op, b), nil
	}
	return nil, fmt.Errorf("cannot evaluate %T", x)
}

// texts returns all pages, and the comments of all Go files, by file.
func texts(t *testing.T) map[string]string {
	t.Helper()
	out := pages(t)
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "node_modules" || d.Name() == "testdata"):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go"):
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		var b strings.Builder
		for _, c := range f.Comments {
			b.WriteString(c.Text())
			b.WriteByte('\n')
		}
		out[path] = b.String()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestNamedPagesExist: pages and headings of docs/ that pages and comments name are
// there.
func TestNamedPagesExist(t *testing.T) {
	named := regexp.MustCompile(`\bdocs/([A-Za-z0-9_./-]+\.(?:md|svg))(?:#([a-z0-9-]+))?`)
	outside := regexp.MustCompile(`\.\./shared|research/[a-z]+\.md|prototypes/|\bdesign\.md|\bstyle\.md`)
	all := pages(t)
	for name, text := range texts(t) {
		if strings.HasSuffix(name, "numbers_test.go") {
			continue // its own patterns
		}
		for _, m := range named.FindAllStringSubmatch(text, -1) {
			page, ok := all[m[1]]
			if !ok && !strings.HasSuffix(m[1], ".svg") {
				t.Errorf("%s names docs/%s, which is not there", name, m[1])
			} else if ok && m[2] != "" && !hasHeading(page, m[2]) {
				t.Errorf("%s names docs/%s#%s, which has no such heading", name, m[1], m[2])
			}
		}
		if m := outside.FindString(text); m != "" {
			t.Errorf("%s names %s, which is not in this repository", name, m)
		}
	}
}
