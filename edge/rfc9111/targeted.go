package rfc9111

import (
	"time"

	"perto/internal/fields"
)

// ParseTargeted reads the CDN-Cache-Control field (RFC 9213), a dictionary of
// structured fields. ok is false when the field is absent, empty or malformed, or when
// a directive has a value of the wrong type. Then the field must be ignored, and
// Cache-Control counts (RFC 9213, section 2.1).
func ParseTargeted(h fields.Header) (d Directives, ok bool) {
	const name = "cdn-cache-control"
	if !h.Has(name) {
		return d, false
	}
	var p sfParser
	for line := range h.Values(name) {
		if len(p.b) > 0 {
			p.b = append(p.b, ", "...)
		}
		p.b = append(p.b, line...)
	}
	var values []sfMember
	for {
		m, more, ok := p.member()
		if !ok {
			return Directives{}, false
		}
		if !more {
			break
		}
		values = append(values, m)
	}
	for i, m := range values {
		if overridden(values[i+1:], m.key) {
			continue
		}
		if !d.addTyped(m) {
			return Directives{}, false
		}
	}
	return d, len(values) > 0
}

// overridden reports whether a later member has the same key. The last member counts
// (RFC 9651, section 4.2.2).
func overridden(later []sfMember, key string) bool {
	for _, m := range later {
		if m.key == key {
			return true
		}
	}
	return false
}

// addTyped adds one directive. It returns false when the value has the wrong type.
func (d *Directives) addTyped(m sfMember) bool {
	for i := range flagNames {
		f := &flagNames[i]
		if f.name != m.key {
			continue
		}
		switch {
		case f.at != nil:
			if m.kind != sfInteger || m.number < 0 {
				return false
			}
			*f.at(d) = min(time.Duration(m.number), maxDelta/time.Second) * time.Second
			d.Flags |= f.flag
		case m.kind == sfBoolean && m.number == 1:
			d.Flags |= f.flag
		case m.kind == sfBoolean:
		case m.kind == sfString && (f.flag == NoCache || f.flag == Private):
			for field := range fields.List([]byte(m.text)) {
				d.Withheld = append(d.Withheld, field)
			}
		default:
			return false
		}
	}
	return true
}

// The parser below reads a dictionary of RFC 9651. It checks the syntax of all values
// and returns the values of integers, booleans and strings.

type sfKind uint8

const (
	sfBoolean sfKind = iota
	sfInteger
	sfString
	sfOther // decimals, tokens, dates, byte sequences, inner lists
)

type sfMember struct {
	key    string
	kind   sfKind
	number int64 // of an integer; 1 or 0 of a boolean
	text   string
}

type sfParser struct {
	b     []byte
	began bool
}

// member reads the next "key[=value][;parameters]". more is false at the end of the
// field.
func (p *sfParser) member() (m sfMember, more, ok bool) {
	p.spaces(" ")
	if !p.began {
		p.began = true
		if len(p.b) == 0 {
			return m, false, true
		}
	} else {
		p.spaces(" \t")
		if len(p.b) == 0 {
			return m, false, true
		}
		if !p.take(',') {
			return m, false, false
		}
		if p.spaces(" \t"); len(p.b) == 0 {
			return m, false, false // a trailing comma
		}
	}
	if m.key, ok = p.key(); !ok {
		return m, false, false
	}
	if p.take('=') {
		m.kind, m.number, m.text, ok = p.value()
	} else {
		m.kind, m.number = sfBoolean, 1
	}
	return m, true, ok && p.parameters()
}

func (p *sfParser) spaces(set string) {
	for len(p.b) > 0 && (p.b[0] == ' ' || p.b[0] == '\t' && set != " ") {
		p.b = p.b[1:]
	}
}

func (p *sfParser) take(c byte) bool {
	if len(p.b) == 0 || p.b[0] != c {
		return false
	}
	p.b = p.b[1:]
	return true
}

// while removes and returns the longest prefix in which all bytes satisfy ok.
func (p *sfParser) while(ok func(byte) bool) string {
	i := 0
	for i < len(p.b) && ok(p.b[i]) {
		i++
	}
	s := string(p.b[:i])
	p.b = p.b[i:]
	return s
}

