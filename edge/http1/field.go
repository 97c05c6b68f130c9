package http1

import "perto/internal/fields"

// Known is a set of fields that the edge handles, one bit each. With it, the hit path
// tests one word instead of searching the header.
type Known uint32

// The known fields.
const (
	HasHost Known = 1 << iota
	HasContentLength
	HasTransferEncoding
	HasConnection
	HasExpect
	HasUpgrade
	HasCacheControl
	HasPragma
	HasRange
	HasIfRange
	HasIfNoneMatch
	HasIfModifiedSince
	HasIfMatch
	HasIfUnmodifiedSince
	HasAuthorization
	HasCDNLoop
)

// knownName returns the bit of a field name, and 0 for other names. It compares the
// length first, so that most names need no further comparison.
func knownName(name []byte) Known {
	switch len(name) {
	case 4:
		return is(name, "host", HasHost)
	case 5:
		return is(name, "range", HasRange)
	case 6:
		return is(name, "expect", HasExpect) | is(name, "pragma", HasPragma)
	case 7:
		return is(name, "upgrade", HasUpgrade)
	case 8:
		return is(name, "if-match", HasIfMatch) | is(name, "if-range", HasIfRange) | is(name, "cdn-loop", HasCDNLoop)
	case 10:
		return is(name, "connection", HasConnection)
	case 13:
		return is(name, "cache-control", HasCacheControl) | is(name, "if-none-match", HasIfNoneMatch) |
			is(name, "authorization", HasAuthorization)
	case 14:
		return is(name, "content-length", HasContentLength)
	case 17:
		return is(name, "if-modified-since", HasIfModifiedSince) | is(name, "transfer-encoding", HasTransferEncoding)
	case 19:
		return is(name, "if-unmodified-since", HasIfUnmodifiedSince)
	}
	return 0
}

// KnownOf returns the bits of a header that did not come from a connection.
func KnownOf(h fields.Header) (k Known) {
	for i := range h {
		k |= knownName(h[i].Name)
	}
	return k
}

func is(name []byte, lower string, bit Known) Known {
	if fields.Equal(name, lower) {
		return bit
	}
	return 0
}

// Classes of bytes, one bit each in class.
const (
	isToken  = 1 << iota // tchar, RFC 9110, section 5.6.2
	isValue              // field-vchar, SP, HTAB: all bytes except other controls
	isTarget             // allowed in request targets of clients
	isURI                // allowed in request targets to origins
	isHost               // allowed in a reg-name
)

// class has the classes of every byte. In targets, clients may send all bytes except
// controls, the space and "#", because browsers send some bytes raw that RFC 3986
// excludes. Origins receive visible ASCII without " < > \ #, which some programs
// rewrite. Package fetch percent-encodes the other bytes.
var class = func() (t [256]uint8) {
	for c := range 256 {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z' && c < 0x80
		digit := '0' <= c && c <= '9'
		if letter || digit || (c < 0x80 && has("!#$%&'*+-.^_`|~", byte(c))) {
			t[c] |= isToken
		}
		if c == '\t' || (c >= ' ' && c != 0x7f) {
			t[c] |= isValue
		}
		if c > ' ' && c != 0x7f && c != '#' {
			t[c] |= isTarget
		}
		if c > ' ' && c < 0x7f && !has("\"<>\\#", byte(c)) {
			t[c] |= isURI
		}
		if letter || digit || (c < 0x80 && has("-._", byte(c))) {
			t[c] |= isHost
		}
	}
	return t
}()

func has(set string, c byte) bool {
	for i := range len(set) {
		if set[i] == c {
			return true
		}
	}
	return false
}

// parseFields reads field lines from b, which ends with the empty line, and appends
// them to h. known has the bits of the known fields, repeated the bits of those that
// came more than once. lenient accepts white space before the colon.
func parseFields(b []byte, h fields.Header, lenient bool) (_ fields.Header, known, repeated Known, _ Refusal) {
	for {
		if b[0] == '\r' {
			if b[1] != '\n' {
				return h, 0, 0, BadFieldName
			}
			return h, known, repeated, accepted
		}
		i := 0
		for class[b[i]]&isToken != 0 {
			i++
		}
		n := i
		if i == 0 || b[i] != ':' {
			if lenient && i > 0 {
				for b[i] == ' ' || b[i] == '\t' {
					i++
				}
			}
			if i == 0 || b[i] != ':' {
				if i == 0 && (b[0] == ' ' || b[0] == '\t') {
					return h, 0, 0, ObsFold
				}
				return h, 0, 0, BadFieldName
			}
		}
		name := b[:n:n]
		b = b[i+1:]
		for b[0] == ' ' || b[0] == '\t' {
			b = b[1:]
		}
		i = 0
		for class[b[i]]&isValue != 0 {
			i++
		}
		if b[i] != '\r' || b[i+1] != '\n' {
			return h, 0, 0, BadFieldValue
		}
		end := i
		for end > 0 && (b[end-1] == ' ' || b[end-1] == '\t') {
			end--
		}
		if len(h) == MaxFields {
			return h, 0, 0, TooManyFields
		}
		h = append(h, fields.Field{Name: name, Value: b[:end:end]})
		b = b[i+2:]
		k := knownName(name)
		repeated |= known & k
		known |= k
	}
}
