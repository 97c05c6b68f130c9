package edge

import (
	"io"
	"strconv"
	"time"

	"perto/edge/http1"
	"perto/edge/rfc9111"
)

// smallBody is the largest body that is copied behind its head for one ordinary write,
// in bytes. For larger bodies a gathered write is cheaper than the copy.
const smallBody = 8 << 10

// deliver sends the reply.
func (r *request) deliver() {
	var err error
	switch {
	case r.response != nil:
		err = r.deliverResponse()
	case r.reply != nil:
		err = r.deliverReply()
	case r.reader != nil:
		err = r.deliverFilling()
	default:
		err = r.deliverWhole()
	}
	if err != nil {
		r.closing, r.gone = true, true
	}
}

// hasBody reports whether a reply with this status to this request has a body.
func (r *request) hasBody(status int) bool {
	return !r.isHEAD() && status != 204 && status != 304
}

// deliverWhole replies from a whole object: with all of it, with a part, or with 304.
func (r *request) deliverWhole() error {
	o := r.object
	chunks, size, _ := o.Body.Whole()
	first, length, status := int64(0), size, o.Status
	if status == 200 && r.q.Known&(http1.HasIfNoneMatch|http1.HasIfModifiedSince|http1.HasRange) != 0 {
		first, length, status = r.part(size)
	}
	r.status = status
	c, now := r.c, r.now
	if r.forward != NotForwarded {
		now = time.Now() // the origin may have taken longer than the write timeout
	}
	c.out = r.appendObjectHead(c.out[:0], status)
	switch status {
	case 204, 304:
	case 206:
		c.out = appendContentRange(c.out, first, length, size)
		c.out = http1.AppendInt(c.out, "Content-Length", length)
	case 416:
		c.out = appendContentRange(c.out, 0, 0, size)
		c.out = append(c.out, "Content-Length: 0\r\n"...)
		length = 0
	default:
		c.out = http1.AppendInt(c.out, "Content-Length", length)
	}
	c.out = r.appendStory(c.out)
	if !r.hasBody(status) || length == 0 {
		return c.write(c.out, now)
	}
	if length > smallBody && c.sender != nil {
		if f := o.File(); f != nil {
			if done, err := c.sendFile(f, first, length, now); done {
				return err
			}
		}
	}
	if length == size && len(chunks) == 1 {
		if size <= smallBody {
			c.out = append(c.out, chunks[0]...)
			return c.write(c.out, now)
		}
		return c.gather(chunks, now)
	}
	if length < size {
		chunks = cut(chunks, first, length)
	}
	return c.gather(chunks, now)
}

// part applies conditions and ranges to an object of size bytes. Conditions come first
// (RFC 9110, section 13.2.2).
func (r *request) part(size int64) (first, length int64, status int) {
	o := r.object
	if rfc9111.NotModified(r.q.Header, o.Header, r.now) {
		return 0, 0, 304
	}
	if v, ok := r.q.Header.Get("range"); ok && !r.isHEAD() && rfc9111.IfRange(r.q.Header, o.Header, r.now) {
		switch first, length, kind := rfc9111.ParseRange(v, size); kind {
		case rfc9111.OneRange:
			return first, length, 206
		case rfc9111.Unsatisfiable:
			return 0, 0, 416
		case rfc9111.WholeBody:
		}
	}
	return 0, size, o.Status
}

// cut returns the parts of the chunks with the length bytes from offset first on.
func cut(chunks [][]byte, first, length int64) [][]byte {
	var out [][]byte
	for _, c := range chunks {
		n := int64(len(c))
		if first >= n {
			first -= n
			continue
		}
		c = c[first:min(n, first+length)]
		first, length = 0, length-int64(len(c))
		out = append(out, c)
		if length == 0 {
			break
		}
	}
	return out
}

// deliverFilling replies from an object while its body is arriving.
func (r *request) deliverFilling() error {
	o := r.object
	if o.Status == 200 && rfc9111.NotModified(r.q.Header, o.Header, r.now) {
		r.status = 304
		r.c.out = r.appendStory(r.appendObjectHead(r.c.out[:0], 304))
		return r.c.write(r.c.out, time.Now())
	}
	if o.Status == 200 && r.q.Known&http1.HasRange != 0 {
		if done, err := r.deliverPart(); done {
			return err
		}
	}
	return r.stream(r.appendObjectHead(r.c.out[:0], o.Status), o.Status, o.Body.Length(), r.reader.Next)
}

