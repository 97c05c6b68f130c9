package edge

import (
	"io"
	"strconv"

	"perto/edge/cache"
	"perto/edge/rfc9111"
)

// A range request for an object that is not stored fills the cache. The edge fetches
// the whole object and sends the range while the object fills. This costs the origin no
// more than a client that requests the whole object and disconnects, so it does not
// help the attack called RangeAmp. It is done up to a maximum length only. A range that
// the origin would send sooner goes to the origin.

const (
	// rangeAheadBytes is the maximum distance from the bytes that have arrived to the
	// first byte of a range, for a request that waits for the fill. An origin at 100
	// Mbit/s sends that in a tenth of a second. For example, a seek to the end of a film
	// goes to the origin while the fill goes on.
	rangeAheadBytes = 1 << 20
	// endless stands for a length that is not known yet.
	endless = 1 << 62
)

// forwardRange drops the result of miss and forwards the range request to the origin.
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

// fillingRange reads the Range field for a body that is still arriving. size is -1 when
// it is not known. Then only a range with both ends counts.
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

// isFar reports whether the origin would send the range sooner than the fill reaches
// it. When the length is not known, the reply waits for the last byte of the range,
// because the object may end before.
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

// deliverPart sends a range of the object that is filling. done is false when the whole
// object must be sent.
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
	default:
		r.status = o.Status
		return false, nil
	}
}

// follow returns a function that returns length bytes of a body from offset first on,
// as they arrive.
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

// appendContentRange appends Content-Range (RFC 9110, section 14.4). A length of 0
// means an unsatisfiable range. A negative size is not known.
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
