package rfc9111

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"perto/internal/fields"
)

// TestCanonicalFieldsSelectLikeRequest checks for each normalised field that the form
// for the origin is stable and selects the same reply as the request.
func TestCanonicalFieldsSelectLikeRequest(t *testing.T) {
	for _, tc := range []struct{ name, value, want string }{
		{"Accept-Encoding", "gzip, br", "br, gzip"},
		{"Accept-Encoding", "x-gzip", "identity"},
		{"Accept-Encoding", "identity;q=0", "identity"},
		{"Accept-Encoding", "", "identity"},
		{"Accept-Encoding", "BR;q=0.1, gzip;q=0, deflate", "br, deflate"},
		{"Accept-Encoding", "*", "*"},
		{"Accept-Encoding", "gzip;q=0, *", "identity"},
		{"Accept-Encoding", "*;q=0, gzip", "gzip"},
		{"Accept-Language", "pt-br,pt;q=0.5,EN;q=0.5, zh-hant-tw;q=0.1", "pt-BR, en;q=0.9, pt;q=0.9, zh-Hant-TW;q=0.8"},
		{"Accept-Language", "en;q=0, *", "*"},
		{"Accept-Language", "<script>, \"a,b\"", "*"},
		{"Accept-Language", "a,b;q=.9,c;q=0.8,d;q=0.7,e;q=0.6,f;q=0.5,g;q=0.4,h;q=0.3,i;q=0.2,j;q=0.1,k;q=0.09,l;q=0.08", ""},
		{"Foo", "a,,b", "a,,b"},
	} {
		h := fields.Of(tc.name, tc.value)
		sent := Canonical(slices.Clip(h))
		got, _ := sent.Get(string(bytes.ToLower([]byte(tc.name))))
		if tc.want != "" && string(got) != tc.want {
			t.Errorf("%s: %s: got %q, want %q", tc.name, tc.value, got, tc.want)
		}
		s, _ := NewSelector(fields.Of("Vary", tc.name), fields.Of(tc.name, tc.value))
		if !s.Match(sent) {
			t.Errorf("%s: %s: its form for the origin, %q, selects another reply", tc.name, tc.value, got)
		}
		if again := Canonical(slices.Clip(sent)); !bytes.Equal(again.Append(nil), sent.Append(nil)) {
			t.Errorf("%s: %s: %q became %q", tc.name, tc.value, sent.Append(nil), again.Append(nil))
		}
	}
}

func TestRepeatedLinesAreSentAsOne(t *testing.T) {
	got := string(Canonical(fields.Of("Foo", "a", "Cookie", "x=1", "foo", "b", "Bar", "c", "COOKIE", "y=2")).Append(nil))
	if want := "Foo: a, b\r\nCookie: x=1; y=2\r\nBar: c\r\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestUnusualValuesSelectThemselvesOnly checks that a reply to an ambiguous value fits
// no request with the usual form.
func TestUnusualValuesSelectThemselvesOnly(t *testing.T) {
	for _, tc := range []struct {
		name, stored, asked string
		want                bool
	}{
		{"Foo", "1,2", "1, 2", true}, {"Foo", "1, 2", "1 ,  2", true}, {"Foo", "1, 2", "1,,2", true},
		{"Foo", "1,,2", "1,2", false}, {"Foo", "1 ,2", "1,2", false}, {"Foo", "1,2,", "1,2", false}, {"Foo", ",", "", false},
		{"Foo", "1,,2", "1,,2", true}, {"Foo", "", "", true}, {"Foo", "1,  2", "1, 2", false},
		{"Foo", `"a,b", c`, `"a,b",c`, false}, {"Foo", `"a, b"`, `"a,b"`, false},
		{"Cookie", "a=1,2", "a=1, 2", false}, {"Cookie", "a=1,2", "a=1,2", true},
		{"User-Agent", "x (a, b)", "x (a,b)", false}, {"User-Agent", "x (a, b)", "x (a, b)", true},
	} {
		s, _ := NewSelector(fields.Of("Vary", tc.name), fields.Of(tc.name, tc.stored))
		if got := s.Match(fields.Of(tc.name, tc.asked)); got != tc.want {
			t.Errorf("%s: stored for %q, asked with %q: %v, want %v", tc.name, tc.stored, tc.asked, got, tc.want)
		}
		a := s.AppendKey(nil, fields.Of(tc.name, tc.stored))
		b := s.AppendKey(nil, fields.Of(tc.name, tc.asked))
		if bytes.Equal(a, b) && !tc.want {
			t.Errorf("%s: %q and %q share a flight", tc.name, tc.stored, tc.asked)
		}
	}
}

// FuzzCanonical checks that the form for the origin is stable and selects the same
// reply as the request.
func FuzzCanonical(f *testing.F) {
	for _, v := range []string{"gzip, br;q=0.5, *", "identity;q=0", "en-us,*;q=0.1", "a,,b", `"x`, "", ", ,", "a;b;c"} {
		f.Add(v, v)
	}
	f.Fuzz(func(t *testing.T, one, two string) {
		if strings.ContainsFunc(one+two, func(c rune) bool { return c < ' ' && c != '\t' }) {
			return // field values have no controls
		}
		for _, name := range []string{"accept-encoding", "accept-language", "foo"} {
			h := fields.Of(name, string(fields.Trim([]byte(one))), name, string(fields.Trim([]byte(two))))
			sent := Canonical(h.Clone())
			if again := Canonical(sent.Clone()); !bytes.Equal(again.Append(nil), sent.Append(nil)) {
				t.Fatalf("%q: %q became %q", h.Append(nil), sent.Append(nil), again.Append(nil))
			}
			s, _ := NewSelector(fields.Of("Vary", name), sent)
			if !s.Match(h) {
				t.Fatalf("%q does not select the reply to %q", h.Append(nil), sent.Append(nil))
			}
		}
	})
}