// deliverReply streams a reply that is for this client only.
func (r *request) deliverReply() error {
	p := r.reply
	r.status = p.Status
	head := r.appendReplyHead(r.c.out[:0])
	if !r.hasBody(p.Status) {
		// The length in a reply to HEAD or in a 304 is that of the reply to GET.
		if v, ok := p.Header.Get("content-length"); ok && p.Status != 204 {
			if n, err := strconv.ParseInt(string(v), 10, 64); err == nil && n >= 0 {
				head = http1.AppendInt(head, "Content-Length", n)
			}
		}
	}
	buf, _ := r.e.pieces.Get().(*[]byte)
	if buf == nil {
		buf = new([]byte)
		*buf = make([]byte, pieceBytes)
	}
	defer r.e.pieces.Put(buf)
	return r.stream(head, p.Status, p.ContentLength, func() ([]byte, error) {
		n, err := p.Read(*buf)
		if n > 0 {
			err = nil
		}
		return (*buf)[:n], err
	})
}

// pieceBytes is the size of the buffer for a reply that is not stored, in bytes.
const pieceBytes = 32 << 10

// stream sends a head and then a body of length bytes piece by piece, as next returns
// the pieces. A length of -1 is unknown. When the body ends early, the client can
// detect it: the body is shorter than its length, has no last chunk, or ends with a
// reset.
func (r *request) stream(head []byte, status int, length int64, next func() ([]byte, error)) error {
	c, chunked := r.c, false
	body := r.hasBody(status)
	switch {
	case !body:
	case length >= 0:
		head = http1.AppendInt(head, "Content-Length", length)
	case r.q.Minor == 1:
		chunked = true
		head = append(head, "Transfer-Encoding: chunked\r\n"...)
	default:
		r.closing = true // in HTTP/1.0 the end of the connection is the end of the body
	}
	c.out = r.appendStory(head)
	if err := c.write(c.out, time.Now()); err != nil || !body || length == 0 {
		return err
	}
	for {
		p, err := next()
		if err == io.EOF {
			if chunked {
				return c.write([]byte(http1.LastChunk), time.Now())
			}
			return nil
		}
		if err != nil {
			r.e.m.cut.Inc()
			r.originFailed(err)
			r.outcome, r.detail = Failed, "body cut"
			if length < 0 && !chunked {
				c.reset()
			}
			return err
		}
		if len(p) == 0 {
			continue
		}
		if chunked {
			c.out = http1.AppendChunkLine(c.out[:0], len(p))
			err = c.gather([][]byte{p, crlf}, time.Now())
		} else {
			err = c.write(p, time.Now())
		}
		if err != nil {
			return err
		}
	}
}

var crlf = []byte("\r\n")

// synth sends a reply of the edge itself, as text.
func (r *request) synth() {
	c := r.c
	body := strconv.AppendInt(nil, int64(r.status), 10)
	body = append(append(body, ' '), http1.Reason(r.status)...)
	body = append(append(body, '\n'), r.e.name...)
	body = append(append(append(body, ": "...), r.detail...), '\n')
	b := http1.AppendStatusLine(c.out[:0], r.status, nil)
	b = append(b, "Content-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\n"...)
	b = http1.AppendInt(b, "Content-Length", int64(len(body)))
	b = http1.AppendDate(b, "Date", time.Now())
	b = r.appendStory(r.e.appendIdentity(b))
	if !r.isHEAD() {
		b = append(b, body...)
	}
	c.out = b
	if r.gone || c.write(b, time.Now()) != nil {
		r.closing, r.gone = true, true
	}
}

// upload is the body of a request on its way to the origin.
type upload struct {
	c      *conn
	body   *http1.Body
	expect bool // the client waits for "100 Continue"
}

func (r *request) upload() *upload {
	r.c.phase, r.c.bodyFrom, r.c.bodyBytes = inBody, time.Time{}, 0
	return &upload{c: r.c, body: r.c.reader.Body(r.q.ContentLength, r.q.Chunked), expect: r.q.Expect100}
}

// Read reads the body. The first call sends "100 Continue" if the client waits for it.
func (u *upload) Read(p []byte) (int, error) {
	if u.expect {
		u.expect = false
		if err := u.c.write([]byte(http1.Continue), time.Now()); err != nil {
			return 0, err
		}
	}
	return u.body.Read(p)
}
