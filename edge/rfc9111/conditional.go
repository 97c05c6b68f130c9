package rfc9111

import (
	"bytes"
	"time"

	"perto/internal/fields"
)

// Validators returns the entity tag and the modification date of a reply, for
// If-None-Match and If-Modified-Since (section 4.3.1). Each is nil when the reply does
// not have it.
func Validators(reply fields.Header) (etag, lastModified []byte) {
	etag, _ = reply.Get("etag")
	lastModified, _ = reply.Get("last-modified")
	if len(etag) == 0 {
		etag = nil
	}
	if len(lastModified) == 0 {
		lastModified = nil
	}
	return etag, lastModified
}

// NotModified reports whether the reply to a conditional request is 304, given the
// stored reply (section 4.3.2). If-None-Match takes precedence over If-Modified-Since.
func NotModified(request, reply fields.Header, now time.Time) bool {
	if request.Has("if-none-match") {
		etag, _ := Validators(reply)
		for e := range request.Elements("if-none-match") {
			if len(e) == 1 && e[0] == '*' || etag != nil && weakMatch(e, etag) {
				return true
			}
		}
		return false
	}
	v, ok := request.Get("if-modified-since")
	if !ok {
		return false
	}
	since, ok := ParseDate(v, now)
	if !ok {
		return false
	}
	modified, ok := reply.Get("last-modified")
	if !ok {
		if modified, ok = reply.Get("date"); !ok {
			return false
		}
	}
	t, ok := ParseDate(modified, now)
	return ok && !t.After(since)
}

// Confirms reports whether a 304 is about the stored reply (section 4.3.4). A strong
// entity tag must equal the stored one. A weak tag must match it weakly. Without a tag,
// Last-Modified must be equal if both have it. Otherwise the 304 belongs to another
// body and must not freshen the stored reply.
func Confirms(stored, fresh fields.Header) bool {
	etag, modified := Validators(fresh)
	storedTag, storedModified := Validators(stored)
	switch {
	case etag != nil && !bytes.HasPrefix(etag, []byte("W/")):
		return bytes.Equal(etag, storedTag)
	case etag != nil:
		return storedTag != nil && weakMatch(etag, storedTag)
	}
	return modified == nil || storedModified == nil || bytes.Equal(modified, storedModified)
}

// weakMatch compares entity tags without regard to weakness (RFC 9110, section
// 8.8.3.2).
func weakMatch(a, b []byte) bool {
	return bytes.Equal(bytes.TrimPrefix(a, []byte("W/")), bytes.TrimPrefix(b, []byte("W/")))
}

// hopByHop are the fields that concern one connection only (RFC 9110, section
// 7.6.1) and those about a proxy's own authentication (RFC 9111, section 3.1).
var hopByHop = [...]string{"connection", "keep-alive", "proxy-connection", "transfer-encoding", "te", "upgrade",
	"trailer", "proxy-authenticate", "proxy-authentication-info", "proxy-authorization"}

// HopByHop reports whether a field must not be forwarded or stored. connection is the
// header that contains the field. Its Connection field may name further fields.
func HopByHop(name []byte, connection fields.Header) bool {
	for _, h := range hopByHop {
		if fields.Equal(name, h) {
			return true
		}
	}
	for e := range connection.Elements("connection") {
		if fields.EqualFold(e, name) {
			return true
		}
	}
	return false
}

// EndToEnd returns the lines of a reply that may be forwarded and stored (section 3.1).
// It leaves out the withheld fields, and also Age and Content-Length, which the sender
// computes for each reply. The lines share the reply's bytes.
func EndToEnd(reply fields.Header, withheld [][]byte) fields.Header {
	out := make(fields.Header, 0, len(reply))
next:
	for _, f := range reply {
		if fields.Equal(f.Name, "age") || fields.Equal(f.Name, "content-length") || HopByHop(f.Name, reply) {
			continue
		}
		for _, w := range withheld {
			if fields.EqualFold(f.Name, w) {
				continue next
			}
		}
		out = append(out, f)
	}
	return out
}

// describesBody are fields that a 304 cannot change, because the stored body stays the
// same (section 3.2).
var describesBody = [...]string{"content-length", "content-encoding", "content-range"}

// Merge returns the stored header freshened by a 304 (section 3.2). Fields of the 304
// replace stored fields with the same name. Other stored fields stay. Personal fields
// of the 304 are for its own client and are left out. The lines share the bytes of both
// headers.
func Merge(stored, fresh fields.Header) fields.Header {
	fresh = Shared(fresh, nil)
	keep := fresh[:0]
next:
	for _, f := range fresh {
		for _, name := range describesBody {
			if fields.Equal(f.Name, name) {
				continue next
			}
		}
		keep = append(keep, f)
	}
	out := make(fields.Header, 0, len(stored)+len(keep))
	for _, f := range stored {
		replaced := false
		for i := range keep {
			replaced = replaced || fields.EqualFold(f.Name, keep[i].Name)
		}
		if !replaced {
			out = append(out, f)
		}
	}
	return append(out, keep...)
}
