// Package printable makes text of clients, functions and origins safe for a terminal
// and for a log whose lines are records.
//
// Such text can hold escape sequences, which move the cursor or rename the window,
// line feeds, which forge records, and bidirectional controls, which reorder what is
// shown. All that a terminal does not show as a glyph is written as an escape: \n,
// \r, \t, \u001b, and \xff for a byte that is not UTF-8. Those of valid text are also
// the escapes of JSON. No state, no locks, but for [Writer].
package printable

import (
	"io"
	"strconv"
	"sync"
	"unicode/utf16"
	"unicode/utf8"
)

// Text returns s in one line of graphic characters and spaces.
func Text[T string | []byte](s T) string {
	if i := plain(s); i < len(s) {
		return string(appendEscaped(append(make([]byte, 0, len(s)+16), s[:i]...), string(s[i:]), false))
	}
	return string(s)
}

// Lines is Text that keeps line feeds and tabs.
func Lines[T string | []byte](s T) string {
	return string(appendEscaped(make([]byte, 0, len(s)), string(s), true))
}

// plain returns the length of the part of s, from its beginning, that is printable
// ASCII.
func plain[T string | []byte](s T) int {
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f {
			return i
		}
	}
	return len(s)
}

func appendEscaped(dst []byte, s string, lines bool) []byte {
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			const digits = "0123456789abcdef"
			dst = append(dst, '\\', 'x', digits[s[0]>>4], digits[s[0]&15])
		case strconv.IsGraphic(r), lines && (r == '\n' || r == '\t'):
			dst = append(dst, s[:n]...)
		case r == '\n':
			dst = append(dst, `\n`...)
		case r == '\r':
			dst = append(dst, `\r`...)
		case r == '\t':
			dst = append(dst, `\t`...)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			dst = appendUnit(appendUnit(dst, high), low)
		default:
			dst = appendUnit(dst, r)
		}
		s = s[n:]
	}
	return dst
}

// appendUnit appends a UTF-16 code unit as an escape.
func appendUnit(dst []byte, r rune) []byte {
	const digits = "0123456789abcdef"
	return append(dst, '\\', 'u', digits[r>>12&15], digits[r>>8&15], digits[r>>4&15], digits[r&15])
}

// Writer passes on what [Lines] makes of the text that is written to it. It is safe
// for concurrent use; each Write is one of the writer below.
type Writer struct {
	mu   sync.Mutex
	w    io.Writer
	rest []byte // the beginning of a character that continues in the next Write
}

// NewWriter returns a Writer to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Write writes p, but for a character that p does not end.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := append(w.rest, p...)
	end := len(b)
	for i := 1; i < utf8.UTFMax && i <= len(b); i++ {
		if c := b[len(b)-i]; utf8.RuneStart(c) {
			if !utf8.FullRune(b[len(b)-i:]) {
				end -= i
			}
			break
		}
	}
	w.rest = append([]byte(nil), b[end:]...)
	if _, err := w.w.Write(appendEscaped(make([]byte, 0, end), string(b[:end]), true)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Flush writes what is left of a character that did not end.
func (w *Writer) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	rest := w.rest
	w.rest = nil
	if len(rest) == 0 {
		return nil
	}
	_, err := w.w.Write(appendEscaped(nil, string(rest), true))
	return err
}
