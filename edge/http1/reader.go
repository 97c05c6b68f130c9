package http1

import (
	"bytes"
	"io"
)

// firstBuffer is the size in bytes of a connection's buffer at its start: most
// heads fit, and most idle connections hold no more.
const firstBuffer = 4 << 10

// keptBuffer is the size in bytes up to which a buffer is kept for the next head.
const keptBuffer = 16 << 10

// minRead is the room in bytes below which an empty buffer is replaced: a head
// that almost fills it would else make its body come in crumbs.
const minRead = 512

// Reader reads the messages of one direction of one connection.
//
//	buf: | head of this message | bytes read ahead | free |
//	     0                    base    r           w
//
// Bytes before base belong to the head which the caller holds; while its body
// is read they stay where they are. When room runs out the Reader moves what is
// between r and w, or takes a new buffer and leaves the old one to whoever holds
// views into it.
type Reader struct {
	src  io.Reader
	buf  []byte
	base int
	r, w int
	body Body
	// lenient accepts unusual forms of old origins that have one meaning. The edge
	// writes all messages anew, so clients never get these forms.
	lenient bool
}

// NewReader returns a Reader of src.
func NewReader(src io.Reader) *Reader {
	return &Reader{src: src, buf: make([]byte, firstBuffer)}
}

// NewOriginReader returns a Reader of the replies of an origin. Besides what others
// accept it takes white space before the colon of a field (RFC 9112, section 5.1: it
// must be removed) and in chunk-size lines, any chunk extension without controls, and
// leading zeros of a chunk size.
func NewOriginReader(src io.Reader) *Reader {
	r := NewReader(src)
	r.lenient = true
	return r
}

// Buffered returns how many bytes were read ahead and not used yet.
func (r *Reader) Buffered() int { return r.w - r.r }

// fill reads more bytes from the source, making room first.
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

// headScan looks for the end of a head in bytes that arrive in pieces, each
// looked at once.
type headScan struct {
	skip  int // 2 when an empty line comes before the first one
	line  int // where the current line begins
	seen  int // how far we looked
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
			// One empty line before a message is an old client's sin after a POST
			// (RFC 9112, section 2.2); two are somebody's experiment.
			s.skip = lf + 1
		}
		s.line = lf + 1
	}
}

// ReadRequest reads the next head into q, whose Header is used again. Errors are
// a [Refusal], io.EOF before the first byte of a request, io.ErrUnexpectedEOF
// inside, or the source's own.
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

// ReadResponse reads the next head into s; toHEAD tells that it answers a HEAD
// request. Interim replies (1xx) come as responses of their own.
func (r *Reader) ReadResponse(s *Response, toHEAD bool) error {
	b, err := r.head()
	if err != nil {
		if refusal, ok := err.(Refusal); ok && refusal == TargetTooLong {
			return BadStatusLine
		}
		return err
	}
	if refusal := s.parse(b, toHEAD, r.lenient); refusal != accepted {
		return refusal
	}
	return nil
}
