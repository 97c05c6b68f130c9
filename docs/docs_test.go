// Package docs holds the documentation; its tests keep it true.
package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func pages(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	more, _ := filepath.Glob("formats/*.md")
	files = append(append(files, more...), "../README.md")
	out := make(map[string]string)
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		out[f] = string(text)
	}
	if len(out) < 8 {
		t.Fatalf("found only %d pages", len(out))
	}
	return out
}

// TestLinksLead: what a page links to is there, heading included.
func TestLinksLead(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	all := pages(t)
	for page, text := range all {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target, heading, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			file := page
			if target != "" {
				file = filepath.Join(filepath.Dir(page), target)
			}
			if _, err := os.Stat(file); err != nil {
				t.Errorf("%s links to %s, which is not there", page, m[1])
				continue
			}
			if heading != "" && !hasHeading(all[filepath.ToSlash(file)], heading) {
				t.Errorf("%s links to %s, which has no such heading", page, m[1])
			}
		}
	}
}

// hasHeading compares as hosts of Markdown do: lower case, hyphens for spaces,
// nothing else.
func hasHeading(text, anchor string) bool {
	odd := regexp.MustCompile(`[^\pL\pN -]`)
	for line := range strings.SplitSeq(text, "\n") {
		if title, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " "); ok && strings.HasPrefix(line, "#") &&
			strings.ReplaceAll(odd.ReplaceAllString(strings.ToLower(title), ""), " ", "-") == anchor {
			return true
		}
	}
	return false
}

// TestNamedTestsAndFilesExist: a concept of the lecture is shown by a test that
// is there, in files that are there.
func TestNamedTestsAndFilesExist(t *testing.T) {
	cell := regexp.MustCompile("`([a-z0-9/]+): (Test[A-Za-z0-9_]+)`((?:, `Test[A-Za-z0-9_]+`)*)")
	path := regexp.MustCompile("`([a-z0-9]+(?:/[a-z0-9]+)*(?:/[a-z0-9_]+\\.go)?)`")
	found := 0
	for page, text := range pages(t) {
		for _, m := range cell.FindAllStringSubmatch(text, -1) {
			names := append([]string{m[2]}, regexp.MustCompile("Test[A-Za-z0-9_]+").FindAllString(m[3], -1)...)
			for _, name := range names {
				found++
				if !hasTest(t, "../"+m[1], name) {
					t.Errorf("%s names %s of %s, which is not there", page, name, m[1])
				}
			}
		}
		for _, m := range path.FindAllStringSubmatch(text, -1) {
			if !strings.HasSuffix(m[1], ".go") {
				continue
			}
			if _, err := os.Stat("../" + m[1]); err != nil {
				t.Errorf("%s names %s, which is not there", page, m[1])
			}
		}
	}
	if found < 10 {
		t.Errorf("found only %d tests named", found)
	}
}

func hasTest(t *testing.T, dir, name string) bool {
	t.Helper()
	files, err := filepath.Glob(dir + "/*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "func "+name+"(") {
			return true
		}
	}
	return false
}
