package http1

import (
	"bytes"

	"perto/internal/fields"
)

// splitAbsolute splits "http://authority/path?query" into its authority, the default
// port of its scheme and the rest. The rest begins with "/", also for an empty path.
func splitAbsolute(target []byte) (authority []byte, port string, rest []byte, ok bool) {
	n := len("http://")
	switch {
	case len(target) > n && fields.Equal(target[:n], "http://"):
		port = "80"
	case len(target) > n+1 && fields.Equal(target[:n+1], "https://"):
		n, port = n+1, "443"
	default:
		return nil, "", nil, false
	}
	target = target[n:]
	i := 0
	for i < len(target) && target[i] != '/' && target[i] != '?' {
		i++
	}
	authority = target[:i:i]
	switch {
	case i == len(target):
		rest = []byte{'/'}
	case target[i] == '?':
		rest = append([]byte{'/'}, target[i:]...)
	default:
		rest = target[i:]
	}
	return authority, port, rest, true
}

// withoutPort removes the port from a well-formed authority if the port is the default
// one or empty.
func withoutPort(a []byte, port string) []byte {
	i := bytes.LastIndexByte(a, ':')
	if i < 0 || bytes.IndexByte(a[i:], ']') >= 0 {
		return a
	}
	if p := bytes.TrimLeft(a[i+1:], "0"); len(p) == 0 || string(p) == port {
		return a[:i]
	}
	return a
}

// validAuthority accepts host[:port], also with an empty port (RFC 3986, section
// 3.2.3). The host is a name of letters, digits, "-", "." and "_", an IPv4 address, or
// an IPv6 address in brackets. RFC 3986 also allows percent-encoding, sub-delimiters
// and user information. Services do not use them in names, but attacks by host
// confusion do.
func validAuthority(a []byte) bool {
	if len(a) == 0 || len(a) > 255+len(":65535") {
		return false
	}
	i := 0
	if a[0] == '[' {
		for i = 1; i < len(a) && (a[i] == ':' || a[i] == '.' || hexValue(a[i]) >= 0); {
			i++
		}
		if i < 3 || i >= len(a) || a[i] != ']' {
			return false
		}
		i++
	} else {
		for i < len(a) && class[a[i]]&isHost != 0 {
			i++
		}
		if i == 0 || a[0] == '.' {
			return false
		}
	}
	if i == len(a) {
		return true
	}
	if a[i] != ':' {
		return false
	}
	port := a[i+1:]
	if len(port) == 0 {
		return true
	}
	if len(port) > 5 {
		return false
	}
	n := 0
	for _, c := range port {
		if !digit(c) {
			return false
		}
		n = n*10 + int(c-'0')
	}
	return 0 < n && n <= 65535
}

// hexValue returns the value of a hexadecimal digit, or -1.
func hexValue(c byte) int {
	switch {
	case digit(c):
		return int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}
