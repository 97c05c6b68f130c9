package http1

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestRequestHeadIsParsed(t *testing.T) {
	raw := "GET /a/b?c=d HTTP/1.1\r\nHost: Shop.Example:8080\r\nAccept: */*\r\nRANGE: bytes=0-1\r\nEmpty:\r\n" +
		"Pad: \t x y \t\r\nConnection: close\r\n\r\n"
	var q Request
	if err := NewReader(iotest.OneByteReader(strings.NewReader(raw))).ReadRequest(&q); err != nil {
		t.Fatal(err)
	}
	if string(q.Method) != "GET" || string(q.Target) != "/a/b?c=d" || string(q.Host) != "Shop.Example:8080" || q.KeepAlive {
		t.Errorf("got %s %s from %s, keep alive %v", q.Method, q.Target, q.Host, q.KeepAlive)
	}
	if want := HasHost | HasRange | HasConnection; q.Known != want {
		t.Errorf("known fields %b, want %b", q.Known, want)
	}
	if v, _ := q.Header.Get("pad"); string(v) != "x y" {
		t.Errorf("value %q, want it trimmed", v)
	}
	if v, ok := q.Header.Get("empty"); !ok || len(v) != 0 {
		t.Errorf("empty value: %q, %v", v, ok)
	}
	if q.Size() != len(raw) {
		t.Errorf("size %d, want %d", q.Size(), len(raw))
	}
}

func TestAbsoluteFormGivesPathAndHost(t *testing.T) {
	for _, tc := range []struct{ target, want string }{
		{"http://a.example/x?y", "/x?y"},
		{"HTTPS://A.EXAMPLE/x", "/x"},
		{"http://a.example", "/"}, {"http://a.example:80/x", "/x"}, {"http://a.example:/x", "/x"}, {"http://a.example:0080", "/"},
		{"https://a.example:443/x", "/x"}, {"http://a.example?q=1", "/?q=1"}, {"http://a.example:80?q", "/?q"}, {"http://a.example?", "/?"},
	} {
		var q Request
		err := NewReader(strings.NewReader("GET " + tc.target + " HTTP/1.1\r\nHost: a.example\r\n\r\n")).ReadRequest(&q)
		if err != nil || string(q.Target) != tc.want {
			t.Errorf("%s: target %q, error %v; want %q", tc.target, q.Target, err, tc.want)
		}
	}
	for _, tc := range []struct {
		target, host string
		want         error
	}{
		{"http://a.example/", "a.example:80", nil}, {"http://a.example:8080/", "a.example:8080", nil}, {"https://a.example/", "a.example:443", nil},
		{"http://A.example:80/", "a.EXAMPLE:", nil},
		{"http://a.example:8080/", "a.example", HostMismatch}, {"http://a.example/", "a.example:8080", HostMismatch},
		{"http://a.example:443/", "a.example", HostMismatch}, {"https://a.example:80/", "a.example", HostMismatch}, {"http://b.example/", "a.example", HostMismatch},
		{"http:///x", "a.example", BadTarget}, {"http://?q", "a.example", BadTarget}, {"http://u@a.example/", "a.example", BadTarget},
		{"http://a.example\\@b.example/", "a.example", BadTarget}, {"ftp://a.example/", "a.example", BadTarget},
	} {
		var q Request
		err := NewReader(strings.NewReader("GET " + tc.target + " HTTP/1.1\r\nHost: " + tc.host + "\r\n\r\n")).ReadRequest(&q)
		if err != tc.want {
			t.Errorf("%s on %s: %v, want %v", tc.target, tc.host, err, tc.want)
		}
	}
}

func TestAuthorities(t *testing.T) {
	for _, tc := range []struct {
		host string
		want bool
	}{
		{"a.example", true}, {"a.example:80", true}, {"a_b.example", true}, {"192.0.2.1", true}, {"[2001:db8::1]:80", true},
		{"", false}, {":80", false}, {"a.example:", true}, {"a.example::", false}, {"[::1]:", true}, {"a.example:0", false}, {"a.example:65536", false},
		{"a b", false}, {"a,b", false}, {"a%41", false}, {"[::1", false}, {"[]", false}, {".example", false}, {"a?b", false},
	} {
		if got := validAuthority([]byte(tc.host)); got != tc.want {
			t.Errorf("%q: got %v, want %v", tc.host, got, tc.want)
		}
	}
}

