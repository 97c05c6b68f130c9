package fetch

import "bytes"

// AppendTarget appends the normal form of a request target ("/path?query") to
// dst: the form that makes the cache key, decides the route and is sent to the
// origin, so that the three cannot disagree. ok is false for a target that has no
// safe meaning: one with a control byte or a space, or with an encoded control byte
// in its path.
//
// Bytes that no URI may have (RFC 3986, section 2), which browsers send all the
// same, are percent-encoded: those from 0x80, and " < > \ ^ ` { | }. So is a "%" that
// begins no encoded byte. In the path, encoded unreserved characters are decoded,
// hexadecimal digits are in upper case and dot segments are resolved (RFC 3986,
// sections 6.2.2 and 5.2.4; going above the root stays there). Everything else is
// kept: "//", encoded slashes and the rest of the query mean what the origin says.
// The form is idempotent, and at most three times as long as raw.
func AppendTarget(dst, raw []byte) (out []byte, ok bool) {
	base, path := len(dst), len(raw)
	if i := bytes.IndexByte(raw, '?'); i >= 0 {
		path = i
	}
	if isPlain(raw[:path]) {
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
	if isPlain(raw[path:]) {
		return append(dst, raw[path:]...), true
	}
	if dst, ok = appendEncoded(dst, raw[path:], false); !ok {
		return dst[:base], false
	}
	return dst, true
}

// odd are the bytes of targets that need a look: controls, the space, "%" and those
// that are encoded.
var odd = func() (t [256]bool) {
	for c := range t {
		t[c] = c <= ' ' || c >= 0x7f || bytes.IndexByte([]byte("%\"<>\\^`{|}"), byte(c)) >= 0
	}
	return t
}()

func isPlain(b []byte) bool {
	for _, c := range b {
		if odd[c] {
			return false
		}
	}
	return true
}

// appendEncoded appends a path, or a query with its "?", in normal form but for dot
// segments.
func appendEncoded(dst, raw []byte, isPath bool) ([]byte, bool) {
	const digits = "0123456789ABCDEF"
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		switch {
		case !odd[c]:
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
		// p[r] is a slash; the segment behind it ends before the next one.
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
