package http1

import (
	"bytes"
	"io"

	"perto/internal/fields"
)

// Body reads the body that follows the head read last. It returns io.EOF only
// at the end that the message defines. When the source ends before, it returns
// io.ErrUnexpectedEOF. A Body is valid until the next head is read.
type Body struct {
	r       *Reader
	left    int64 // bytes left of the body or of the current chunk; -1 means until the source ends
	chunked bool
	first   bool // no chunk line was read yet
	done    bool
	n       int64 // bytes returned so far
}

// Body returns the body of a message with the given framing. length is in bytes. -1
// means chunked, or without chunked all bytes until the source ends.
func (r *Reader) Body(length int64, chunked bool) *Body {
	r.body = Body{r: r, left: length, chunked: chunked, first: true, done: length == 0}
	if chunked {
		r.body.left, r.body.done = 0, false
	}
	return &r.body
}

// Len returns the number of bytes read so far, without framing.
func (b *Body) Len() int64 { return b.n }

// Done reports whether the whole body was read.
func (b *Body) Done() bool { return b.done }

// Read reads body bytes into p. When nothing is buffered, large reads go to the source
// directly.
func (b *Body) Read(p []byte) (int, error) {
	if b.done {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	if b.chunked && b.left == 0 {
		if err := b.nextChunk(); err != nil {
			return 0, err
		}
		if b.done {
			return 0, io.EOF
		}
	}
	if b.left >= 0 && int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.read(p)
	b.n += int64(n)
	if b.left > 0 {
		b.left -= int64(n)
		b.done = b.left == 0 && !b.chunked
	}
	if n > 0 {
		return n, nil
	}
	if err == io.EOF {
		if b.left < 0 {
			b.done = true
			return 0, io.EOF
		}
		err = io.ErrUnexpectedEOF
	}
	return 0, err
}

// read returns buffered bytes first. Small reads go through the buffer, because a chunk
// line probably follows.
func (b *Body) read(p []byte) (int, error) {
	r := b.r
	if r.r == r.w {
		if len(p) >= firstBuffer {
			return r.src.Read(p)
		}
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.buf[r.r:r.w])
	r.r += n
	return n, nil
}

// nextChunk reads the line end of the chunk before and the next chunk-size line. After
// the last chunk it also reads the trailer section, checks it and drops it.
func (b *Body) nextChunk() error {
	if !b.first {
		line, err := b.line(2, BadChunk)
		if err != nil {
			return err
		}
		if len(line) != 0 {
			return BadChunk
		}
	}
	b.first = false
	line, err := b.line(MaxChunkLine, BadChunk)
	if err != nil {
		return err
	}
	size, ok := chunkSize(line)
	if !ok && b.r.lenient {
		size, ok = legacyChunkSize(line)
	}
	if !ok {
		return BadChunk
	}
	if size > 0 {
		b.left = size
		return nil
	}
	return b.trailer()
}

// line returns the next line without its CRLF. Its bytes are valid until the
// next read.
func (b *Body) line(limit int, refusal Refusal) ([]byte, error) {
	r := b.r
	for seen := 0; ; {
		p := r.buf[r.r:r.w]
		if i := bytes.IndexByte(p[seen:], '\n'); i >= 0 {
			i += seen
			if i == 0 || p[i-1] != '\r' || i+1 > limit {
				return nil, refusal
			}
			r.r += i + 1
			return p[:i-1], nil
		}
		if seen = len(p); seen > limit {
			return nil, refusal
		}
		if err := r.fill(); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}

// maxChunkDigits keeps every accepted chunk size inside an int64.
const maxChunkDigits = 15

// chunkSize reads "1*HEXDIG [chunk-ext]". Extensions are checked and dropped. They have
// the form ";name" or ";name=value" with a token or a quoted string, without the white
// space that RFC 9112, section 7.1.1, calls bad.
func chunkSize(line []byte) (int64, bool) {
	var n int64
	i := 0
	for ; i < len(line) && hexValue(line[i]) >= 0; i++ {
		if i == maxChunkDigits {
			return 0, false
		}
		n = n<<4 | int64(hexValue(line[i]))
	}
	if i == 0 {
		return 0, false
	}
	line = line[i:]
	for len(line) > 0 {
		if line[0] != ';' {
			return 0, false
		}
		name := tokenLen(line[1:])
		if name == 0 {
			return 0, false
		}
		line = line[1+name:]
		if len(line) == 0 || line[0] != '=' {
			continue
		}
		value := tokenLen(line[1:])
		if value == 0 {
			value = quotedLen(line[1:])
		}
		if value == 0 {
			return 0, false
		}
		line = line[1+value:]
	}
	return n, true
}

// legacyChunkSize is chunkSize for lines of old origins. It accepts white space after
// the size, leading zeros, and any extension without control bytes.
func legacyChunkSize(line []byte) (int64, bool) {
	digits := 0
	for digits < len(line) && hexValue(line[digits]) >= 0 {
		digits++
	}
	rest := fields.Trim(line[digits:])
	if digits == 0 || len(rest) > 0 && rest[0] != ';' || !isSound(rest) {
		return 0, false
	}
	size := bytes.TrimLeft(line[:digits], "0")
	if len(size) == 0 {
		return 0, true
	}
	return chunkSize(size)
}

func tokenLen(b []byte) int {
	i := 0
	for i < len(b) && class[b[i]]&isToken != 0 {
		i++
	}
	return i
}

// quotedLen returns the length of the quoted string at the start of b, or 0.
func quotedLen(b []byte) int {
	if len(b) == 0 || b[0] != '"' {
		return 0
	}
	for i := 1; i < len(b); i++ {
		switch {
		case class[b[i]]&isValue == 0:
			return 0
		case b[i] == '\\':
			i++
		case b[i] == '"':
			return i + 1
		}
	}
	return 0
}

// trailer reads the trailer section up to the empty line. Its fields must be well
// formed. They are dropped, because merging them into the head is never safe.
func (b *Body) trailer() error {
	for size := 0; ; {
		line, err := b.line(MaxTrailer-size, BadTrailer)
		if err != nil {
			return err
		}
		if len(line) == 0 {
			b.done = true
			return nil
		}
		size += len(line) + 2
		name := tokenLen(line)
		value := line[name:]
		if b.r.lenient {
			value = fields.Trim(value)
		}
		if name == 0 || len(value) == 0 || value[0] != ':' {
			return BadTrailer
		}
		for _, c := range value[1:] {
			if class[c]&isValue == 0 {
				return BadTrailer
			}
		}
	}
}
