package rfc9111

import (
	"slices"
	"strings"
	"testing"
	"time"

	"perto/internal/fields"
)

func TestSection4_1_Vary(t *testing.T) {
	for _, tc := range []struct {
		name, vary    string
		stored, asked []string
		want          bool
	}{
		{"no Vary", "", []string{"Foo", "1"}, nil, true},
		{"same value", "Foo", []string{"Foo", "1"}, []string{"foo", "1"}, true},
		{"other value", "Foo", []string{"Foo", "1"}, []string{"Foo", "2"}, false},
		{"values keep their case", "Foo", []string{"Foo", "a"}, []string{"Foo", "A"}, false},
		{"absent and absent", "Foo", nil, nil, true},
		{"absent and present", "Foo", nil, []string{"Foo", "1"}, false},
		{"absent and empty", "Foo", nil, []string{"Foo", ""}, false},
		{"two fields", "Foo, Bar", []string{"Foo", "1", "Bar", "2"}, []string{"Bar", "2", "Foo", "1"}, true},
		{"two fields, one differs", "Foo, Bar", []string{"Foo", "1", "Bar", "2"}, []string{"Bar", "3", "Foo", "1"}, false},
		{"lines combined", "Foo", []string{"Foo", "1, 2"}, []string{"Foo", "1", "Foo", "2"}, true},
		{"white space", "Foo", []string{"Foo", "1,2"}, []string{"Foo", " 1 ,  2"}, true},
		{"order matters", "Foo", []string{"Foo", "1,2"}, []string{"Foo", "2,1"}, false},
		{"language order", "Accept-Language", []string{"Accept-Language", "en, de"}, []string{"Accept-Language", "DE,en"}, true},
		{"language preference", "Accept-Language", []string{"Accept-Language", "en, de;q=0.5"}, []string{"Accept-Language", "de, en;q=0.5"}, false},
		{"refused language", "Accept-Language", []string{"Accept-Language", "en, de;q=0"}, []string{"Accept-Language", "en"}, true},
		{"codings", "Accept-Encoding", []string{"Accept-Encoding", "gzip, br"}, []string{"Accept-Encoding", "br;q=0.9, gzip;q=0.8, x-odd"}, true},
		{"other codings", "Accept-Encoding", []string{"Accept-Encoding", "gzip, br"}, []string{"Accept-Encoding", "gzip"}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, ok := NewSelector(fields.Of("Vary", tc.vary), fields.Of(tc.stored...))
			if !ok {
				t.Fatal("taken for *")
			}
			if got := s.Match(fields.Of(tc.asked...)); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
			same := string(s.AppendKey(nil, fields.Of(tc.stored...))) == string(s.AppendKey(nil, fields.Of(tc.asked...)))
			unusual := tc.name == "white space" // such a value has a separate flight
			if same != (tc.want && !unusual) {
				t.Errorf("keys say %v, want %v", same, tc.want)
			}
		})
	}
	for _, vary := range []string{"*", "*, *", ", *", "Foo, *", "*, Foo"} {
		if _, ok := NewSelector(fields.Of("Vary", vary), nil); ok {
			t.Errorf("Vary: %s must fit nothing", vary)
		}
	}
}

func TestSection4_1_BestLanguageFits(t *testing.T) {
	s, _ := NewSelector(fields.Of("Vary", "Accept-Language", "Content-Language", "de"), fields.Of("Accept-Language", "en, de"))
	for asked, want := range map[string]bool{"fr;q=0.5, de;q=1.0": true, "de, en;q=0.1": true, "de, fr": false, "fr, de;q=0.9": false} {
		if got := s.Match(fields.Of("Accept-Language", asked)); got != want {
			t.Errorf("%s: got %v, want %v", asked, got, want)
		}
	}
}

