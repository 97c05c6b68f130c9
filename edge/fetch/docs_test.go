package fetch

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestRemovedFieldsAreDocumented checks that docs/edge.md lists exactly the fields that
// are removed from requests.
func TestRemovedFieldsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/edge.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(page), "## Removed request fields\n")
	if !ok {
		t.Fatal("the section is missing")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var got []string
	for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(section, -1) {
		got = append(got, strings.ToLower(m[1]))
	}
	want := slices.Sorted(slices.Values(unforwarded[:]))
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("documented: %q\nremoved: %q", got, want)
	}
}