func TestPipelinedRequestsWithBodiesStayApart(t *testing.T) {
	big := strings.Repeat("b", 9000)
	raw := "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\n" + big +
		"POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2328\r\n" + big + "\r\n3\r\nend\r\n0\r\n\r\n" +
		"\r\nGET /3 HTTP/1.1\r\nHost: a\r\n\r\n"
	for name, src := range map[string]io.Reader{
		"at once":     strings.NewReader(raw),
		"byte a byte": iotest.OneByteReader(strings.NewReader(raw)),
		"half":        iotest.HalfReader(strings.NewReader(raw)),
	} {
		t.Run(name, func(t *testing.T) {
			r := NewReader(src)
			for i, want := range []string{big, big + "end", ""} {
				var q Request
				if err := r.ReadRequest(&q); err != nil {
					t.Fatalf("request %d: %v", i+1, err)
				}
				body, err := io.ReadAll(r.Body(q.ContentLength, q.Chunked))
				if err != nil || string(body) != want {
					t.Errorf("request %d: %d bytes, error %v; want %d", i+1, len(body), err, len(want))
				}
				// The head must outlive the reading of its body.
				if got := string(q.Target); got != "/"+string('1'+rune(i)) {
					t.Errorf("target became %q", got)
				}
			}
			if err := r.ReadRequest(new(Request)); err != io.EOF {
				t.Errorf("at the end: %v, want io.EOF", err)
			}
		})
	}
}

func TestTruncatedMessagesAreUnexpectedEnds(t *testing.T) {
	for _, raw := range []string{
		"GET / HT", "GET / HTTP/1.1\r\nHost: a\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
	} {
		r := NewReader(strings.NewReader(raw))
		var q Request
		err := r.ReadRequest(&q)
		if err == nil {
			_, err = io.Copy(io.Discard, r.Body(q.ContentLength, q.Chunked))
		}
		if err != io.ErrUnexpectedEOF {
			t.Errorf("%q: %v, want io.ErrUnexpectedEOF", raw, err)
		}
	}
}

