package fetch

import "bytes"

// AppendTarget appends the normal form of a request target ("/path?query") to
// dst: the form that makes the cache key, decides the route and is sent to the
// origin, so that the three cannot disagree. ok is false for a path that has no
// safe meaning: a broken percent-encoding, or an encoded control byte.
//
// In the path, encoded unreserved characters are decoded, hexadecimal digits are
// in upper case and dot segments are resolved (RFC 3986, sections 6.2.2 and
// 5.2.4; going above the root stays there). Everything else is kept: "//",
// encoded slashes and the query mean what the origin says. The form is
// idempotent.
func AppendTarget(dst, raw []byte) (out []byte, ok bool) {
	path, query := raw, []byte(nil)
	if i := bytes.IndexByte(raw, '?'); i >= 0 {
		path, query = raw[:i], raw[i:]
	}
	for _, c := range raw {
		if c <= ' ' || c == 0x7f {
			return dst, false // of a function: no client's target has one
		}
	}
	base := len(dst)
	if bytes.IndexByte(path, '%') < 0 {
		dst = append(dst, path...)
	} else if dst, ok = appendDecoded(dst, path); !ok {
		return dst[:base], false
	}
	if bytes.Contains(dst[base:], []byte("/.")) {
		dst = dst[:base+removeDots(dst[base:])]
	}
	return append(dst, query...), true
}

func appendDecoded(dst, path []byte) ([]byte, bool) {
	const digits = "0123456789ABCDEF"
	for i := 0; i < len(path); i++ {
		c := path[i]
		if c != '%' {
			dst = append(dst, c)
			continue
		}
		if i+2 >= len(path) {
			return dst, false
		}
		hi, lo := unhex(path[i+1]), unhex(path[i+2])
		if hi < 0 || lo < 0 {
			return dst, false
		}
		c = byte(hi<<4 | lo)
		i += 2
		switch {
		case c < ' ' || c == 0x7f:
			return dst, false
		case unreserved(c):
			dst = append(dst, c)
		default:
			dst = append(dst, '%', digits[hi], digits[lo])
		}
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
