package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// Mistake is one mistake in a file.
type Mistake struct {
	File    string `json:"file"`
	Line    int    `json:"line"`   // from 1
	Column  int    `json:"column"` // from 1, in characters
	Width   int    `json:"width"`  // characters underlined, at least 1
	Message string `json:"message"`
	Source  string `json:"source"` // the line itself, "" when there is none
}

// Mistakes are the mistakes of a file. The error text shows them with lines and carets.
type Mistakes []Mistake

// maxMistakes is how many mistakes of one file are reported.
const maxMistakes = 20

// Error lists the mistakes, each with its position, line and caret.
func (m Mistakes) Error() string {
	var b strings.Builder
	b.WriteString("1 mistake")
	if len(m) != 1 {
		b.Reset()
		fmt.Fprintf(&b, "%d mistakes", len(m))
	}
	for _, x := range m {
		fmt.Fprintf(&b, "\n%s:%d:%d: %s", x.File, x.Line, x.Column, x.Message)
		if x.Source != "" {
			number := strconv.Itoa(x.Line)
			// Keep tabs, so that the caret is under its column.
			pad := strings.Map(func(r rune) rune {
				if r == '\t' {
					return '\t'
				}
				return ' '
			}, firstRunes(x.Source, x.Column-1))
			fmt.Fprintf(&b, "\n  %s | %s\n  %s | %s%s", number, x.Source, strings.Repeat(" ", len(number)), pad, strings.Repeat("^", max(1, x.Width)))
		}
	}
	return b.String()
}

func firstRunes(s string, n int) string {
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}

// mistakesOf turns diagnostics into mistakes, in order of position.
func mistakesOf(diags hcl.Diagnostics, src []byte) Mistakes {
	lines := strings.Split(string(src), "\n")
	var out Mistakes
	for _, d := range diags {
		if d.Severity != hcl.DiagError {
			continue
		}
		m := Mistake{Message: messageOf(d), Line: 1, Column: 1, Width: 1}
		if r := d.Subject; r != nil {
			m.File, m.Line, m.Column = r.Filename, r.Start.Line, r.Start.Column
			if r.End.Line == r.Start.Line {
				m.Width = max(1, r.End.Column-r.Start.Column)
			}
			if m.Line >= 1 && m.Line <= len(lines) {
				m.Source = strings.TrimRight(lines[m.Line-1], "\r")
			}
		}
		out = append(out, m)
	}
	slices.SortStableFunc(out, func(a, b Mistake) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return out[:min(len(out), maxMistakes)]
}

// messageOf joins the two parts of HCL's own messages. Messages of this package have
// one part.
func messageOf(d *hcl.Diagnostic) string {
	if d.Summary == "" {
		return d.Detail
	}
	detail := strings.Join(strings.Fields(d.Detail), " ")
	return strings.TrimSuffix(d.Summary+": "+detail, ": ")
}
