package fetch

import (
	"net/url"
	"strings"
	"testing"

	"perto/internal/fields"
)

func TestTargetsAreNormalised(t *testing.T) {
	for _, tc := range []struct {
		in, want string
		ok       bool
	}{
		{"/", "/", true}, {"/a/b?c=%7e/../x", "/a/b?c=%7e/../x", true}, {"*", "*", true},
		{"/%61%2D%7e", "/a-~", true}, {"/%2f%2F", "/%2F%2F", true}, {"/a%c3%a9", "/a%C3%A9", true},
		{"/a/./b", "/a/b", true}, {"/a/../b", "/b", true}, {"/a/b/..", "/a/", true}, {"/a/.", "/a/", true},
		{"/../../x", "/x", true}, {"/..", "/", true}, {"/%2e%2e/x", "/x", true}, {"/a/%2E/b", "/a/b", true},
		{"/a//b", "/a//b", true}, {"/.a/..b/c.", "/.a/..b/c.", true}, {"/a/..%2fb", "/a/..%2Fb", true},
		{"/a%5cb", "/a%5Cb", true}, {"/%c0%ae%c0%ae/", "/%C0%AE%C0%AE/", true},
		{"/a\x00", "", false}, {"/a b", "", false}, {"/a?b\r\nc", "", false}, {"/a%00", "", false}, {"/a%0a", "", false}, {"/a%7f", "", false},
		{"/a%", "/a%25", true}, {"/a%4", "/a%254", true}, {"/a%zz", "/a%25zz", true}, {"/100%/x", "/100%25/x", true}, {"/%%32%65", "/%252e", true},
		{"/a?b=100%", "/a?b=100%25", true}, {"/a?b=%zz&c=%41%7e", "/a?b=%25zz&c=%41%7e", true}, {"/a?%00", "/a?%00", true},
		{"/caf\xc3\xa9?q=\xc3\xa9", "/caf%C3%A9?q=%C3%A9", true}, {"/caf%c3%a9", "/caf%C3%A9", true},
		{"/\"<>\\^`{|}?\"<>\\^`{|}", "/%22%3C%3E%5C%5E%60%7B%7C%7D?%22%3C%3E%5C%5E%60%7B%7C%7D", true},
		{"/a\\..\\b", "/a%5C..%5Cb", true}, {"/?a=b|c", "/?a=b%7Cc", true}, {"/?a=/../b", "/?a=/../b", true},
	} {
		got, ok := AppendTarget([]byte("host"), []byte(tc.in))
		if ok != tc.ok || string(got) != "host"+tc.want {
			t.Errorf("%s: got %q, %v; want %q, %v", tc.in, got, ok, "host"+tc.want, tc.ok)
		}
	}
}

func TestNormalTargetAllocatesNothing(t *testing.T) {
	dst, raw := make([]byte, 0, 256), []byte("/a/../%7euser/x?y=z")
	if n := testing.AllocsPerRun(100, func() { AppendTarget(dst, raw) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzTarget(f *testing.F) {
	for _, s := range []string{"/", "/a/../b", "/%2e%2e/%2f?x", "/a/./../..//.", "/%41%zz"} {
		f.Add(s)
	}
	f.Add("/caf\xc3\xa9%?\"<>\\^`{|}%%41")
	f.Fuzz(func(t *testing.T, raw string) {
		if raw == "" || raw[0] != '/' {
			return
		}
		once, ok := AppendTarget(nil, []byte(raw))
		if !ok {
			return
		}
		if once[0] != '/' || len(once) > 3*len(raw) || !isNormal([]byte(strings.ReplaceAll(string(once), "%", ""))) {
			t.Fatalf("%q became %q", raw, once)
		}
		if u, err := url.ParseRequestURI(string(once)); err != nil || strings.ContainsFunc(u.Path, func(c rune) bool { return c < ' ' }) {
			t.Fatalf("%q became %q, which net/url does not take: %v", raw, once, err)
		}
		twice, ok := AppendTarget(nil, once)
		if !ok || string(twice) != string(once) {
			t.Fatalf("%q -> %q -> %q", raw, once, twice)
		}
	})
}

func TestForwardedFields(t *testing.T) {
	in := fields.Of("Host", "a", "Accept", "x", "Connection", "keep-alive, X-Hop", "X-Hop", "1", "X-Forwarded-Host", "evil",
		"X-HTTP-Method-Override", "DELETE", "If-None-Match", `"a"`, "Range", "bytes=0-1", "Via", "1.1 other", "Cookie", "c", "TE", "x", "X_Forwarded_For", "evil", "CF_Connecting-IP", "evil")
	if got, want := string(Forwarded(in, true).Append(nil)), "Accept: x\r\nVia: 1.1 other\r\nCookie: c\r\n"; got != want {
		t.Errorf("filling: got %q, want %q", got, want)
	}
	if got := Forwarded(in, false); !got.Has("range") || !got.Has("if-none-match") || got.Has("x-forwarded-host") {
		t.Errorf("passing: got %q", got.Append(nil))
	}
}

func TestLoopsAreDetected(t *testing.T) {
	for loop, want := range map[string]bool{"": false, "other": false, "other, perto-gru-1": true, "perto-gru-1;v=1": true, "perto-gru-11": false} {
		if got := Looped(fields.Of("CDN-Loop", loop), "perto-gru-1"); got != want {
			t.Errorf("%q: got %v, want %v", loop, got, want)
		}
	}
}
