package edge

import (
	"bytes"
	"strconv"
	"time"

	"perto/edge/cache"
	"perto/edge/http1"
	"perto/edge/rfc9111"
	"perto/internal/fields"
)

// composer returns the function that composes the objects of this request. Objects that
// a function made have a tag of that function.
func (r *request) composer() func(*cache.Object) {
	f := r.route.site.function(r.target(), OriginPhase)
	if f == nil {
		return r.e.compose
	}
	tag := functionTag(r.route.site, f)
	return func(o *cache.Object) {
		r.e.compose(o)
		o.Tags = append(o.Tags, tag)
	}
}

// functionTag returns the tag of objects that a function made, for purges. It differs
// from all surrogate keys, because those have no space.
func functionTag(s *Site, f *Function) string { return "function " + string(s.Service) + f.Path }

// compose fills in the head and the tags of an object. The head is composed once, so
// that a hit only copies it.
func (e *Edge) compose(o *cache.Object) {
	head := http1.AppendStatusLine(make([]byte, 0, 512), o.Status, []byte(o.Reason))
	head = appendReplyFields(head, o.Header, o.Policy.ReplyTime)
	o.Head = bytes.Clone(e.appendIdentity(head))
	for line := range o.Header.Values("surrogate-key") {
		for tag := range bytes.FieldsSeq(line) {
			o.Tags = append(o.Tags, string(tag))
		}
	}
	for tag := range o.Header.Elements("cache-tag") {
		o.Tags = append(o.Tags, string(tag))
	}
}

// appendReplyFields appends a reply's fields for clients: without fields that are meant
// for CDN caches, and with a Date (RFC 9110, section 6.6.1).
func appendReplyFields(dst []byte, h fields.Header, came time.Time) []byte {
	for i := range h {
		dst = appendReplyField(dst, h[i:i+1])
	}
	if !h.Has("date") {
		dst = http1.AppendDate(dst, "Date", came)
	}
	return dst
}

// appendReplyField appends one line, unless it is meant for CDN caches.
func appendReplyField(dst []byte, line fields.Header) []byte {
	name := line[0].Name
	if fields.Equal(name, "surrogate-key") || fields.Equal(name, "cache-tag") || fields.Equal(name, "surrogate-control") {
		return dst
	}
	return http1.AppendSound(dst, line)
}

// appendIdentity appends the fields that name this edge.
func (e *Edge) appendIdentity(dst []byte) []byte {
	dst = append(dst, "Via: 1.1 "...)
	dst = append(dst, e.name...)
	dst = append(dst, "\r\nServer-Timing: "...)
	dst = append(dst, e.timing...)
	return append(dst, "\r\n"...)
}

// kept304 are the fields of a 304 (RFC 9110, section 15.4.5).
var kept304 = [...]string{"cache-control", "cdn-cache-control", "content-location", "date", "etag", "expires", "last-modified", "vary"}

// appendObjectHead appends the head of the object for a reply with the given status.
func (r *request) appendObjectHead(dst []byte, status int) []byte {
	o := r.object
	switch status {
	case o.Status:
		return append(dst, o.Head...)
	case 304:
		dst = http1.AppendStatusLine(dst, status, nil)
		for i := range o.Header {
			for _, name := range kept304 {
				if fields.Equal(o.Header[i].Name, name) {
					dst = http1.AppendSound(dst, o.Header[i:i+1])
				}
			}
		}
		if !o.Header.Has("date") {
			dst = http1.AppendDate(dst, "Date", o.Policy.ReplyTime)
		}
		return r.e.appendIdentity(dst)
	case 416:
		// No field of the object applies to this reply. With the object's freshness, a
		// cache in front of the edge could use the 416 for requests without Range.
		dst = append(http1.AppendStatusLine(dst, status, nil), "Cache-Control: no-store\r\n"...)
		return r.e.appendIdentity(http1.AppendDate(dst, "Date", r.now))
	}
	dst = http1.AppendStatusLine(dst, status, nil)
	return append(dst, o.Head[bytes.IndexByte(o.Head, '\n')+1:]...)
}

