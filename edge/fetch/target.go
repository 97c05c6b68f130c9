package fetch

import "bytes"

// AppendTarget appends the normal form of a request target ("/path?query") to dst. The
// same form is used for the cache key, the route and the request to the origin, so
// that these cannot differ. ok is false for a target without a safe meaning: one with a
// control byte or a space, or with an encoded control byte in its path.
//
// Bytes that are not allowed in a URI (RFC 3986, section 2) but are sent by browsers
// are percent-encoded: those from 0x80, and " < > \ ^ ` { | }. A "%" that begins no
// encoded byte is encoded too. In the path, encoded unreserved characters are decoded,
// hexadecimal digits are in upper case and dot segments are resolved (RFC 3986,
// sections 6.2.2 and 5.2.4). A ".." at the root is dropped. All other bytes are kept,
// because the origin decides the meaning of "//", encoded slashes and the query. The
// normal form of a normal form is the same, and at most three times as long as raw.
func AppendTarget(dst, raw []byte) (out []byte, ok bool) {
	base, path := len(dst), len(raw)
	if i := bytes.IndexByte(raw, '?'); i >= 0 {
		path = i
	}
	if isNormal(raw[:path]) {
		dst = append(dst, raw[:path]...)
	} else if dst, ok = appendEncoded(dst, raw[:path], true); !ok {
		return dst[:base], false
	}
	if bytes.Contains(dst[base:], []byte("/.")) {
		dst = dst[:base+removeDots(dst[base:])]
	}
	if path == len(raw) {
		return dst, true
	}
	if isNormal(raw[path:]) {
		return append(dst, raw[path:]...), true
	}
	if dst, ok = appendEncoded(dst, raw[path:], false); !ok {
		return dst[:base], false
	}
	return dst, true
}

// special are the bytes of a target that make it differ from its normal form or need a
// check: control bytes, the space, "%" and the bytes to encode.
var special = func() (t [256]bool) {
	for c := range t {
		t[c] = c <= ' ' || c >= 0x7f || bytes.IndexByte([]byte("%\"<>\\^`{|}"), byte(c)) >= 0
	}
	return t
}()

func isNormal(b []byte) bool {
	for _, c := range b {
		if special[c] {
			return false
		}
	}
	return true
}

// appendEncoded appends a path, or a query with its "?", in normal form. It does not
// resolve dot segments.
func appendEncoded(dst, raw []byte, isPath bool) ([]byte, bool) {
	const digits = "0123456789ABCDEF"
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		switch {
		case !special[c]:
			dst = append(dst, c)
			continue
		case c <= ' ' || c == 0x7f:
			return dst, false
		case c != '%':
			dst = append(dst, '%', digits[c>>4], digits[c&15])
			continue
		}
		hi, lo := -1, -1
		if i+2 < len(raw) {
			hi, lo = unhex(raw[i+1]), unhex(raw[i+2])
		}
		switch c := byte(hi<<4 | lo); {
		case hi < 0 || lo < 0:
			dst = append(dst, "%25"...)
			continue
		case !isPath:
			dst = append(dst, raw[i:i+3]...)
		case c < ' ' || c == 0x7f:
			return dst, false
		case unreserved(c):
			dst = append(dst, c)
		default:
			dst = append(dst, '%', digits[hi], digits[lo])
		}
		i += 2
	}
	return dst, true
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

func unreserved(c byte) bool {
	return 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

// removeDots resolves "." and ".." segments in place and returns the new
// length. The path begins with "/".
func removeDots(p []byte) int {
	w := 0
	for r := 0; r < len(p); {
		// p[r] is a slash. Its segment ends before the next slash.
		end := r + 1
		for end < len(p) && p[end] != '/' {
			end++
		}
		last := end == len(p)
		switch segment := p[r+1 : end]; {
		case len(segment) == 1 && segment[0] == '.':
			if last {
				p[w] = '/'
				w++
			}
		case len(segment) == 2 && segment[0] == '.' && segment[1] == '.':
			for w > 0 {
				w--
				if p[w] == '/' {
					break
				}
			}
			if last {
				p[w] = '/'
				w++
			}
		default:
			w += copy(p[w:], p[r:end])
		}
		r = end
	}
	return w
}
