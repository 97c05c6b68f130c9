package http1

import (
	"strconv"
	"time"
)

// AppendStatusLine writes "HTTP/1.1 code reason" and CRLF; an empty reason is
// replaced by the registered one.
func AppendStatusLine(dst []byte, code int, reason []byte) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(code), 10)
	dst = append(dst, ' ')
	if len(reason) > 0 {
		dst = append(dst, reason...)
	} else {
		dst = append(dst, Reason(code)...)
	}
	return append(dst, "\r\n"...)
}

// AppendRequestLine writes "method target HTTP/1.1" and CRLF.
func AppendRequestLine(dst, method, target []byte) []byte {
	dst = append(dst, method...)
	dst = append(dst, ' ')
	dst = append(dst, target...)
	return append(dst, " HTTP/1.1\r\n"...)
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

// Reason returns the phrase of a status code that the edge itself may answer;
// for the others their class.
func Reason(code int) string {
	switch code {
	case 200:
		return "OK"
	case 206:
		return "Partial Content"
	case 304:
		return "Not Modified"
	case 400:
		return "Bad Request"
	case 404:
		return "Not Found"
	case 405:
		return "Method Not Allowed"
	case 408:
		return "Request Timeout"
	case 412:
		return "Precondition Failed"
	case 413:
		return "Content Too Large"
	case 414:
		return "URI Too Long"
	case 416:
		return "Range Not Satisfiable"
	case 417:
		return "Expectation Failed"
	case 421:
		return "Misdirected Request"
	case 431:
		return "Request Header Fields Too Large"
	case 500:
		return "Internal Server Error"
	case 501:
		return "Not Implemented"
	case 502:
		return "Bad Gateway"
	case 503:
		return "Service Unavailable"
	case 504:
		return "Gateway Timeout"
	case 505:
		return "HTTP Version Not Supported"
	case 508:
		return "Loop Detected"
	}
	switch code / 100 {
	case 1:
		return "Informational"
	case 2:
		return "Success"
	case 3:
		return "Redirection"
	case 4:
		return "Client Error"
	}
	return "Server Error"
}