// appendStory ends a head. It appends the fields that differ for each reply, Connection
// if necessary, and the empty line.
func (r *request) appendStory(dst []byte) []byte {
	if r.own != nil {
		dst = http1.AppendSound(dst, r.own)
	}
	if r.object != nil {
		// A reply that came from its origin or a function just now has no Age, unless
		// another cache sent one.
		age := int64(r.object.Policy.Age(r.now) / time.Second)
		if r.outcome != Miss && r.outcome != Validated || age > 0 {
			dst = http1.AppendInt(dst, "Age", age)
		}
	} else if r.reply != nil {
		for i, f := range r.reply.Header {
			if fields.Equal(f.Name, "age") {
				dst = http1.AppendSound(dst, r.reply.Header[i:i+1])
				break
			}
		}
	}
	if r.originTime > 0 {
		dst = append(dst, "Server-Timing: origin;dur="...)
		dst = strconv.AppendFloat(dst, float64(r.originTime.Microseconds())/1000, 'f', 1, 64)
		dst = append(dst, "\r\n"...)
	}
	if r.fn != nil {
		dst = append(dst, "Server-Timing: fn;dur="...)
		dst = strconv.AppendFloat(dst, float64(r.fnTime.Microseconds())/1000, 'f', 3, 64)
		dst = append(dst, "\r\n"...)
	}
	dst = r.appendCacheStatus(dst)
	r.closing = r.closing || r.unread || r.e.draining.Load()
	if r.closing {
		dst = append(dst, "Connection: close\r\n"...)
	}
	return append(dst, "\r\n"...)
}

// appendCacheStatus appends the edge's member of Cache-Status (RFC 9211).
func (r *request) appendCacheStatus(dst []byte) []byte {
	dst = append(dst, "Cache-Status: "...)
	dst = append(dst, r.e.name...)
	if r.forward != NotForwarded {
		dst = append(dst, "; fwd="...)
		dst = append(dst, r.forward.String()...)
		if r.originStatus != 0 {
			dst = append(dst, "; fwd-status="...)
			dst = strconv.AppendInt(dst, int64(r.originStatus), 10)
		}
	} else if r.object != nil {
		dst = append(dst, "; hit"...)
	}
	if r.object != nil {
		dst = append(dst, "; ttl="...)
		dst = strconv.AppendInt(dst, int64(r.object.Policy.TTL(r.now)/time.Second), 10)
	}
	if r.stored {
		dst = append(dst, "; stored"...)
	}
	if r.collapsed {
		dst = append(dst, "; collapsed"...)
	}
	if r.detail != "" {
		dst = append(dst, "; detail="...)
		dst = appendItem(dst, r.detail)
	}
	return append(dst, "\r\n"...)
}

// appendItem appends s as a structured-fields token, or as a string when it has
// spaces (RFC 9651).
func appendItem(dst []byte, s string) []byte {
	for i := range len(s) {
		if s[i] == ' ' {
			return strconv.AppendQuote(dst, s)
		}
	}
	return append(dst, s...)
}

// protocol returns the client's protocol version for Via.
func (r *request) protocol() string {
	if r.q.Minor == 0 {
		return "1.0"
	}
	return "1.1"
}

// interim forwards a 1xx reply (RFC 9110, section 15.2). HTTP/1.0 has none, and
// functions receive final replies only.
func (r *request) interim(status int, h fields.Header) {
	if r.q.Minor == 0 || r.inner {
		return
	}
	b := http1.AppendStatusLine(r.c.out[:0], status, nil)
	b = append(http1.AppendSound(b, h), "\r\n"...)
	r.c.out = b
	r.gone = r.c.write(b, time.Now()) != nil
}

// appendReplyHead appends the head of a reply that is not stored.
func (r *request) appendReplyHead(dst []byte) []byte {
	dst = http1.AppendStatusLine(dst, r.reply.Status, r.reply.Reason)
	dst = appendReplyFields(dst, rfc9111.EndToEnd(r.reply.Header, nil), r.reply.ReplyTime)
	return r.e.appendIdentity(dst)
}
