package http1

import (
	"strconv"
	"time"

	"perto/internal/fields"
)

// AppendStatusLine writes "HTTP/1.1 code reason" and CRLF. An empty reason, and one
// with control bytes, is replaced by the registered one.
func AppendStatusLine(dst []byte, code int, reason []byte) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(code), 10)
	dst = append(dst, ' ')
	if len(reason) > 0 && isSound(reason) {
		dst = append(dst, reason...)
	} else {
		dst = append(dst, Reason(code)...)
	}
	return append(dst, "\r\n"...)
}

// AppendRequestHead writes the head of a request up to the fields that frame its
// body, which the caller adds with the empty line. It returns a [Refusal], and dst
// as it was, when the result would not be read as one request with these parts: a
// method that is no token, a target that is empty or has white space, controls or
// other bytes that targets do not have, a malformed host, or a field with a
// malformed name or a value with controls (RFC 9110, section 5.5; RFC 9112, section
// 11.1). A field of h that frames the body or names the host is malformed too.
func AppendRequestHead(dst, method, target, host []byte, h fields.Header) ([]byte, error) {
	switch {
	case len(method) == 0 || tokenLen(method) != len(method):
		return dst, BadMethod
	case !isSoundTarget(target):
		return dst, BadTarget
	case !validAuthority(host):
		return dst, BadHost
	}
	for i := range h {
		switch {
		case !isSoundName(h[i].Name) || knownName(h[i].Name)&(HasHost|HasContentLength|HasTransferEncoding) != 0:
			return dst, BadFieldName
		case !isSound(h[i].Value):
			return dst, BadFieldValue
		}
	}
	dst = append(append(dst, method...), ' ')
	dst = append(append(dst, target...), " HTTP/1.1\r\n"...)
	dst = AppendField(dst, "Host", host)
	return h.Append(dst), nil
}

// isSoundTarget tells whether a target has the form "/path?query" or "*".
func isSoundTarget(target []byte) bool {
	for _, c := range target {
		if class[c]&isURI == 0 {
			return false
		}
	}
	return len(target) > 0 && (target[0] == '/' || len(target) == 1 && target[0] == '*')
}

// AppendSound writes the lines of a header as they go to a client. A line with a
// malformed name, or with a control byte in its value, is left out: it comes from a
// function, and a client or a cache could read it as two.
func AppendSound(dst []byte, h fields.Header) []byte {
	for i := range h {
		if isSoundName(h[i].Name) && isSound(h[i].Value) {
			dst = h[i : i+1].Append(dst)
		}
	}
	return dst
}

func isSoundName(name []byte) bool { return len(name) > 0 && tokenLen(name) == len(name) }

// isSound tells whether a field value or a reason phrase has no control bytes but
// tabs.
func isSound(v []byte) bool {
	for _, c := range v {
		if class[c]&isValue == 0 {
			return false
		}
	}
	return true
}

// AppendField writes "name: value" and CRLF.
func AppendField[V string | []byte](dst []byte, name string, value V) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, value...)
	return append(dst, "\r\n"...)
}

// AppendInt writes "name: n" and CRLF.
func AppendInt(dst []byte, name string, n int64) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = strconv.AppendInt(dst, n, 10)
	return append(dst, "\r\n"...)
}

// dateForm is IMF-fixdate (RFC 9110, section 5.6.7).
const dateForm = "Mon, 02 Jan 2006 15:04:05 GMT"

// AppendDate writes "name: date" and CRLF with t in the one form that HTTP
// generates.
func AppendDate(dst []byte, name string, t time.Time) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = t.UTC().AppendFormat(dst, dateForm)
	return append(dst, "\r\n"...)
}

// AppendChunkLine writes the size line of a chunk of n bytes, which must be
// followed by the bytes and CRLF. n must not be 0: that would end the body (see
// [LastChunk]).
func AppendChunkLine(dst []byte, n int) []byte {
	dst = strconv.AppendUint(dst, uint64(n), 16)
	return append(dst, "\r\n"...)
}

// LastChunk ends a chunked body.
const LastChunk = "0\r\n\r\n"

// Continue is the interim reply which asks for the body.
const Continue = "HTTP/1.1 100 Continue\r\n\r\n"
