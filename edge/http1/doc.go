// Package http1 reads and writes HTTP/1.1 messages (RFC 9112) without mercy: a
// message that two programs could understand differently is refused, since a
// front and an origin that disagree about where a message ends are the door of
// request smuggling.
//
// A [Reader] owns the buffer of one connection. ReadRequest and ReadResponse
// give heads whose names, values and target are views into that buffer, valid
// until the next head is read; [Reader.Body] then reads the body of the same
// message. A head costs no allocation once the buffer has its size. Nothing
// here knows about caching, routing or clocks: deadlines are the business of
// whoever owns the connection.
//
// Refused are, with the status of [Refusal.Status]: bare LF or CR, obsolete line
// folding, white space before a colon, control bytes, Content-Length that is
// repeated, signed, hexadecimal or a list, Content-Length beside
// Transfer-Encoding, any transfer coding but one "chunked", chunked in HTTP/1.0,
// chunk lines with anything odd, a missing, repeated or odd Host, an absolute
// target that differs from Host, a Connection field which names end-to-end
// fields, and more. The table test reads like the list.
//
// Replies of origins are read by a [NewOriginReader], which takes some forms of old
// servers that have one meaning: white space before a colon, and odd chunk lines.
//
// A Reader serves one goroutine. The Append functions are pure.
package http1

// Limits. Beyond them a message is refused, never truncated.
const (
	// MaxRequestLine is the longest request or status line in bytes. RFC 9112,
	// section 3, asks for at least 8,000.
	MaxRequestLine = 16 << 10
	// MaxHead is the longest head (first line, fields and the empty line) in
	// bytes. Large cookies need 8-16 KiB; nginx and HAProxy stop at 32 and 16.
	MaxHead = 64 << 10
	// MaxFields is the greatest number of header field lines (HAProxy: 101).
	MaxFields = 128
	// MaxChunkLine is the longest chunk-size line with its extensions in bytes.
	// Nobody needs extensions; unlimited ones were CVE-2023-39326 in Go.
	MaxChunkLine = 256
	// MaxTrailer is the longest trailer section in bytes.
	MaxTrailer = 8 << 10
)
