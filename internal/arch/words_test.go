package arch

import (
	"go/ast"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// wordLimits are words that make text hard to read, and how often they may come in 1,000
// words of comments and help texts. CONTRIBUTING.md says what to write instead.
var wordLimits = []struct {
	name  string
	words *regexp.Regexp
	limit float64
}{
	{"nobody, somebody, everybody, whoever, whom", regexp.MustCompile(`(?i)\b(nobody|somebody|everybody|anybody|whoever|whom)\b`), 0.2},
	{"who", regexp.MustCompile(`(?i)\bwho\b`), 0.2},
	{"what", regexp.MustCompile(`(?i)\bwhat(ever)?\b`), 1},
	{"hear, tell, believe, know", regexp.MustCompile(`(?i)\b(hears?|heard|tells?|told|believes?|believed|knows)\b`), 0.2},
}

// TestTextIsPlain counts hard words in the comments and in the help texts of commands.
func TestTextIsPlain(t *testing.T) {
	type count struct {
		file string
		n    int
	}
	words := 0
	found := make([][]count, len(wordLimits))
	for _, f := range moduleFiles(t) {
		if f.path == "internal/arch/words_test.go" {
			continue // it names the words
		}
		text := plainText(f)
		words += len(strings.Fields(text))
		for i, l := range wordLimits {
			if n := len(l.words.FindAllString(text, -1)); n > 0 {
				found[i] = append(found[i], count{f.path, n})
			}
		}
	}
	for i, l := range wordLimits {
		n := 0
		for _, c := range found[i] {
			n += c.n
		}
		per := float64(n) * 1000 / float64(words)
		t.Logf("%s: %.2f in 1,000 words, limit %.1f", l.name, per, l.limit)
		if per > l.limit {
			slices.SortFunc(found[i], func(a, b count) int { return b.n - a.n })
			t.Errorf("%s: %.2f in 1,000 words, limit %.1f; most of them in %v", l.name, per, l.limit, found[i][:min(10, len(found[i]))])
		}
	}
}

// plainText returns the comments of a file and the help texts in its struct tags.
func plainText(f file) string {
	var b strings.Builder
	for _, c := range f.ast.Comments {
		b.WriteString(c.Text())
		b.WriteByte('\n')
	}
	help := regexp.MustCompile(`help:"((?:[^"\\]|\\.)*)"`)
	ast.Inspect(f.ast, func(n ast.Node) bool {
		if field, ok := n.(*ast.Field); ok && field.Tag != nil {
			for _, m := range help.FindAllStringSubmatch(field.Tag.Value, -1) {
				b.WriteString(m[1] + "\n")
			}
		}
		return true
	})
	return b.String()
}
