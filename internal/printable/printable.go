// Package printable makes text of clients, functions and origins safe for a terminal
// and for a log with one record per line.
//
// Such text can hold escape sequences, which move the cursor or rename the window. Line
// feeds forge records, and bidirectional controls reorder the displayed text. The
// package writes every character without a glyph as an escape: \n, \r, \t, \u001b, and
// \xff for a byte that is not UTF-8. The escapes for valid text are also JSON escapes.
// Only [Writer] has state and a lock. Start with [Text].
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
	if i := asciiPrefix(s); i < len(s) {
		return string(appendEscaped(append(make([]byte, 0, len(s)+16), s[:i]...), string(s[i:]), false))
	}
	return string(s)
}

// asciiPrefix returns the length of the longest prefix of s that is printable ASCII.
func asciiPrefix[T string | []byte](s T) int {
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

// Writer applies [Lines] to the text and writes the result to another writer. It is
// safe for concurrent use. Each Write causes one write to the other writer.
type Writer struct {
	mu   sync.Mutex
	w    io.Writer
	rest []byte // start of a character that continues in the next Write
}

// NewWriter returns a Writer to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Write writes p, except for an unfinished character at its end.
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

// Flush writes the rest of an unfinished character.
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
