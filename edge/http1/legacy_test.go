package http1

import (
	"io"
	"strings"
	"testing"
)

// TestLegacyRepliesAreAccepted reads replies that are unusual but have only one
// meaning.
func TestLegacyRepliesAreAccepted(t *testing.T) {
	const chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	for _, tt := range []struct {
		name, raw string
		bad       bool
	}{
		{"space behind the size", chunked + "5  \r\nhello\r\n0 \r\n\r\n", false},
		{"extension with white space", chunked + "5 ; a = b\r\nhello\r\n0\r\n\r\n", false},
		{"tab", chunked + "5\t;a\r\nhello\r\n0\t\r\n\r\n", false},
		{"odd extension", chunked + "5;=;?\r\nhello\r\n0\r\n\r\n", false},
		{"leading zeros", chunked + "0000000000000005\r\nhello\r\n00000000000000000000\r\n\r\n", false},
		{"space before a colon", "HTTP/1.1 200 OK\r\nX : y\r\nContent-Length \t: 5\r\n\r\nhello", false},
		{"coding with a space before its colon", "HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\n\r\n5\r\nhello\r\n0\r\nA : b\r\n\r\n", false},
		{"space before the size", chunked + " 5\r\nhello\r\n0\r\n\r\n", true},
		{"two sizes", chunked + "5 5\r\nhello\r\n0\r\n\r\n", true},
		{"signed size", chunked + "+5\r\nhello\r\n0\r\n\r\n", true},
		{"hexadecimal prefix", chunked + "0x5\r\nhello\r\n0\r\n\r\n", true},
		{"too large", chunked + "1000000000000000\r\nhello\r\n0\r\n\r\n", true},
		{"control in an extension", chunked + "5;\x01\r\nhello\r\n0\r\n\r\n", true},
		{"bare CR in an extension", chunked + "5;\rhello\r\nhello\r\n0\r\n\r\n", true},
		{"no name", "HTTP/1.1 200 OK\r\n : y\r\nContent-Length: 5\r\n\r\nhello", true},
		{"two names", "HTTP/1.1 200 OK\r\nA b: y\r\nContent-Length: 5\r\n\r\nhello", true},
		{"length and coding", "HTTP/1.1 200 OK\r\nContent-Length : 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", true},
		{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length : 5\r\nContent-Length: 6\r\n\r\nhello", true},
	} {
		read := func(r *Reader) (string, error) {
			var s Response
			if err := r.ReadResponse(&s, false); err != nil {
				return "", err
			}
			body, err := io.ReadAll(r.Body(s.ContentLength, s.Chunked))
			return string(body), err
		}
		got, err := read(NewOriginReader(strings.NewReader(tt.raw)))
		if (err != nil) != tt.bad || !tt.bad && got != "hello" {
			t.Errorf("%s: %q, %v", tt.name, got, err)
		}
		if _, err := read(NewReader(strings.NewReader(tt.raw))); err == nil {
			t.Errorf("%s: a strict reader accepts it", tt.name)
		}
	}
}

// TestLegacyRequestsAreRefused checks that the same forms are refused in requests.
func TestLegacyRequestsAreRefused(t *testing.T) {
	const head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
	for _, raw := range []string{
		"GET / HTTP/1.1\r\nHost : a\r\n\r\n", head + "5 \r\nhello\r\n0\r\n\r\n", head + "5 ; a = b\r\nhello\r\n0\r\n\r\n",
		head + "0000000000000005\r\nhello\r\n0\r\n\r\n",
	} {
		r := NewReader(strings.NewReader(raw))
		var q Request
		err := r.ReadRequest(&q)
		if err == nil {
			_, err = io.ReadAll(r.Body(q.ContentLength, q.Chunked))
		}
		if err == nil {
			t.Errorf("%q was accepted", raw)
		}
	}
}
