package docs

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestDependenciesHaveReasons: each direct dependency of go.mod has a row in
// dependencies.md, and each row a dependency.
func TestDependenciesHaveReasons(t *testing.T) {
	mod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	var direct []string
	for line := range strings.SplitSeq(string(mod), "\n") {
		if m := regexp.MustCompile(`^\t(\S+) v\S+$`).FindStringSubmatch(line); m != nil { // indirect ones end in a comment
			direct = append(direct, m[1])
		}
	}
	var listed []string
	for _, m := range regexp.MustCompile(`(?m)^\| (\S+\.\S+) \| \S`).FindAllStringSubmatch(pages(t)["dependencies.md"], -1) {
		listed = append(listed, m[1])
	}
	slices.Sort(direct)
	slices.Sort(listed)
	if len(direct) < 5 || !slices.Equal(direct, listed) {
		t.Errorf("go.mod requires\n%s\ndependencies.md lists\n%s", strings.Join(direct, "\n"), strings.Join(listed, "\n"))
	}
}
