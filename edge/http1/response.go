package http1

import (
	"bytes"

	"perto/internal/fields"
)

// Response is the head of one reply from an origin. Its byte slices are views
// into the Reader's buffer.
type Response struct {
	Minor  uint8
	Status int    // 100-599
	Reason []byte // the reason phrase, may be empty
	Header fields.Header
	Known  Known

	// ContentLength is the length of the body in bytes. It is 0 without a body. It is
	// -1 when Chunked is set or when the body ends with the connection.
	ContentLength int64
	Chunked       bool
	// KeepAlive is set when the connection can carry another request after the body was
	// read to its end.
	KeepAlive bool
}

// parse reads the complete head in b. toHEAD is set for a reply to a HEAD request,
// which has no body regardless of its fields. For lenient see [NewOriginReader].
func (s *Response) parse(b []byte, toHEAD, lenient bool) Refusal {
	*s = Response{Header: s.Header[:0]}
	i := bytes.IndexByte(b, '\n')
	if i > MaxRequestLine {
		return BadStatusLine
	}
	if r := s.statusLine(b[:i-1]); r != accepted {
		return r
	}
	var repeated Known
	var r Refusal
	s.Header, s.Known, repeated, r = parseFields(b[i+1:], s.Header, lenient)
	if r != accepted {
		return r
	}
	if s.Status < 200 {
		s.KeepAlive = true
		return accepted
	}
	foreign := s.foreignCoding(repeated)
	if foreign {
		s.ContentLength = -1
	} else if s.ContentLength, s.Chunked, r = framing(s.Header, s.Known, repeated, s.Minor); r != accepted {
		return r
	}
	s.KeepAlive = !foreign && s.Minor == 1 && !s.Header.Contains("connection", "close")
	switch {
	case s.Status == 204, s.Status == 304:
		// Such a reply has no body. An origin that announces a body may send it. Then
		// it would be read as the reply to the next request.
		s.KeepAlive = s.KeepAlive && s.ContentLength == 0
		s.ContentLength, s.Chunked = 0, false
	case toHEAD:
		s.ContentLength, s.Chunked = 0, false
	case s.Known&(HasContentLength|HasTransferEncoding) == 0:
		s.ContentLength, s.KeepAlive = -1, false
	}
	return accepted
}

// foreignCoding reports whether a reply has one transfer coding that is not registered
// and does not resemble chunked. Its body ends with the connection (RFC 9112, section
// 6.3, rule 4), so its end is not ambiguous. Registered codings are refused, because
// the edge cannot decode them.
func (s *Response) foreignCoding(repeated Known) bool {
	if s.Known&HasTransferEncoding == 0 || s.Known&HasContentLength != 0 || s.Minor == 0 || repeated&HasTransferEncoding != 0 {
		return false
	}
	v, _ := s.Header.Get("transfer-encoding")
	if len(v) == 0 || tokenLen(v) != len(v) {
		return false
	}
	lower := bytes.ToLower(v)
	for _, real := range [...]string{"chunk", "gzip", "deflate", "compress"} {
		if bytes.Contains(lower, []byte(real)) {
			return false
		}
	}
	return true
}

// statusLine reads "HTTP/1.x SP 3DIGIT SP reason". The last space may be missing
// together with the reason, which is common and not ambiguous.
func (s *Response) statusLine(line []byte) Refusal {
	const prefix = len("HTTP/1.1 200")
	if len(line) < prefix || string(line[:7]) != "HTTP/1." || line[7] != '0' && line[7] != '1' || line[8] != ' ' {
		return BadStatusLine
	}
	s.Minor = line[7] - '0'
	for _, c := range line[9:prefix] {
		if !digit(c) {
			return BadStatusLine
		}
		s.Status = s.Status*10 + int(c-'0')
	}
	if s.Status < 100 || s.Status > 599 {
		return BadStatusLine
	}
	if s.Status == 101 {
		return UnexpectedUpgrade
	}
	if len(line) == prefix {
		return accepted
	}
	if line[prefix] != ' ' {
		return BadStatusLine
	}
	s.Reason = line[prefix+1:]
	for _, c := range s.Reason {
		if class[c]&isValue == 0 {
			return BadStatusLine
		}
	}
	return accepted
}
