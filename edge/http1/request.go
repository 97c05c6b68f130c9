package http1

import (
	"bytes"

	"perto/internal/fields"
)

// Request is the head of one request. Its byte slices are views into the
// Reader's buffer.
type Request struct {
	Method []byte
	// Target is path and query as sent ("/a?b"), or "*" for OPTIONS. For a target in
	// absolute form it is the part after the authority.
	Target []byte
	// Host is the requested authority, with its port if one was sent. It may be empty
	// in HTTP/1.0 only. It is well formed and has the client's letter case.
	Host   []byte
	Minor  uint8 // 0 or 1: HTTP/1.0 or HTTP/1.1
	Header fields.Header
	Known  Known

	// ContentLength is the length of the body in bytes. It is 0 without a body, and -1
	// when Chunked is set.
	ContentLength int64
	Chunked       bool
	// KeepAlive is set when the client may send another request. It is never set for
	// HTTP/1.0.
	KeepAlive bool
	// Expect100 is set when the client waits for "100 Continue" before it sends the
	// body.
	Expect100 bool

	size int // of the head in bytes
}

// Size returns the length of the head in bytes.
func (q *Request) Size() int { return q.size }

// parse reads the complete head in b, which ends with an empty line.
func (q *Request) parse(b []byte) Refusal {
	*q = Request{Header: q.Header[:0], size: len(b)}
	line, rest, r := requestLine(b)
	if r != accepted {
		return r
	}
	authority, port, r := q.requestLine(line)
	if r != accepted {
		return r
	}
	var repeated Known
	q.Header, q.Known, repeated, r = parseFields(rest, q.Header, false)
	if r != accepted {
		return r
	}
	if r := q.host(authority, port, repeated); r != accepted {
		return r
	}
	q.ContentLength, q.Chunked, r = framing(q.Header, q.Known, repeated, q.Minor)
	if r != accepted {
		return r
	}
	if q.Known&HasExpect != 0 {
		for v := range q.Header.Values("expect") {
			if !fields.Equal(v, "100-continue") || repeated&HasExpect != 0 {
				return BadExpectation
			}
		}
		q.Expect100 = q.Minor == 1 && q.ContentLength != 0
	}
	q.KeepAlive = q.Minor == 1
	if q.Known&HasConnection != 0 {
		return q.connection()
	}
	return accepted
}

// requestLine splits b after the first line and returns this line without CRLF.
func requestLine(b []byte) (line, rest []byte, _ Refusal) {
	i := bytes.IndexByte(b, '\n')
	if i > MaxRequestLine {
		return nil, nil, TargetTooLong
	}
	return b[:i-1], b[i+1:], accepted
}

// requestLine reads "method SP target SP HTTP/1.x". For a target in absolute form it
// returns the authority and the default port of the scheme.
func (q *Request) requestLine(line []byte) (authority []byte, port string, _ Refusal) {
	i := 0
	for i < len(line) && class[line[i]]&isToken != 0 {
		i++
	}
	if i == 0 || i == len(line) || line[i] != ' ' {
		return nil, "", BadMethod
	}
	q.Method = line[:i:i]
	line = line[i+1:]
	i = 0
	for i < len(line) && class[line[i]]&isTarget != 0 {
		i++
	}
	if i == 0 || i == len(line) || line[i] != ' ' {
		return nil, "", BadTarget
	}
	target, version := line[:i:i], line[i+1:]
	if r := q.version(version); r != accepted {
		return nil, "", r
	}
	// CONNECT and TRACE have no use at an edge and were used to bypass it.
	if string(q.Method) == "CONNECT" || string(q.Method) == "TRACE" {
		return nil, "", UnsupportedMethod
	}
	switch {
	case target[0] == '/':
		q.Target = target
	case len(target) == 1 && target[0] == '*' && string(q.Method) == "OPTIONS":
		q.Target = target
	default:
		var ok bool
		if authority, port, q.Target, ok = splitAbsolute(target); !ok {
			return nil, "", BadTarget
		}
	}
	return authority, port, accepted
}

