package wire

import "errors"

// Lower writes a name in wire form to dst in lower case and returns it. dst must hold
// MaxName bytes. Label lengths are below 'A', so they stay unchanged.
func Lower(dst *[MaxName]byte, name []byte) []byte {
	out := dst[:len(name)]
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		out[i] = c
	}
	return out
}

var errName = errors.New("not a domain name")

// PackName returns a textual name in wire form, for example "www.cdn.example". It keeps
// the case. The final dot is optional, and "" or "." is the root. Escapes (\. and \DDD)
// are those of RFC 1035, section 5.1.
func PackName(name string) ([]byte, error) {
	out := make([]byte, 1, len(name)+2) // out[start] is the length of the current label
	start := 0
	closeLabel := func() bool {
		n := len(out) - start - 1
		if n == 0 || n > maxLabel {
			return false
		}
		out[start] = byte(n)
		start = len(out)
		out = append(out, 0)
		return true
	}
	if name == "" || name == "." {
		return out, nil
	}
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case c == '.':
			if !closeLabel() {
				return nil, errName
			}
		case c == '\\' && i+3 < len(name) && isDigit(name[i+1]) && isDigit(name[i+2]) && isDigit(name[i+3]):
			v := int(name[i+1]-'0')*100 + int(name[i+2]-'0')*10 + int(name[i+3]-'0')
			if v > 255 {
				return nil, errName
			}
			out = append(out, byte(v))
			i += 3
		case c == '\\':
			if i+1 >= len(name) {
				return nil, errName
			}
			i++
			out = append(out, name[i])
		default:
			out = append(out, c)
		}
	}
	if len(out)-start > 1 && !closeLabel() {
		return nil, errName
	}
	if len(out) > MaxName {
		return nil, errName
	}
	return out, nil
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// NameString returns a name in wire form as text without the final dot. The root is "".
// Dots and unprintable bytes inside labels are escaped.
func NameString(name []byte) string {
	var out []byte
	for len(name) > 0 && name[0] != 0 {
		n := int(name[0])
		if 1+n > len(name) {
			break
		}
		if out != nil {
			out = append(out, '.')
		}
		for _, c := range name[1 : 1+n] {
			switch {
			case c == '.' || c == '\\':
				out = append(out, '\\', c)
			case c < '!' || c > '~':
				out = append(out, '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
			default:
				out = append(out, c)
			}
		}
		name = name[1+n:]
	}
	return string(out)
}

// Parent returns the name without its first label; the root's parent is nil.
func Parent(name []byte) []byte {
	if len(name) <= 1 {
		return nil
	}
	return name[1+int(name[0]):]
}

// IsSuffix reports whether name is zone or a name below it. Both are in wire form and
// lower case.
func IsSuffix(name, zone []byte) bool {
	for len(name) > len(zone) {
		name = Parent(name)
	}
	return string(name) == string(zone)
}
