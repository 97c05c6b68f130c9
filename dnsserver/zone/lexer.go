package zone

import (
	"bytes"
	"fmt"
)

// entry is one directive or record of a zone file. It is one line, or several lines in
// parentheses (RFC 1035, section 5.1).
type entry struct {
	line     int      // where it starts, from 1
	indented bool     // the line starts with a blank: the owner is that of the previous entry
	fields   []string // as written, with quotes and escapes
}

// lexer splits a zone file into entries. It keeps fields unchanged, because the
// record's type decides which of them are names.
type lexer struct {
	data []byte
	pos  int
	line int
	open int // line of the parenthesis that is open; 0: none
}

func newLexer(data []byte) *lexer {
	return &lexer{data: bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")), line: 1}
}

// mistake is an error at a line of a zone file.
type mistake struct {
	line int
	text string
}

func (m *mistake) Error() string { return m.text }

// next returns the next entry that is not empty, or nil, nil at the end. After a
// mistake it continues behind the entry.
func (l *lexer) next() (*entry, *mistake) {
	for l.pos < len(l.data) {
		e, err := l.entry()
		if err != nil {
			l.skipEntry()
			return nil, err
		}
		if len(e.fields) > 0 {
			return e, nil
		}
	}
	return nil, nil
}

// entry reads up to the end of a line outside parentheses.
func (l *lexer) entry() (*entry, *mistake) {
	e := &entry{line: l.line, indented: isBlank(l.data[l.pos])}
	l.open = 0
	for l.pos < len(l.data) {
		switch c := l.data[l.pos]; {
		case c == '\n':
			l.pos++
			l.line++
			if l.open == 0 {
				return e, nil
			}
		case isBlank(c):
			l.pos++
		case c == ';':
			l.skipComment()
		case c == '(':
			if opened := l.open; opened != 0 {
				l.open = 0 // the parenthesis is not closed: continue behind this line
				return nil, &mistake{l.line, fmt.Sprintf("a parenthesis inside another, which opened at line %d", opened)}
			}
			l.open = l.line
			l.pos++
		case c == ')':
			if l.open == 0 {
				return nil, &mistake{l.line, "a closing parenthesis without an opening one"}
			}
			l.open = 0
			l.pos++
		default:
			field, err := l.field()
			if err != nil {
				return nil, err
			}
			if len(e.fields) == 0 {
				e.line = l.line
			}
			e.fields = append(e.fields, field)
		}
	}
	if l.open != 0 {
		return nil, &mistake{l.open, "the parenthesis is not closed; the file may be cut off"}
	}
	return e, nil
}

// field reads one field. A quoted field ends at its closing quote. Quotes inside
// another field, as in alpn="h2,h3", are part of it.
func (l *lexer) field() (string, *mistake) {
	start := l.pos
	quoted := false
	for l.pos < len(l.data) {
		switch c := l.data[l.pos]; {
		case c == '\n' && quoted:
			return "", &mistake{l.line, "quoted text does not end on its line"}
		case c == '\\':
			if err := l.escape(); err != nil {
				return "", err
			}
			continue
		case c == '"':
			if l.pos > start && !quoted && l.data[start] == '"' {
				return string(l.data[start:l.pos]), nil // the next quoted field follows without a blank
			}
			quoted = !quoted
			if !quoted && l.data[start] == '"' {
				l.pos++
				return string(l.data[start:l.pos]), nil
			}
		case !quoted && (c == '\n' || isBlank(c) || c == ';' || c == '(' || c == ')'):
			return string(l.data[start:l.pos]), nil
		}
		l.pos++
	}
	if quoted {
		return "", &mistake{l.line, "quoted text does not end; the file may be cut off"}
	}
	return string(l.data[start:l.pos]), nil
}

// escape skips \X or \DDD (RFC 1035, section 5.1).
func (l *lexer) escape() *mistake {
	rest := l.data[l.pos+1:]
	if len(rest) == 0 || rest[0] == '\n' {
		return &mistake{l.line, "a backslash at the end of a line"}
	}
	if !isDigit(rest[0]) {
		l.pos += 2
		return nil
	}
	if len(rest) < 3 || !isDigit(rest[1]) || !isDigit(rest[2]) || string(rest[:3]) > "255" {
		return &mistake{l.line, fmt.Sprintf("the escape \\%s is not a byte: it takes three digits from 000 to 255", printable(rest[:min(3, len(rest))]))}
	}
	l.pos += 4
	return nil
}

func (l *lexer) skipComment() {
	for l.pos < len(l.data) && l.data[l.pos] != '\n' {
		l.pos++
	}
}

// skipEntry skips the line, or the lines up to the closing parenthesis.
func (l *lexer) skipEntry() {
	for ; l.pos < len(l.data); l.pos++ {
		switch l.data[l.pos] {
		case ')':
			l.open = 0
		case '\n':
			l.line++
			if l.open == 0 {
				l.pos++
				return
			}
		}
	}
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// printable returns bytes of a file in a safe form for error messages.
func printable(b []byte) string {
	q := fmt.Sprintf("%+q", b)
	return q[1 : len(q)-1]
}
