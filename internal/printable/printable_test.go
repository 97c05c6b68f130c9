package printable

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestTextIsOneLineOfGlyphs(t *testing.T) {
	for in, want := range map[string]string{
		"":                          "",
		"GET /a?b=c":                "GET /a?b=c",
		"São Paulo, 東京 🙂":           "São Paulo, 東京 🙂",
		"a\nERROR b\r\tc":           `a\nERROR b\r\tc`,
		"\x1b]0;owned\x07\x1b[2J":   `\u001b]0;owned\u0007\u001b[2J`,
		"\x00\x7f":                  `\u0000\u007f`,
		"\u009b31m\u0085":           `\u009b31m\u0085`,
		"\u202egnp.exe\u2066\u200f": `\u202egnp.exe\u2066\u200f`,
		"a\u2028b\u2029\ufeff":      `a\u2028b\u2029\ufeff`,
		"\xff\xc3(\xed\xa0\x80":     `\xff\xc3(\xed\xa0\x80`,
		"\U000e0001":                `\udb40\udc01`,
		`back\slash`:                `back\slash`,
	} {
		if got := Text(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
		if got := Text([]byte(in)); got != want {
			t.Errorf("%q as bytes: got %q", in, got)
		}
	}
	if got := lines("a\tb\nc\r\n\x1b"); got != "a\tb\nc\\r\n\\u001b" {
		t.Errorf("lines: got %q", got)
	}
}

// TestWriterJoinsCharacters: the text is the same for all divisions into writes.
func TestWriterJoinsCharacters(t *testing.T) {
	const text = "é東🙂\x1b[2J\xf0\x9f!\xff\n\u202e\xe6\x9d"
	for size := 1; size < 8; size++ {
		var out strings.Builder
		w := NewWriter(&out)
		for rest := text; rest != ""; {
			n := min(size, len(rest))
			if m, err := w.Write([]byte(rest[:n])); m != n || err != nil {
				t.Fatal(m, err)
			}
			rest = rest[n:]
		}
		if err := w.Flush(); err != nil || out.String() != lines(text) {
			t.Errorf("by %d bytes: got %q, want %q", size, out.String(), lines(text))
		}
	}
}

func FuzzText(f *testing.F) {
	for _, s := range []string{"", "plain", "a\nb", "\x1b[31m", "\u009b", "\u202e", "\xff\xfe", "\U000e0001", "é\xc3", "\x7f\u0085\u2028"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := Text(s)
		if !utf8.ValidString(got) {
			t.Fatalf("%q became %q", s, got)
		}
		for _, r := range got {
			if r < ' ' || 0x7f <= r && r < 0xa0 || 0x202a <= r && r <= 0x202e || 0x2066 <= r && r <= 0x2069 || r == 0x2028 || r == 0x2029 {
				t.Fatalf("%q became %q", s, got)
			}
		}
		if Text(got) != got {
			t.Fatalf("%q became %q, which becomes %q", s, got, Text(got))
		}
		// The escapes in encoded JSON are JSON with the same value.
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var a, b string
		if err := json.Unmarshal([]byte(lines(text)), &a); err != nil || json.Unmarshal(text, &b) != nil || a != b {
			t.Fatalf("%s became %s: %v", text, lines(text), err)
		}
	})
}

// lines is the text that a Writer makes of s: like Text, but it keeps line feeds and
// tabs.
func lines[T string | []byte](s T) string {
	return string(appendEscaped(make([]byte, 0, len(s)), string(s), true))
}
