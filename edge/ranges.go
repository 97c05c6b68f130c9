package edge

import (
	"io"
	"strconv"

	"perto/edge/cache"
	"perto/edge/rfc9111"
)

// A range of what is not stored fills the cache: the whole is fetched, and the
// range is given from the object while it fills. That costs the origin no more
// than a client which asks for the whole and leaves, so the attack called
// RangeAmp gains nothing by it; but only up to a length that is worth it, and
// nobody waits for bytes which the origin would send him sooner.

const (
	// rangeAheadBytes is how far ahead of what has arrived a range may begin to be
	// waited for: a tenth of a second from an origin at 100 Mbit/s. A seek to the
	// end of a film goes to the origin, and the fill goes on beside it.
	rangeAheadBytes = 1 << 20
	// endless stands for a length that is not known yet.
	endless = 1 << 62
)

// forwardRange lets the origin answer the range instead of what miss brought.
func (r *request) forwardRange() state {
	if r.reply != nil {
		r.reply.Close()
		r.reply = nil
	}
	if r.reader != nil {
		r.reader.Close()
	}
	r.object, r.reader, r.own = nil, nil, nil
	return stPass
}

// fillingRange reads the Range field against a body that still arrives. size is
// -1 when it is not known; then only a range with both ends counts.
func (r *request) fillingRange() (first, length, size int64, kind rfc9111.RangeKind) {
	v, ok := r.q.Header.Get("range")
	if !ok || !rfc9111.IfRange(r.q.Header, r.object.Header, r.now) {
		return 0, 0, 0, rfc9111.WholeBody
	}
	if size = r.object.Body.Length(); size >= 0 {
		first, length, kind = rfc9111.ParseRange(v, size)
		return first, length, size, kind
	}
	if first, length, kind = rfc9111.ParseRange(v, endless); first+length == endless {
		kind = rfc9111.WholeBody
	}
	return first, length, -1, kind
}

// isFar tells whether the origin would sooner send the range than the fill comes
// to it. Where the length is not known a range waits for its last byte, since
// only that tells where it ends.
func (r *request) isFar() bool {
	if r.object.Status != 200 {
		return false
	}
	first, length, size, kind := r.fillingRange()
	if size < 0 {
		first += length
	}
	return kind == rfc9111.OneRange && first > r.object.Body.Filled()+rangeAheadBytes
}

// deliverPart answers a range from the object that fills; done is false when the
// whole has to be given.
func (r *request) deliverPart() (done bool, err error) {
	o, body := r.object, r.object.Body
	first, length, size, kind := r.fillingRange()
	if kind == rfc9111.OneRange && size < 0 {
		filled, whole, ok := body.Await(first + length)
		switch {
		case !ok:
			return false, nil
		case whole:
			size = filled
			v, _ := r.q.Header.Get("range")
			first, length, kind = rfc9111.ParseRange(v, size)
		}
	}
	head := r.c.out[:0]
	switch kind {
	case rfc9111.OneRange:
		r.status = 206
		head = appendContentRange(r.appendObjectHead(head, 206), first, length, size)
		return true, r.stream(head, 206, length, follow(r.reader, first, length))
	case rfc9111.Unsatisfiable:
		r.status = 416
		head = appendContentRange(r.appendObjectHead(head, 416), 0, 0, size)
		return true, r.stream(head, 416, 0, nil)
	}
	r.status = o.Status
	return false, nil
}

// follow returns what gives length bytes of a body from first on, as they come.
func follow(reader *cache.Reader, first, length int64) func() ([]byte, error) {
	return func() ([]byte, error) {
		for length > 0 {
			p, err := reader.Next()
			if err != nil {
				return nil, err
			}
			skip := min(first, int64(len(p)))
			first -= skip
			if p = p[skip:]; len(p) > 0 {
				p = p[:min(length, int64(len(p)))]
				length -= int64(len(p))
				return p, nil
			}
		}
		return nil, io.EOF
	}
}

// appendContentRange appends Content-Range (RFC 9110, section 14.4); a length of
// 0 is that of an unsatisfiable range, a negative size is not known.
func appendContentRange(dst []byte, first, length, size int64) []byte {
	dst = append(dst, "Content-Range: bytes "...)
	if length > 0 {
		dst = append(strconv.AppendInt(dst, first, 10), '-')
		dst = strconv.AppendInt(dst, first+length-1, 10)
	} else {
		dst = append(dst, '*')
	}
	dst = append(dst, '/')
	if size >= 0 {
		dst = strconv.AppendInt(dst, size, 10)
	} else {
		dst = append(dst, '*')
	}
	return append(dst, "\r\n"...)
}
