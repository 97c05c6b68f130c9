package http1

import (
	"strconv"
	"time"

	"perto/internal/fields"
)

// AppendStatusLine writes "HTTP/1.1 code reason" and CRLF. It replaces a reason that is
// empty or has control bytes by the registered phrase.
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

// AppendRequestHead writes the head of a request without the fields that frame its
// body. The caller adds these and the empty line. It returns a [Refusal] and the
// unchanged dst when the result could not be read as one request with these parts (RFC
// 9110, section 5.5; RFC 9112, section 11.1):
//
//   - the method is not a token
//   - the target is empty or has white space, controls or other bytes not allowed there
//   - the host is malformed
//   - a field has a malformed name or a value with controls
//   - a field of h frames the body or names the host
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

// isSoundTarget reports whether a target has the form "/path?query" or "*".
func isSoundTarget(target []byte) bool {
	for _, c := range target {
		if class[c]&isURI == 0 {
			return false
		}
	}
	return len(target) > 0 && (target[0] == '/' || len(target) == 1 && target[0] == '*')
}

// AppendSound writes the lines of a header for a client. It leaves out lines with a
// malformed name or with a control byte in the value. Such lines come from functions,
// and a client or a cache could read one as two lines.
func AppendSound(dst []byte, h fields.Header) []byte {
	for i := range h {
		if isSoundName(h[i].Name) && isSound(h[i].Value) {
			dst = h[i : i+1].Append(dst)
		}
	}
	return dst
}

func isSoundName(name []byte) bool { return len(name) > 0 && tokenLen(name) == len(name) }

// isSound reports whether a field value or a reason phrase has no control bytes except
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

// AppendDate writes "name: date" and CRLF with t as IMF-fixdate.
func AppendDate(dst []byte, name string, t time.Time) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = t.UTC().AppendFormat(dst, dateForm)
	return append(dst, "\r\n"...)
}

// AppendChunkLine writes the size line of a chunk of n bytes. The caller adds the bytes
// and CRLF. n must not be 0, because that would end the body (see [LastChunk]).
func AppendChunkLine(dst []byte, n int) []byte {
	dst = strconv.AppendUint(dst, uint64(n), 16)
	return append(dst, "\r\n"...)
}

// LastChunk ends a chunked body.
const LastChunk = "0\r\n\r\n"

// Continue is the interim reply that asks the client for the body.
const Continue = "HTTP/1.1 100 Continue\r\n\r\n"