// version reads "HTTP/1.0" or "HTTP/1.1". Other pairs of single digits are well formed
// but not supported.
func (q *Request) version(v []byte) Refusal {
	if len(v) != len("HTTP/1.1") || string(v[:5]) != "HTTP/" || v[6] != '.' || !digit(v[5]) || !digit(v[7]) {
		return BadVersion
	}
	if v[5] != '1' || v[7] > '1' {
		return UnsupportedVersion
	}
	q.Minor = v[7] - '0'
	return accepted
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

// host sets the requested authority. The authority of a target in absolute form must
// equal Host, except for a default port. Otherwise programs that route by the target
// and programs that route by Host could disagree. RFC 9112, section 3.2.2, lets the
// target take precedence.
func (q *Request) host(authority []byte, port string, repeated Known) Refusal {
	if repeated&HasHost != 0 {
		return RepeatedHost
	}
	h, ok := q.Header.Get("host")
	switch {
	case !ok && q.Minor == 1:
		return NoHost
	case !ok:
		h = authority
	case !validAuthority(h):
		return BadHost
	}
	if authority != nil {
		if !validAuthority(authority) {
			return BadTarget
		}
		if !fields.EqualFold(withoutPort(authority, port), withoutPort(h, port)) {
			return HostMismatch
		}
	}
	q.Host = h
	return accepted
}

// endToEnd are fields that a Connection field must not name. A front would drop them as
// hop-by-hop fields and so hide them from the origin ("hop-by-hop header abuse").
var endToEnd = [...]string{"host", "content-length", "transfer-encoding", "content-type", "cookie", "authorization",
	"cache-control", "range", "expect", "via", "cdn-loop", "forwarded", "x-forwarded-for"}

// maxConnection is the maximum number of members of Connection. In practice there are
// up to three. Each is compared with each field of the head, several times.
const maxConnection = 16

func (q *Request) connection() Refusal {
	n := 0
	for e := range q.Header.Elements("connection") {
		if n++; n > maxConnection {
			return BadConnection
		}
		if fields.Equal(e, "close") {
			q.KeepAlive = false
			continue
		}
		for _, name := range endToEnd {
			if fields.Equal(e, name) {
				return BadConnection
			}
		}
	}
	return accepted
}

// framing returns the length of a body from the fields of a request or reply (RFC 9112,
// section 6.3). length is -1 when chunked, and 0 without a field that frames a body.
func framing(h fields.Header, known, repeated Known, minor uint8) (length int64, chunked bool, _ Refusal) {
	if known&HasTransferEncoding != 0 {
		switch {
		case known&HasContentLength != 0:
			return 0, false, LengthAndChunked
		case minor == 0:
			return 0, false, ChunkedInHTTP10
		case repeated&HasTransferEncoding != 0:
			return 0, false, BadTransferEncoding
		}
		v, _ := h.Get("transfer-encoding")
		if !fields.Equal(v, "chunked") {
			return 0, false, badCoding(v)
		}
		return -1, true, accepted
	}
	if known&HasContentLength == 0 {
		return 0, false, accepted
	}
	if repeated&HasContentLength != 0 {
		return 0, false, RepeatedContentLength
	}
	v, _ := h.Get("content-length")
	n, ok := parseLength(v)
	if !ok {
		return 0, false, BadContentLength
	}
	return n, false, accepted
}

// badCoding returns the refusal for a transfer coding. A well-formed list of
// unsupported codings ("gzip, chunked") is 501. Values that only resemble chunked are
// 400.
func badCoding(v []byte) Refusal {
	last := ""
	for e := range fields.List(v) {
		for _, c := range e {
			if class[c]&isToken == 0 {
				return BadTransferEncoding
			}
		}
		switch {
		case last == "chunked", fields.Equal(e, "identity"):
			return BadTransferEncoding
		case fields.Equal(e, "chunked"):
			last = "chunked"
		case fields.Equal(e, "gzip"), fields.Equal(e, "x-gzip"), fields.Equal(e, "deflate"), fields.Equal(e, "compress"):
			last = "coding"
		default:
			return BadTransferEncoding
		}
	}
	if last != "chunked" {
		return BadTransferEncoding
	}
	return UnknownTransferCoding
}

// maxLengthDigits keeps every accepted length inside an int64.
const maxLengthDigits = 18

func parseLength(v []byte) (int64, bool) {
	if len(v) == 0 || len(v) > maxLengthDigits {
		return 0, false
	}
	var n int64
	for _, c := range v {
		if !digit(c) {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}
