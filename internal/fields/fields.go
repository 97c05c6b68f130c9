// Package fields is the type of HTTP header fields that the edge packages share (RFC
// 9110, section 5). A parser makes them, the caching rules read them, the cache stores
// them, and the fetcher sends them.
//
// Names and values are slices of a buffer and never strings. To keep a [Header] longer
// than its buffer, make a [Header.Clone]. Names keep their case, and comparisons ignore
// ASCII case. The package checks no syntax, because the parser does. It has no state
// and no locks. Start with [Header.Get] and [Header.Elements].
package fields

import "iter"

// Field is one header field line.
type Field struct {
	Name  []byte
	Value []byte // without leading and trailing white space
}

// Header is a sequence of field lines in the order of the message.
type Header []Field

// Equal reports whether name equals lower without regard to ASCII case. lower must be
// in lower case.
func Equal(name []byte, lower string) bool {
	if len(name) != len(lower) {
		return false
	}
	for i, c := range name {
		if Lower(c) != lower[i] {
			return false
		}
	}
	return true
}

// EqualFold reports whether two byte strings are equal without regard to ASCII case.
func EqualFold(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i, c := range a {
		if Lower(c) != Lower(b[i]) {
			return false
		}
	}
	return true
}

// Lower returns c in lower case when it is an ASCII letter.
func Lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}

// Get returns the value of the first line with the given name (in lower case) and
// whether there is one.
func (h Header) Get(name string) ([]byte, bool) {
	for i := range h {
		if Equal(h[i].Name, name) {
			return h[i].Value, true
		}
	}
	return nil, false
}

// Has reports whether a line with the given name (in lower case) exists.
func (h Header) Has(name string) bool {
	_, ok := h.Get(name)
	return ok
}

// Values yields the value of each line with the given name (in lower case).
func (h Header) Values(name string) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for i := range h {
			if Equal(h[i].Name, name) && !yield(h[i].Value) {
				return
			}
		}
	}
}

// Elements yields the members of the comma-separated list that all lines with the given
// name form together (RFC 9110, section 5.6.1). Members are trimmed, empty ones are
// skipped, and commas inside quoted strings do not separate.
func (h Header) Elements(name string) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for v := range h.Values(name) {
			for e := range List(v) {
				if !yield(e) {
					return
				}
			}
		}
	}
}

// List yields the members of one comma-separated value like Elements.
func List(v []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for len(v) > 0 {
			end := listEnd(v)
			e := Trim(v[:end])
			if len(e) > 0 && !yield(e) {
				return
			}
			v = v[min(end+1, len(v)):]
		}
	}
}

// listEnd returns the end of the first list member: the offset of its comma or the end
// of v. An unfinished quoted string reaches to the end.
func listEnd(v []byte) int {
	quoted := false
	for i := 0; i < len(v); i++ {
		switch c := v[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\' && quoted:
			i++
		case c == ',' && !quoted:
			return i
		}
	}
	return len(v)
}

// Contains reports whether the list of all lines with the given name has the member
// token. Both are in lower case, and the comparison ignores case.
func (h Header) Contains(name, token string) bool {
	for e := range h.Elements(name) {
		if Equal(e, token) {
			return true
		}
	}
	return false
}

// Trim removes spaces and tabs at both ends (OWS, RFC 9110, section 5.6.3).
func Trim(v []byte) []byte {
	for len(v) > 0 && (v[0] == ' ' || v[0] == '\t') {
		v = v[1:]
	}
	for len(v) > 0 && (v[len(v)-1] == ' ' || v[len(v)-1] == '\t') {
		v = v[:len(v)-1]
	}
	return v
}

// Clone copies the lines and their bytes. It makes one allocation for the bytes and one
// for the lines.
func (h Header) Clone() Header {
	size := 0
	for i := range h {
		size += len(h[i].Name) + len(h[i].Value)
	}
	block := make([]byte, 0, size)
	out := make(Header, len(h))
	for i := range h {
		n := len(block)
		block = append(block, h[i].Name...)
		v := len(block)
		block = append(block, h[i].Value...)
		out[i] = Field{Name: block[n:v:v], Value: block[v:len(block):len(block)]}
	}
	return out
}

// Set returns the header with exactly one line of the given name and value. It replaces
// the first line of that name, or adds a line at the end. It changes the lines of h and
// keeps name and value without a copy.
func (h Header) Set(name, value []byte) Header {
	for i := range h {
		if EqualFold(h[i].Name, name) {
			h[i].Value = value
			rest := h[i+1:].Without(name)
			return h[:i+1+len(rest)]
		}
	}
	return append(h, Field{Name: name, Value: value})
}

// Without returns the header without the lines of the given name. It changes the lines
// of h.
func (h Header) Without(name []byte) Header {
	kept := h[:0]
	for i := range h {
		if !EqualFold(h[i].Name, name) {
			kept = append(kept, h[i])
		}
	}
	return kept
}

// Append writes the lines in wire format: "Name: value" and CRLF each.
func (h Header) Append(dst []byte) []byte {
	for i := range h {
		dst = append(dst, h[i].Name...)
		dst = append(dst, ": "...)
		dst = append(dst, h[i].Value...)
		dst = append(dst, "\r\n"...)
	}
	return dst
}

// Of makes a header from alternating names and values. It is for tests and for fields
// that a program sets.
func Of(pairs ...string) Header {
	out := make(Header, 0, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		out = append(out, Field{Name: []byte(pairs[i]), Value: []byte(pairs[i+1])})
	}
	return out
}
