package functions

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"perto/edge/http1"
	"perto/internal/fields"
)

// says loads the guest says, which calls one host function with a text of the request.
// Its source describes the operations.
func says(t testing.TB, o ModuleOptions) *Module {
	t.Helper()
	wasm, err := os.ReadFile("testdata/guests/says/says.wasm")
	if err != nil {
		t.Fatal(err)
	}
	h, err := NewHost(t.Context(), HostConfig{Limits: Limits{Wall: time.Minute}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	m, err := h.Load(t.Context(), "says", wasm, o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// saying returns a request for the guest says: its body has the function and the text.
func saying(text string) *Request {
	return &Request{Method: "POST", URI: "/", Protocol: "HTTP/1.1", Body: []byte(text)}
}

// notInALine are texts that cannot be part of a request line, for set_method, set_uri
// and fetch.
var notInALine = []string{"", " ", "/a b", "/\t", "/a\r", "/a\n", "/a HTTP/1.1\r\nHost: x\r\n\r\nGET /b", "/\x00", "/\x1b[2J", "/\x7f", "/\x80", "/é", "/#a", "/a\"b", "/<", "/\\a"}

// TestGuestRequestLineIsOneLine: a text that could end the request line, or that other
// programs read in another way, ends the guest. Nothing is sent.
func TestGuestRequestLineIsOneLine(t *testing.T) {
	m := says(t, ModuleOptions{})
	refused := func(text string) {
		t.Helper()
		r, err := m.Handle(t.Context(), saying(text), func(q *Request) (*Response, error) {
			t.Errorf("%q: next was called with %q %q", text, q.Method, q.URI)
			return &Response{Status: 200}, nil
		})
		if !errors.Is(err, ErrTrap) || !strings.Contains(err.Error(), "cannot be part of a request line") {
			t.Errorf("%q: got %v, %v", text, r, err)
		}
	}
	for _, text := range notInALine {
		for _, f := range []string{"m", "u", "f"} {
			refused(f + text)
		}
	}
	for _, text := range []string{"mG T", "mGET\r\nX: y", "m/", "mGET:", "mCONNECT", "mTRACE", "m" + strings.Repeat("x", 300), "u@evil", "uhttp://evil/", "ua", "u?a", "u**"} {
		refused(text)
	}
	for text, want := range map[string]string{
		"mPATCH": "PATCH /", "mm-search": "m-search /", "u/": "POST /", "u*": "POST *", "u/a?b=c|d^%0d%0A&e": "POST /a?b=c|d^%0d%0A&e", "f/x": "GET /x", "fx": "",
	} {
		got := ""
		_, err := m.Handle(t.Context(), saying(text), func(q *Request) (*Response, error) {
			got = q.Method + " " + q.URI
			return &Response{Status: 200}, nil
		})
		if err != nil || got != want {
			t.Errorf("%q: next got %q, %v; want %q", text, got, err, want)
		}
	}
}

// TestGuestFieldsAreOneLineEach: RFC 9110, section 5.5.
func TestGuestFieldsAreOneLineEach(t *testing.T) {
	m := says(t, ModuleOptions{})
	var bad []string
	for c := range 256 {
		if c < ' ' && c != '\t' || c == 0x7f {
			bad = append(bad, "\x03x-av"+string([]byte{byte(c)})+"w")
		}
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, byte(c)) >= 0 {
			bad = append(bad, "\x03x"+string([]byte{byte(c)})+"av")
		}
	}
	bad = append(bad, "\x00v")
	for _, text := range bad {
		for _, f := range []string{"h", "a", "H", "A"} {
			r, err := m.Handle(t.Context(), saying(f+text), func(*Request) (*Response, error) {
				t.Errorf("%q: next was called", f+text)
				return &Response{Status: 200}, nil
			})
			if !errors.Is(err, ErrTrap) || !strings.Contains(err.Error(), "of a header field") {
				t.Errorf("%q: got %v, %v", f+text, r, err)
			}
		}
	}
	r, err := m.Handle(t.Context(), saying("H\x03x-a \ta\t\xe9b "), nil)
	if err != nil || field(r.Header, "x-a") != "a\t\xe9b" {
		t.Errorf("got %v, %v", r, err)
	}
}

// TestCommandFieldsAreOneLineEach is the same for the output of a WASI command.
func TestCommandFieldsAreOneLineEach(t *testing.T) {
	for c := range 256 {
		printed := "X-A: v" + string([]byte{byte(c)}) + "Set-Cookie: evil=1\n\n"
		r, err := parseCommandOutput([]byte(printed))
		switch bad := c < ' ' && c != '\t' || c == 0x7f; {
		case c == '\n': // two fields
		case bad && !errors.Is(err, ErrTrap):
			t.Errorf("%q: got %+v, %v", printed, r, err)
		case !bad && (err != nil || len(r.Header) != 1):
			t.Errorf("%q: got %+v, %v", printed, r, err)
		}
	}
	for _, printed := range []string{"X A: b\n\n", ": b\n\n", "X-A : b\n\n", " X-A: b\n\n", "X-A: b\n c\n\n", "Status: 200\x1b\n\n", "X-A: " + strings.Repeat("x", maxFieldValue+1) + "\n\n"} {
		if r, err := parseCommandOutput([]byte(printed)); !errors.Is(err, ErrTrap) {
			t.Errorf("%q: got %+v, %v", printed, r, err)
		}
	}
}

// FuzzGuestRequest: with any text from a guest, the origin receives one request, with
// the method, target and fields of the guest.
func FuzzGuestRequest(f *testing.F) {
	for _, text := range notInALine {
		f.Add("u" + text)
		f.Add("f" + text)
	}
	for _, text := range []string{"mPOST", "m", "mGET / HTTP/1.1\r\n", "h\x03x-av", "h\x03x-av\rw", "a\x03x:av\r\nEvil: 1", "a\x03X-B\x01", "u/a?q=%0d%0aX:", "h\x04hostevil", "h\x11transfer-encodingchunked", "h\x0econtent-length9"} {
		f.Add(text)
	}
	m := says(f, ModuleOptions{Activation: PerRequest})
	f.Fuzz(func(t *testing.T, text string) {
		m.Handle(t.Context(), saying(text), func(q *Request) (*Response, error) {
			h := q.Header.Clone()
			for _, name := range []string{"host", "content-length", "transfer-encoding"} { // the edge sends its own
				h = h.Without([]byte(name))
			}
			b, err := http1.AppendRequestHead(nil, []byte(q.Method), []byte(q.URI), []byte("shop.example"), h)
			if err == http1.BadTarget {
				return &Response{Status: 200}, nil // the host rejects "a b", the writer rejects "a"
			} else if err != nil {
				t.Fatalf("%q: the host accepted it and the writer rejects it: %v", text, err)
			}
			b = append(b, "\r\n"...)
			br := bufio.NewReader(bytes.NewReader(b))
			got, err := http.ReadRequest(br)
			if err != nil {
				// net/http is stricter about hosts, lengths and percent-encoding.
				if b, ok := bytes.CutSuffix(b, []byte("\r\n\r\n")); !ok || bytes.ContainsAny(bytes.ReplaceAll(b, []byte("\r\n"), nil), "\r\n\x00") || bytes.Count(b, []byte("\r\n")) != 2+len(h) {
					t.Fatalf("%q became %q: %v", text, b, err)
				}
				return &Response{Status: 200}, nil
			}
			lines := 0
			for _, v := range got.Header {
				lines += len(v)
			}
			if got.Method != q.Method || got.RequestURI != q.URI || lines > len(h) || got.ContentLength == 0 && br.Buffered() > 0 {
				t.Fatalf("%q became %q, read as %s %q with %v", text, b, got.Method, got.RequestURI, got.Header)
			}
			return &Response{Status: 200}, nil
		})
	})
}

// FuzzGuestResponse: with any field from a guest, by either ABI, a client reads that
// field and no other.
func FuzzGuestResponse(f *testing.F) {
	for _, text := range []string{"\x03x-av", "\x03x-a\r\nSet-Cookie: evil=1", "\x03x-av\rSet-Cookie: evil=1", "\x03x-a\x00", "\x03x-a\x7f", "\x03x:av", "\x05x-a\r\nv", "\x00v", "\x03x-a\tv\x85\xff", "\x06statusx", "X-A:v\rSet-Cookie: evil=1", "X-A:v\nX-B: w", "Location:/a\x00", "Status:204"} {
		f.Add(text)
	}
	m := says(f, ModuleOptions{Activation: PerRequest})
	check := func(t *testing.T, text string, h fields.Header) {
		t.Helper()
		b := append(h.Append(http1.AppendStatusLine(nil, 200, nil)), "\r\nbody"...)
		got, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(b)), nil)
		if err != nil {
			if bytes.Count(b, []byte("\r\n")) == 2+len(h) && bytes.Count(b, []byte("\n")) == bytes.Count(b, []byte("\r")) {
				return // net/http rejects this Content-Length or Transfer-Encoding: the edge sends its own
			}
			t.Fatalf("%q became %q: %v", text, b, err)
		}
		lines := len(got.TransferEncoding)
		for _, v := range got.Header {
			lines += len(v)
		}
		if lines > len(h) {
			t.Fatalf("%q became %q, read as %v", text, b, got.Header)
		}
		for _, v := range h {
			if bytes.ContainsAny(v.Value, "\r\n\x00\x1b\x7f") {
				t.Fatalf("%q: the value %q", text, v.Value)
			}
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, op := range []string{"H", "A"} {
			if r, err := m.Handle(t.Context(), saying(op+text), nil); err == nil {
				check(t, text, r.Header)
			}
		}
		if n, rest, ok := strings.Cut(text, ":"); ok {
			if r, err := parseCommandOutput(fmt.Appendf(nil, "%s: %s\n\nbody", n, rest)); err == nil {
				check(t, text, r.Header)
			}
		}
	})
}
