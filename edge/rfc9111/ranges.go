package rfc9111

import (
	"bytes"
	"time"

	"perto/internal/fields"
)

// RangeKind is the kind of reply to a request with a Range field.
type RangeKind uint8

// The kinds.
const (
	WholeBody     RangeKind = iota // ignore the field and send 200
	OneRange                       // send 206
	Unsatisfiable                  // send 416
)

// ParseRange reads a Range field for a body of size bytes (RFC 9110, section 14.2):
// "bytes=a-b", "bytes=a-" and "bytes=-n". It ignores other units, malformed fields and
// sets of several ranges, as the section allows. With sets, a request of a few bytes
// could cause a reply of megabytes.
func ParseRange(v []byte, size int64) (first, length int64, kind RangeKind) {
	const unit = "bytes="
	if len(v) <= len(unit) || !fields.Equal(v[:len(unit)], unit) {
		return 0, 0, WholeBody
	}
	from, to, ok := bytes.Cut(v[len(unit):], []byte{'-'})
	if !ok {
		return 0, 0, WholeBody
	}
	a, aok := position(from)
	b, bok := position(to)
	switch {
	case !aok || !bok, a < 0 && b < 0:
		return 0, 0, WholeBody
	case a < 0: // the last b bytes
		if b == 0 || size == 0 {
			return 0, 0, Unsatisfiable
		}
		b = min(b, size)
		return size - b, b, OneRange
	case b >= 0 && b < a:
		return 0, 0, WholeBody
	case a >= size:
		return 0, 0, Unsatisfiable
	case b < 0 || b >= size:
		b = size - 1
	}
	return a, b - a + 1, OneRange
}

// position reads a byte position. It returns -1 when v is empty.
func position(v []byte) (n int64, ok bool) {
	if len(v) == 0 {
		return -1, true
	}
	if len(v) > 18 { // 18 digits always fit in an int64
		return 0, false
	}
	for _, c := range v {
		if !isDigit(c) {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// IfRange reports whether the condition of If-Range allows to use the Range field (RFC
// 9110, section 13.1.5). It does when the entity tags are strong and equal, or when the
// date is exactly the stored Last-Modified. Without If-Range it returns true.
func IfRange(request, reply fields.Header, now time.Time) bool {
	v, ok := request.Get("if-range")
	if !ok {
		return true
	}
	if len(v) > 0 && (v[0] == '"' || v[0] == 'W') {
		etag, _ := Validators(reply)
		return v[0] == '"' && bytes.Equal(v, etag)
	}
	t, ok := ParseDate(v, now)
	if !ok {
		return false
	}
	modified, ok := reply.Get("last-modified")
	if !ok {
		return false
	}
	m, ok := ParseDate(modified, now)
	return ok && m.Equal(t)
}