func TestMatchAllocatesNothing(t *testing.T) {
	req := fields.Of("Accept-Encoding", "gzip, deflate, br, zstd", "Accept-Language", "pt-BR,pt;q=0.9,en;q=0.8", "Foo", "a, b")
	s, _ := NewSelector(fields.Of("Vary", "Accept-Encoding, Accept-Language, Foo"), req)
	if n := testing.AllocsPerRun(100, func() {
		if !s.Match(req) {
			t.Fatal("no match")
		}
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func TestSection4_3_2_ConditionalRequests(t *testing.T) {
	tagged := fields.Of("ETag", `"a"`, "Last-Modified", httpDate(-time.Hour), "Date", httpDate(0))
	for _, tc := range []struct {
		name  string
		asked []string
		reply fields.Header
		want  bool
	}{
		{"unconditional", nil, tagged, false},
		{"same tag", []string{"If-None-Match", `"a"`}, tagged, true},
		{"weak against strong", []string{"If-None-Match", `W/"a"`}, tagged, true},
		{"in a list", []string{"If-None-Match", `"x", "a", "y"`}, tagged, true},
		{"comma inside a tag", []string{"If-None-Match", `"x,a"`}, fields.Of("ETag", `"x,a"`), true},
		{"star", []string{"If-None-Match", "*"}, tagged, true},
		{"other tag", []string{"If-None-Match", `"b"`}, tagged, false},
		{"tag decides over date", []string{"If-None-Match", `"b"`, "If-Modified-Since", httpDate(0)}, tagged, false},
		{"tag decides over date, again", []string{"If-None-Match", `"a"`, "If-Modified-Since", httpDate(-2 * time.Hour)}, tagged, true},
		{"not modified since", []string{"If-Modified-Since", httpDate(-time.Hour)}, tagged, true},
		{"modified since", []string{"If-Modified-Since", httpDate(-2 * time.Hour)}, tagged, false},
		{"no Last-Modified: Date", []string{"If-Modified-Since", httpDate(time.Second)}, fields.Of("Date", httpDate(0)), true},
		{"no date at all", []string{"If-Modified-Since", httpDate(0)}, nil, false},
		{"bad date", []string{"If-Modified-Since", "yesterday"}, tagged, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := NotModified(fields.Of(tc.asked...), tc.reply, now); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestSection3_2_FresheningByNotModified(t *testing.T) {
	stored := fields.Of("Content-Type", "text/plain", "X", "old", "Keep", "me", "Content-Encoding", "gzip")
	fresh := fields.Of("X", "new", "X", "newer", "ETag", `"b"`, "Content-Length", "0", "Content-Encoding", "br",
		"Age", "5", "Connection", "Y", "Y", "hop")
	got := string(Merge(stored, fresh).Append(nil))
	want := "Content-Type: text/plain\r\nKeep: me\r\nContent-Encoding: gzip\r\nX: new\r\nX: newer\r\nETag: \"b\"\r\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestSection3_1_StoredFields(t *testing.T) {
	in := fields.Of("A", "1", "Connection", "b, close", "B", "2", "TE", "x", "Keep-Alive", "x", "Proxy-Authenticate", "x",
		"Upgrade", "x", "Age", "4", "Content-Length", "9", "Secret", "x")
	got := string(EndToEnd(in, [][]byte{[]byte("secret")}).Append(nil))
	if want := "A: 1\r\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSection4_3_4_NotModifiedConfirmsReply(t *testing.T) {
	for _, tc := range []struct {
		name          string
		stored, fresh []string
		want          bool
	}{
		{"the same strong tag", []string{"ETag", `"1"`}, []string{"ETag", `"1"`}, true},
		{"another strong tag", []string{"ETag", `"1"`}, []string{"ETag", `"2"`}, false},
		{"a strong tag for a weak one", []string{"ETag", `W/"1"`}, []string{"ETag", `"1"`}, false},
		{"a strong tag for none", []string{"Last-Modified", httpDate(0)}, []string{"ETag", `"1"`}, false},
		{"a weak tag that matches", []string{"ETag", `"1"`}, []string{"ETag", `W/"1"`}, true},
		{"a weak tag that does not", []string{"ETag", `W/"1"`}, []string{"ETag", `W/"2"`}, false},
		{"no validator", []string{"ETag", `"1"`}, nil, true},
		{"the same date", []string{"Last-Modified", httpDate(0)}, []string{"Last-Modified", httpDate(0)}, true},
		{"another date", []string{"Last-Modified", httpDate(0)}, []string{"Last-Modified", httpDate(-time.Hour)}, false},
		{"the same tag with another date", []string{"ETag", `"1"`, "Last-Modified", httpDate(0)}, []string{"ETag", `"1"`, "Last-Modified", httpDate(-time.Hour)}, true},
	} {
		if got := Confirms(fields.Of(tc.stored...), fields.Of(tc.fresh...)); got != tc.want {
			t.Errorf("%s: got %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestSection4_4_Invalidation(t *testing.T) {
	for _, tc := range []struct {
		method string
		status int
		want   bool
	}{
		{"POST", 200, true}, {"PUT", 204, true}, {"DELETE", 303, true}, {"M-SEARCH", 200, true},
		{"POST", 500, false}, {"POST", 404, false}, {"GET", 200, false}, {"HEAD", 200, false}, {"OPTIONS", 200, false},
	} {
		if got := Invalidates(tc.method, tc.status); got != tc.want {
			t.Errorf("%s %d: got %v, want %v", tc.method, tc.status, got, tc.want)
		}
	}
	for _, tc := range []struct {
		ref  string
		want []string
	}{
		{"/x?y", []string{"/x?y"}}, {"x", []string{"/a/x"}}, {"../x", []string{"/x"}},
		{"http://h/z", []string{"/z"}}, {"//h/z", []string{"/z"}}, {"http://other/z", nil}, {"http://u@h/z", nil}, {"%zz", nil},
	} {
		if got := Targets("h", "/a/b", fields.Of("Content-Location", tc.ref)); !slices.Equal(got, tc.want) {
			t.Errorf("%s: got %q, want %q", tc.ref, got, tc.want)
		}
	}
}

func TestRFC9110_14_Ranges(t *testing.T) {
	for _, tc := range []struct {
		in            string
		first, length int64
		kind          RangeKind
	}{
		{"bytes=0-1", 0, 2, OneRange}, {"BYTES=3-", 3, 7, OneRange}, {"bytes=-4", 6, 4, OneRange},
		{"bytes=-40", 0, 10, OneRange}, {"bytes=8-99", 8, 2, OneRange}, {"bytes=9-9", 9, 1, OneRange},
		{"bytes=10-", 0, 0, Unsatisfiable}, {"bytes=-0", 0, 0, Unsatisfiable},
		{"bytes=5-3", 0, 0, WholeBody}, {"bytes=-", 0, 0, WholeBody}, {"bytes=a-b", 0, 0, WholeBody}, {"lines=0-1", 0, 0, WholeBody},
		{"bytes=0-1,3-4", 0, 0, WholeBody}, {"bytes=0-99999999999999999999", 0, 0, WholeBody}, {"bytes=+1-2", 0, 0, WholeBody}, {"bytes", 0, 0, WholeBody},
	} {
		first, length, kind := ParseRange([]byte(tc.in), 10)
		if first != tc.first || length != tc.length || kind != tc.kind {
			t.Errorf("%s: got %d+%d %d, want %d+%d %d", tc.in, first, length, kind, tc.first, tc.length, tc.kind)
		}
	}
}

func TestRFC9110_13_1_5_IfRange(t *testing.T) {
	stored := fields.Of("ETag", `"a"`, "Last-Modified", httpDate(-time.Hour))
	weak := fields.Of("ETag", `W/"a"`)
	for _, tc := range []struct {
		ifRange string
		stored  fields.Header
		want    bool
	}{
		{`"a"`, stored, true}, {`"b"`, stored, false}, {`W/"a"`, stored, false}, {`W/"a"`, weak, false}, {`"a"`, weak, false},
		{httpDate(-time.Hour), stored, true}, {httpDate(0), stored, false}, {"x", stored, false},
	} {
		if got := IfRange(fields.Of("If-Range", tc.ifRange), tc.stored, now); got != tc.want {
			t.Errorf("%s: got %v, want %v", tc.ifRange, got, tc.want)
		}
	}
	if !IfRange(nil, stored, now) {
		t.Error("without If-Range the Range counts")
	}
}

func FuzzRange(f *testing.F) {
	for s := range strings.FieldsSeq("bytes=0-1 bytes=-5 bytes=5- bytes=0-0,1-1 bytes=9223372036854775807-") {
		f.Add([]byte(s), int64(10))
	}
	f.Fuzz(func(t *testing.T, v []byte, size int64) {
		if size < 0 {
			return
		}
		first, length, kind := ParseRange(v, size)
		if kind == OneRange && (first < 0 || length < 1 || first+length > size) {
			t.Fatalf("%q of %d bytes gives %d+%d", v, size, first, length)
		}
	})
}

// TestLongPreferencesAreCutShort limits lists that are read once for each variant.
func TestLongPreferencesAreCutShort(t *testing.T) {
	s, _ := NewSelector(fields.Of("Vary", "Accept-Language"), fields.Of("Accept-Language", "en"))
	for refused, want := range map[int]bool{maxMembers - 1: true, maxMembers: false} {
		if got := s.Match(fields.Of("Accept-Language", strings.Repeat("a;q=0,", refused)+"en")); got != want {
			t.Errorf("after %d others: %v, want %v", refused, got, want)
		}
	}
}
