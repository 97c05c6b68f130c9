package http1

import (
	"errors"
	"io"
	"strings"
	"testing"
)

// TestRefusesEveryAmbiguousRequest is a table of desync attacks. Each row has one
// request that at least one of Go's net/http, nginx, HAProxy and Varnish accepts or
// reads differently. A second request follows that must never be read as a request.
// The status is that of the reply before the connection closes. Rows with 200 are
// controls. A row with drops=true gets a reply, but then the connection closes, because
// the end of its body is not certain. The edge does this for a GET with a body.
func TestRefusesEveryAmbiguousRequest(t *testing.T) {
	const host = "Host: a.example\r\n"
	post := func(h, body string) string { return "POST /p HTTP/1.1\r\n" + host + h + "\r\n" + body }
	get := func(h string) string { return "GET /g HTTP/1.1\r\n" + host + h + "\r\n" }
	chunked := func(body string) string { return post("Transfer-Encoding: chunked\r\n", body) }
	long := strings.Repeat("x", 64<<10)
	rows := []struct {
		name, raw string
		want      int
		drops     bool
	}{
		{"control: GET", get(""), 200, false},
		{"control: POST with length", post("Content-Length: 5\r\n", "hello"), 200, false},
		{"control: POST chunked", chunked("5\r\nhello\r\n0\r\n\r\n"), 200, false},
		{"control: chunk extension", chunked("5;a=b;c=\"d\"\r\nhello\r\n0\r\n\r\n"), 200, false},
		{"control: trailer", chunked("5\r\nhello\r\n0\r\nA: b\r\n\r\n"), 200, false},

		{"CL and TE", post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400, false},
		{"TE and CL", post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"), 400, false},
		{"CL twice, equal", post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"), 400, false},
		{"CL twice, different", post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello"), 400, false},
		{"CL list", post("Content-Length: 5, 5\r\n", "hello"), 400, false},
		{"CL +5", post("Content-Length: +5\r\n", "hello"), 400, false},
		{"CL -5", post("Content-Length: -5\r\n", "hello"), 400, false},
		{"CL 0x5", post("Content-Length: 0x5\r\n", "hello"), 400, false},
		{"CL empty", post("Content-Length: \r\n", ""), 400, false},
		{"CL beyond 64 bits", post("Content-Length: 18446744073709551621\r\n", "hello"), 400, false},
		{"TE twice, chunked and identity", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n"), 400, false},
		{"TE identity", post("Transfer-Encoding: identity\r\n", ""), 400, false},
		{"TE xchunked", post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"), 400, false},
		{"TE after vertical tab", post("Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n"), 400, false},
		{"TE quoted", post("Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n"), 400, false},
		{"TE chunked, identity", post("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"), 400, false},
		{"TE gzip, chunked", post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), 501, false},
		{"TE in HTTP/1.0", "POST /p HTTP/1.0\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, false},
		{"space before colon", post("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"), 400, false},
		{"obs-fold", get("A: b\r\n c\r\n"), 400, false},
		{"obs-fold in TE", post("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n"), 400, false},
		{"bare LF line ends", "GET /g HTTP/1.1\nHost: a.example\n\n", 400, false},
		{"one bare LF", "GET /g HTTP/1.1\r\nHost: a.example\nA: b\r\n\r\n", 400, false},
		{"bare CR in a value", get("A: b\rX: c\r\n"), 400, false},
		{"NUL in a value", get("A: b\x00c\r\n"), 400, false},
		{"line without colon", get("Abc\r\n"), 400, false},
		{"empty header name", get(": b\r\n"), 400, false},
		{"control byte in a name", get("A\x01: b\r\n"), 400, false},
		{"chunk size ended by LF", chunked("5\nhello\r\n0\r\n\r\n"), 400, false},
		{"chunk extension with bare LF", chunked("5;a\nb\r\nhello\r\n0\r\n\r\n"), 400, false},
		{"chunk data not ended by CRLF", chunked("5\r\nhelloxx0\r\n\r\n"), 400, false},
		{"chunk size 0x5", chunked("0x5\r\nhello\r\n0\r\n\r\n"), 400, false},
		{"chunk size overflow", chunked("10000000000000005\r\nhello\r\n0\r\n\r\n"), 400, false},
		{"chunk size with space", chunked("5 \r\nhello\r\n0\r\n\r\n"), 400, false},
		{"trailer without colon", chunked("5\r\nhello\r\n0\r\nGET / HTTP/1.1\r\n\r\n"), 400, false},
		{"no Host", "GET /g HTTP/1.1\r\nA: b\r\n\r\n", 400, false},
		{"Host twice", get("Host: b.example\r\n"), 400, false},
		{"Host with slash", "GET /g HTTP/1.1\r\nHost: a.example/x\r\n\r\n", 400, false},
		{"Host with @", "GET /g HTTP/1.1\r\nHost: x@a.example\r\n\r\n", 400, false},
		{"absolute-form differs from Host", "GET http://b.example/g HTTP/1.1\r\n" + host + "\r\n", 400, false},
		{"HTTP/1.2", "GET /g HTTP/1.2\r\n" + host + "\r\n", 505, false},
		{"HTTP/2.0 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, false},
		{"HTTP/0.9", "GET /g\r\n\r\n", 400, false},
		{"double space", "GET  /g HTTP/1.1\r\n" + host + "\r\n", 400, false},
		{"tab as space", "GET\t/g\tHTTP/1.1\r\n" + host + "\r\n", 400, false},
		{"space in the target", "GET /g /h HTTP/1.1\r\n" + host + "\r\n", 400, false},
		{"# in the target", "GET /g#h HTTP/1.1\r\n" + host + "\r\n", 400, false},
		{"0x80 in the target", "GET /g\x80 HTTP/1.1\r\n" + host + "\r\n", 200, false},
		{"backslash in the target", "GET /g\\h HTTP/1.1\r\n" + host + "\r\n", 200, false},
		{"lower-case version", "GET /g http/1.1\r\n" + host + "\r\n", 400, false},
		{"Expect obfuscated", post("Expect: 100-continue\x20x\r\nContent-Length: 5\r\n", "hello"), 417, false},
		{"Expect twice", post("Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 5\r\n", "hello"), 417, false},
		{"Connection names Host", get("Connection: close, Host\r\n"), 400, false},
		{"CONNECT", "CONNECT a.example:443 HTTP/1.1\r\n" + host + "\r\n", 501, false},
		{"GET with a body", get("Content-Length: 5\r\n") + "hello", 200, true},
		{"long request line", "GET /" + long + " HTTP/1.1\r\n" + host + "\r\n", 414, false},
		{"64 kB header", get("A: " + long + "\r\n"), 431, false},
		{"5,000 headers", get(strings.Repeat("A: b\r\n", 5000)), 431, false},
	}
	for _, tc := range rows {
		t.Run(tc.name, func(t *testing.T) {
			const next = "GET /next HTTP/1.1\r\nHost: a.example\r\n\r\n"
			r := NewReader(strings.NewReader(tc.raw + next))
			got := status(r)
			if got != tc.want {
				t.Fatalf("got %d, want %d", got, tc.want)
			}
			if got != 200 {
				return
			}
			var q Request
			if err := r.ReadRequest(&q); err != nil || string(q.Target) != "/next" {
				t.Errorf("the next request was lost: %q, %v", q.Target, err)
			}
		})
	}
}

// status reads one request with its body like a server. It returns 200 or the status of
// the refusal.
func status(r *Reader) int {
	var q Request
	err := r.ReadRequest(&q)
	if err == nil {
		_, err = io.Copy(io.Discard, r.Body(q.ContentLength, q.Chunked))
	}
	var refusal Refusal
	switch {
	case err == nil:
		return 200
	case errors.As(err, &refusal):
		return refusal.Status()
	}
	return 0
}