func isLower(c byte) bool { return 'a' <= c && c <= 'z' }
func isDigit(c byte) bool { return '0' <= c && c <= '9' }
func isAlpha(c byte) bool { return isLower(c | 0x20) }
func isOneOf(c byte, set string) bool {
	for i := range len(set) {
		if set[i] == c {
			return true
		}
	}
	return false
}

func (p *sfParser) key() (string, bool) {
	if len(p.b) == 0 || !isLower(p.b[0]) && p.b[0] != '*' {
		return "", false
	}
	return p.while(func(c byte) bool { return isLower(c) || isDigit(c) || isOneOf(c, "_-.*") }), true
}

// value reads a bare item or an inner list.
func (p *sfParser) value() (kind sfKind, n int64, text string, ok bool) {
	if !p.take('(') {
		return p.item()
	}
	for {
		p.spaces(" ")
		if p.take(')') {
			return sfOther, 0, "", true
		}
		if _, _, _, ok := p.item(); !ok || !p.parameters() {
			return sfOther, 0, "", false
		}
		if len(p.b) == 0 || p.b[0] != ' ' && p.b[0] != ')' {
			return sfOther, 0, "", false
		}
	}
}

func (p *sfParser) parameters() bool {
	for p.take(';') {
		p.spaces(" ")
		if _, ok := p.key(); !ok {
			return false
		}
		if p.take('=') {
			if _, _, _, ok := p.item(); !ok {
				return false
			}
		}
	}
	return true
}

func (p *sfParser) item() (kind sfKind, n int64, text string, ok bool) {
	if len(p.b) == 0 {
		return sfOther, 0, "", false
	}
	switch c := p.b[0]; {
	case c == '-' || isDigit(c):
		return p.number()
	case c == '"':
		text, ok = p.str()
		return sfString, 0, text, ok
	case isAlpha(c) || c == '*':
		p.while(func(c byte) bool { return isAlpha(c) || isDigit(c) || isOneOf(c, "!#$%&'*+-.^_`|~:/") })
		return sfOther, 0, "", true
	case c == '?':
		if len(p.b) < 2 || p.b[1] != '0' && p.b[1] != '1' {
			return sfOther, 0, "", false
		}
		n = int64(p.b[1] - '0')
		p.b = p.b[2:]
		return sfBoolean, n, "", true
	case c == ':':
		p.b = p.b[1:]
		p.while(func(c byte) bool { return isAlpha(c) || isDigit(c) || isOneOf(c, "+/=") })
		return sfOther, 0, "", p.take(':')
	case c == '@':
		p.b = p.b[1:]
		kind, n, text, ok = p.number()
		return sfOther, n, text, ok && kind == sfInteger
	}
	return sfOther, 0, "", false
}

// Limits of RFC 9651, section 4.2.4.
const (
	sfMaxInteger  = 15 // digits
	sfMaxWhole    = 12 // digits before the point
	sfMaxFraction = 3  // digits after it
)

func (p *sfParser) number() (kind sfKind, n int64, text string, ok bool) {
	sign := int64(1)
	if p.take('-') {
		sign = -1
	}
	whole := p.while(isDigit)
	if whole == "" {
		return sfOther, 0, "", false
	}
	if p.take('.') {
		fraction := p.while(isDigit)
		return sfOther, 0, "", len(whole) <= sfMaxWhole && 0 < len(fraction) && len(fraction) <= sfMaxFraction
	}
	if len(whole) > sfMaxInteger {
		return sfOther, 0, "", false
	}
	for i := range len(whole) {
		n = n*10 + int64(whole[i]-'0')
	}
	return sfInteger, sign * n, "", true
}

func (p *sfParser) str() (string, bool) {
	var out []byte
	for i := 1; i < len(p.b); i++ {
		switch c := p.b[i]; {
		case c == '"':
			p.b = p.b[i+1:]
			return string(out), true
		case c == '\\':
			i++
			if i == len(p.b) || p.b[i] != '"' && p.b[i] != '\\' {
				return "", false
			}
			out = append(out, p.b[i])
		case c < ' ' || c > '~':
			return "", false
		default:
			out = append(out, c)
		}
	}
	return "", false
}