func TestResponseFraming(t *testing.T) {
	for _, tc := range []struct {
		name, raw string
		head      bool
		body      string
		keep      bool
		err       error
	}{
		{"length", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhixx", false, "hi", true, nil},
		{"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\nxx", false, "hi", true, nil},
		{"until close", "HTTP/1.1 200 OK\r\n\r\nhi", false, "hi", false, nil},
		{"no reason", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", false, "", true, nil},
		{"to HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", true, "", true, nil},
		{"204", "HTTP/1.1 204 No Content\r\n\r\n", false, "", true, nil},
		{"304 with length", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", false, "", false, nil},
		{"204 with length", "HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n", false, "", false, nil},
		{"204 with chunks", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", false, "", false, nil},
		{"HTTP/1.0 closes", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", false, "hi", false, nil},
		{"close", "HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 2\r\n\r\nhi", false, "hi", false, nil},
		{"short", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi", false, "hi", true, io.ErrUnexpectedEOF},
		{"length and chunked", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", false, "", false, LengthAndChunked},
		{"length twice", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", false, "", false, RepeatedContentLength},
		{"coding of nobody ends with the connection", "HTTP/1.1 200 OK\r\nTransfer-Encoding: x-odd\r\n\r\nhi", false, "hi", false, nil},
		{"coding that we lack", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhi", false, "", false, BadTransferEncoding},
		{"almost chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\nhi", false, "", false, BadTransferEncoding},
		{"chunked twice", "HTTP/1.1 200 OK\r\nTransfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n\r\nhi", false, "", false, BadTransferEncoding},
		{"bare LF", "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", false, "", false, BareLF},
		{"bad status", "HTTP/1.1 20 OK\r\n\r\n", false, "", false, BadStatusLine},
		{"status 999", "HTTP/1.1 999 X\r\n\r\n", false, "", false, BadStatusLine},
		{"other protocol", "ICY 200 OK\r\n\r\n", false, "", false, BadStatusLine},
		{"upgrade", "HTTP/1.1 101 Switching Protocols\r\n\r\n", false, "", false, UnexpectedUpgrade},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := NewReader(strings.NewReader(tc.raw))
			var s Response
			var body []byte
			err := r.ReadResponse(&s, tc.head)
			if err == nil {
				body, err = io.ReadAll(r.Body(s.ContentLength, s.Chunked))
			}
			if !errors.Is(err, tc.err) || string(body) != tc.body {
				t.Fatalf("body %q, error %v; want %q, %v", body, err, tc.body, tc.err)
			}
			if s.KeepAlive != tc.keep {
				t.Errorf("keep alive %v, want %v", s.KeepAlive, tc.keep)
			}
		})
	}
}

func TestInterimRepliesComeFirst(t *testing.T) {
	r := NewReader(strings.NewReader("HTTP/1.1 103 Early Hints\r\nLink: </s>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
	for _, want := range []int{103, 200} {
		var s Response
		if err := r.ReadResponse(&s, false); err != nil || s.Status != want {
			t.Errorf("status %d, error %v; want %d", s.Status, err, want)
		}
	}
}

func TestAppend(t *testing.T) {
	b := AppendStatusLine(nil, 404, nil)
	b = AppendField(b, "A", "b")
	b = AppendInt(b, "Age", 5)
	b = AppendDate(b, "Date", time.Unix(784111777, 0))
	b = AppendChunkLine(append(b, "\r\n"...), 18)
	want := "HTTP/1.1 404 Not Found\r\nA: b\r\nAge: 5\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n12\r\n"
	if string(b) != want {
		t.Errorf("got %q, want %q", b, want)
	}
	renamed := map[int]string{413: "Content Too Large", 414: "URI Too Long", 416: "Range Not Satisfiable", 418: "Client Error", 422: "Unprocessable Content"} // by RFC 9110
	for code := 100; code < 600; code++ {
		want := http.StatusText(code)
		if r := renamed[code]; r != "" {
			want = r
		}
		if got := Reason(code); want != "" && got != want || got == "" {
			t.Errorf("%d: %q, registered is %q", code, got, want)
		}
	}
}

const browserHead = "GET /assets/app.css?v=3 HTTP/1.1\r\nHost: www.shop.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) " +
	"AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\nAccept: text/css,*/*;q=0.1\r\n" +
	"Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: pt-BR,pt;q=0.9,en;q=0.8\r\nReferer: http://www.shop.example/\r\n" +
	"Cookie: session=0123456789abcdef; theme=dark\r\nConnection: keep-alive\r\n\r\n"

// loop is a source that repeats the same bytes without end.
type loop struct {
	b []byte
	i int
}

func (l *loop) Read(p []byte) (int, error) {
	n := copy(p, l.b[l.i:])
	l.i = (l.i + n) % len(l.b)
	return n, nil
}

func TestReadingARequestAllocatesNothing(t *testing.T) {
	r := NewReader(&loop{b: []byte(browserHead)})
	var q Request
	r.ReadRequest(&q)
	if got := testing.AllocsPerRun(100, func() {
		if err := r.ReadRequest(&q); err != nil {
			t.Fatal(err)
		}
	}); got != 0 {
		t.Errorf("%v allocations a request, want 0", got)
	}
}

func BenchmarkReadRequest(b *testing.B) {
	for _, tc := range []struct{ name, raw string }{
		{"curl", "GET /a HTTP/1.1\r\nHost: a.example\r\nUser-Agent: curl/8\r\nAccept: */*\r\n\r\n"},
		{"browser", browserHead},
	} {
		b.Run(tc.name, func(b *testing.B) {
			r := NewReader(&loop{b: []byte(tc.raw)})
			var q Request
			b.ReportAllocs()
			b.SetBytes(int64(len(tc.raw)))
			for b.Loop() {
				if err := r.ReadRequest(&q); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func FuzzRequestHead(f *testing.F) {
	f.Add([]byte(browserHead))
	f.Add([]byte("POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"))
	f.Add([]byte("\r\nOPTIONS * HTTP/1.0\r\n\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var q Request
		if err := NewReader(bytes.NewReader(raw)).ReadRequest(&q); err != nil {
			return
		}
		for _, fd := range q.Header {
			if bytes.ContainsAny(fd.Name, " \t\r\n:") || bytes.ContainsAny(fd.Value, "\r\n\x00") {
				t.Fatalf("accepted field %q: %q", fd.Name, fd.Value)
			}
		}
		if bytes.ContainsAny(q.Target, " \t\r\n#") || bytes.ContainsAny(q.Host, "/@ \t\r\n\\?#") || q.Chunked && q.ContentLength != -1 {
			t.Fatalf("accepted %q on %q", q.Target, q.Host)
		}
		// The parsed request, written again, must parse to the same.
		if q.Minor == 0 {
			return
		}
		h := q.Header.Clone()
		for _, name := range []string{"host", "content-length", "transfer-encoding"} {
			h = h.Without([]byte(name))
		}
		again, err := AppendRequestHead(nil, q.Method, q.Target, q.Host, h)
		if err != nil {
			if err == BadTarget && !isSoundTarget(q.Target) {
				return // only its normal form is written
			}
			t.Fatalf("%q was accepted and is not written: %v", raw, err)
		}
		if q.Chunked {
			again = AppendField(again, "Transfer-Encoding", "chunked")
		} else if q.ContentLength > 0 {
			again = AppendInt(again, "Content-Length", q.ContentLength)
		}
		again = append(again, "\r\n"...)
		var p Request
		if err := NewReader(bytes.NewReader(again)).ReadRequest(&p); err != nil || !bytes.Equal(p.Target, q.Target) || p.ContentLength != q.ContentLength {
			t.Fatalf("%q does not survive: %v", again, err)
		}
	})
}

func FuzzResponseHead(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"), false)
	f.Add([]byte("HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n"), true)
	f.Add([]byte("HTTP/1.0 200\r\nTransfer-Encoding: chunked\r\n\r\n"), false)
	f.Fuzz(func(t *testing.T, raw []byte, head bool) {
		var s Response
		r := NewReader(bytes.NewReader(raw))
		if err := r.ReadResponse(&s, head); err != nil {
			return
		}
		if s.Status < 100 || s.Status > 599 || s.ContentLength < -1 {
			t.Fatalf("status %d, length %d", s.Status, s.ContentLength)
		}
		io.Copy(io.Discard, r.Body(s.ContentLength, s.Chunked))
	})
}

func FuzzChunkedBody(f *testing.F) {
	f.Add([]byte("5\r\nhello\r\n0\r\n\r\n"))
	f.Add([]byte("5;a=\"b\\\"\"\r\nhello\r\n0\r\nA: b\r\n\r\n"))
	f.Add([]byte("ffffffffffffffff\r\n"))
	f.Add([]byte("00000000000000000005 ; a = b\r\nhello\r\n0\t\r\nA : b\r\n\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		read := func(src io.Reader) ([]byte, int, error) {
			r := NewReader(src)
			if len(raw)%2 == 0 {
				r = NewOriginReader(src)
			}
			body, err := io.ReadAll(r.Body(-1, true))
			return body, r.Buffered(), err
		}
		body, _, err := read(bytes.NewReader(raw))
		slow, _, slowErr := read(iotest.OneByteReader(bytes.NewReader(raw)))
		if !bytes.Equal(body, slow) || !errors.Is(slowErr, err) {
			t.Fatalf("%q, %v at once, but %q, %v byte by byte", body, err, slow, slowErr)
		}
		if len(body) > len(raw) {
			t.Fatal("more came out than went in")
		}
	})
}

// TestConnectionIsShort limits the members of Connection. Every field is compared with
// every member, so thousands of members would cost more to read than to send.
func TestConnectionIsShort(t *testing.T) {
	for n, want := range map[int]error{maxConnection: nil, maxConnection + 1: BadConnection} {
		raw := "GET / HTTP/1.1\r\nHost: a\r\nConnection: x" + strings.Repeat(",x", n-1) + "\r\n\r\n"
		var q Request
		if err := NewReader(strings.NewReader(raw)).ReadRequest(&q); err != want {
			t.Errorf("%d members: %v, want %v", n, err, want)
		}
	}
}

// TestLargeHeadLeavesNoLargeBuffer checks that an idle connection does not keep the
// buffer of its largest head.
func TestLargeHeadLeavesNoLargeBuffer(t *testing.T) {
	head := func(n int) string { return "GET / HTTP/1.1\r\nHost: a\r\nA: " + strings.Repeat("x", n) + "\r\n\r\n" }
	r := NewReader(strings.NewReader(head(60_000) + head(10) + head(10)))
	var q Request
	for range 3 {
		if err := r.ReadRequest(&q); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.ReadRequest(&q); err != io.EOF || len(r.buf) > keptBuffer {
		t.Errorf("%v, and a buffer of %d bytes", err, len(r.buf))
	}
}
