package http1

import (
	"bytes"
	"errors"
	"io"
)

// firstBuffer is the size of a connection's buffer at its start, in bytes. Most heads
// fit into it, and most idle connections hold no more.
const firstBuffer = 4 << 10

// keptBuffer is the largest buffer that is kept for the next head, in bytes.
const keptBuffer = 16 << 10

// minRead is the free space below which an empty buffer is replaced, in bytes. Without
// it, a head that almost fills the buffer would cause many small reads of the body.
const minRead = 512

// Reader reads the messages of one direction of one connection.
//
//	buf: | head of this message | bytes read ahead | free |
//	     0                    base    r           w
//
// Bytes before base belong to the head that the caller uses. They do not move while
// the body is read. When the free space is too small, the Reader moves the bytes
// between r and w, or allocates a new buffer. Views into the old buffer stay valid.
type Reader struct {
	src  io.Reader
	buf  []byte
	base int
	r, w int
	body Body
	// lenient accepts unusual forms of old origins that have only one meaning. The edge
	// composes all messages itself, so clients never receive these forms.
	lenient bool
}

// NewReader returns a Reader of src.
func NewReader(src io.Reader) *Reader {
	return &Reader{src: src, buf: make([]byte, firstBuffer)}
}

// NewOriginReader returns a Reader of the replies of an origin. In addition it accepts
// white space before the colon of a field (RFC 9112, section 5.1: it must be removed)
// and in chunk-size lines. It also accepts any chunk extension without control bytes,
// and leading zeros of a chunk size.
func NewOriginReader(src io.Reader) *Reader {
	r := NewReader(src)
	r.lenient = true
	return r
}

// Buffered returns the number of bytes that were read ahead and not used yet.
func (r *Reader) Buffered() int { return r.w - r.r }

// fill reads more bytes from the source. It makes free space first if necessary.
func (r *Reader) fill() error {
	if r.r == r.w {
		r.r, r.w = r.base, r.base
	}
	if r.w == len(r.buf) || r.r == r.w && len(r.buf)-r.w < minRead {
		if r.r > r.base && r.r-r.base >= len(r.buf)/4 {
			copy(r.buf[r.base:], r.buf[r.r:r.w])
			r.w -= r.r - r.base
			r.r = r.base
		} else {
			pending := r.buf[r.r:r.w]
			size := max(firstBuffer, 2*len(pending))
			next := make([]byte, size)
			copy(next, pending)
			r.buf, r.base, r.r, r.w = next, 0, 0, len(pending)
		}
	}
	n, err := r.src.Read(r.buf[r.w:])
	r.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// head reads until a whole head is in the buffer and returns it. The bytes are
// valid until the next head is read. It returns io.EOF when the source ended
// before the first byte, and io.ErrUnexpectedEOF when it ended inside.
func (r *Reader) head() ([]byte, error) {
	r.base = 0
	if r.r == r.w && len(r.buf) > keptBuffer {
		r.buf, r.r, r.w = make([]byte, firstBuffer), 0, 0
	}
	var s headScan
	for {
		n, refusal := s.scan(r.buf[r.r:r.w])
		if refusal != accepted {
			return nil, refusal
		}
		if n > 0 {
			head := r.buf[r.r+s.skip : r.r+n]
			r.r += n
			r.base = r.r
			return head, nil
		}
		if err := r.fill(); err != nil {
			if err == io.EOF && r.w > r.r {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}

// headScan finds the end of a head in bytes that arrive in pieces. It reads each byte
// once.
type headScan struct {
	skip  int // 2 when an empty line comes before the first one
	line  int // offset of the current line
	seen  int // number of bytes scanned
	lines int
}

// scan returns the offset after the empty line that ends the head in b, or 0
// when more bytes are needed.
func (s *headScan) scan(b []byte) (int, Refusal) {
	for {
		i := bytes.IndexByte(b[s.seen:], '\n')
		if i < 0 {
			s.seen = len(b)
			switch {
			case s.lines == 0 && len(b)-s.skip > MaxRequestLine:
				return 0, TargetTooLong
			case len(b) > MaxHead:
				return 0, HeadTooLarge
			}
			return 0, accepted
		}
		lf := s.seen + i
		s.seen = lf + 1
		if lf == 0 || b[lf-1] != '\r' {
			return 0, BareLF
		}
		switch {
		case lf+1 > MaxHead:
			return 0, HeadTooLarge
		case lf-1 > s.line:
			s.lines++
			if s.lines > MaxFields+1 {
				return 0, TooManyFields
			}
		case s.lines > 0:
			return lf + 1, accepted
		case s.skip > 0:
			return 0, BadRequestLine
		default:
			// Some old clients send one empty line after a POST (RFC 9112, section
			// 2.2). Two empty lines are refused.
			s.skip = lf + 1
		}
		s.line = lf + 1
	}
}

// ReadRequest reads the next head into q and reuses the memory of q.Header. Errors are
// a [Refusal], io.EOF before the first byte of a request, io.ErrUnexpectedEOF inside a
// head, or errors of the source.
func (r *Reader) ReadRequest(q *Request) error {
	b, err := r.head()
	if err != nil {
		return err
	}
	if refusal := q.parse(b); refusal != accepted {
		return refusal
	}
	return nil
}

// ReadResponse reads the next head into s. toHEAD is set for a reply to a HEAD request.
// Each interim reply (1xx) is a separate response.
func (r *Reader) ReadResponse(s *Response, toHEAD bool) error {
	b, err := r.head()
	if err != nil {
		if errors.Is(err, TargetTooLong) {
			return BadStatusLine
		}
		return err
	}
	if refusal := s.parse(b, toHEAD, r.lenient); refusal != accepted {
		return refusal
	}
	return nil
}
