package http1

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"perto/internal/fields"
)

// TestUnsoundRequestsAreNotWritten checks that no request is written which an origin
// could read as another request or as two.
func TestUnsoundRequestsAreNotWritten(t *testing.T) {
	for _, tt := range []struct {
		name, method, target, host string
		field                      []string
		want                       error
	}{
		{"no method", "", "/", "a", nil, BadMethod},
		{"method with a space", "GET /x", "/", "a", nil, BadMethod},
		{"method with a line", "GET\r\nX: ", "/", "a", nil, BadMethod},
		{"no target", "GET", "", "a", nil, BadTarget},
		{"target with a space", "GET", "/a HTTP/1.1", "a", nil, BadTarget},
		{"target with a line", "GET", "/a\r\nX: y", "a", nil, BadTarget},
		{"target with LF", "GET", "/a\nX: y", "a", nil, BadTarget},
		{"target with NUL", "GET", "/a\x00", "a", nil, BadTarget},
		{"target with DEL", "GET", "/a\x7f", "a", nil, BadTarget},
		{"target with a raw byte", "GET", "/\xc3\xa9", "a", nil, BadTarget},
		{"relative target", "GET", "a", "a", nil, BadTarget},
		{"no host", "GET", "/", "", nil, BadHost},
		{"host with a line", "GET", "/", "a\r\nX: y", nil, BadHost},
		{"host with user information", "GET", "/", "u@a", nil, BadHost},
		{"no name", "GET", "/", "a", []string{"", "x"}, BadFieldName},
		{"name with a space", "GET", "/", "a", []string{"A ", "x"}, BadFieldName},
		{"name with a colon", "GET", "/", "a", []string{"A:", "x"}, BadFieldName},
		{"second host", "GET", "/", "a", []string{"hOST", "b"}, BadFieldName},
		{"length in a field", "GET", "/", "a", []string{"Content-Length", "5"}, BadFieldName},
		{"coding in a field", "GET", "/", "a", []string{"Transfer-Encoding", "chunked"}, BadFieldName},
		{"value with a line", "GET", "/", "a", []string{"A", "x\r\nHost: b"}, BadFieldValue},
		{"value with CR", "GET", "/", "a", []string{"A", "x\ry"}, BadFieldValue},
		{"value with LF", "GET", "/", "a", []string{"A", "x\ny"}, BadFieldValue},
		{"value with NUL", "GET", "/", "a", []string{"A", "x\x00"}, BadFieldValue},
		{"value with another control", "GET", "/", "a", []string{"A", "x\x1b"}, BadFieldValue},
		{"sound", "M-SEARCH", "/a?b|c", "a.example:8080", []string{"A", "caf\xc3\xa9\tx"}, nil},
		{"all", "OPTIONS", "*", "[::1]:80", nil, nil},
	} {
		b, err := AppendRequestHead([]byte("before"), []byte(tt.method), []byte(tt.target), []byte(tt.host), fields.Of(tt.field...))
		if err != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		if err != nil && string(b) != "before" {
			t.Errorf("%s: %q was written", tt.name, b)
		}
	}
}

// TestUnsoundFieldsDoNotReachClients checks that they are left out of a reply.
func TestUnsoundFieldsDoNotReachClients(t *testing.T) {
	h := fields.Of("A", "1", "B", "x\r\nSet-Cookie: y", "C\r\nD", "x", "", "x", "E", "x\ny", "F", "x\x00", "G", "x\x7f", "H", "a\tb", "I J", "x")
	if got, want := string(AppendSound(nil, h)), "A: 1\r\nH: a\tb\r\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := string(AppendStatusLine(nil, 200, []byte("x\r\nA: b"))), "HTTP/1.1 200 OK\r\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// FuzzRequestWriter checks that net/http reads each written request with the same
// parts, or that nothing was written.
func FuzzRequestWriter(f *testing.F) {
	for _, s := range [][5]string{
		{"GET", "/", "a.example", "X-A", "b"}, {"POST", "/a?b=c", "a:80", "Accept", "x, y"}, {"GET", "/ HTTP/1.1\r\nHost: b\r\n\r\n", "a", "A", "b"},
		{"GET /x", "/", "a", "A", "b"}, {"GET", "/", "a\r\nX: y", "A", "b"}, {"GET", "/", "a", "A\r\nB", "c"}, {"GET", "/", "a", "A", "b\r\n\r\nGET /x HTTP/1.1"},
		{"GET", "/\x00", "a", "A", "\x01"}, {"", "", "", "", ""}, {"OPTIONS", "*", "[::1]", "Host", "b"}, {"GET", "//b/c", "a", "transfer-encoding", "chunked"},
		{"GET", "/%zz", "a", "A", "caf\xc3\xa9"}, {"PRI", "*", "a", "A", " "}, {"CONNECT", "/x", "a", "A", "b"},
	} {
		f.Add(s[0], s[1], s[2], s[3], s[4])
	}
	f.Fuzz(func(t *testing.T, method, target, host, name, value string) {
		b, err := AppendRequestHead(nil, []byte(method), []byte(target), []byte(host), fields.Of(name, value))
		if err != nil {
			if len(b) > 0 {
				t.Fatalf("%q was written with %v", b, err)
			}
			return
		}
		b = append(b, "\r\n"...)
		br := bufio.NewReader(bytes.NewReader(b))
		q, err := http.ReadRequest(br)
		if err != nil {
			// net/http parses targets as URLs and accepts fewer of them. The head must
			// still be one head.
			if bytes.Count(b, []byte("\r\n")) != 4 || bytes.Count(b, []byte("\n")) != 4 || strings.ContainsAny(target, " \t") {
				t.Fatalf("%q: %v", b, err)
			}
			return
		}
		if q.Method != method || q.RequestURI != target || q.Host != host {
			t.Fatalf("%q was read as %s %s on %s", b, q.Method, q.RequestURI, q.Host)
		}
		if got := q.Header.Get(name); got != strings.Trim(value, " \t") || len(q.Header) > 1 {
			t.Fatalf("%q was read as %q", b, q.Header)
		}
		if rest, _ := io.ReadAll(br); len(rest) > 0 {
			t.Fatalf("%q leaves %q", b, rest)
		}
	})
}
