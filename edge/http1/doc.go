// Package http1 reads and writes HTTP/1.1 messages (RFC 9112) strictly. It refuses each
// message that two programs could read differently. If a front and an origin disagree
// about the end of a message, request smuggling is possible.
//
// The edge reads requests and package fetch reads replies with it. Start with
// [NewReader]. A [Reader] owns the buffer of one connection. ReadRequest and
// ReadResponse return heads. Their names, values and target are views into that buffer.
// They are valid until the next head is read. [Reader.Body] then reads the body of the
// same message. A head costs no allocation once the buffer has its size. The package
// has no caching, no routing and no clock: the owner of the connection sets deadlines.
//
// These messages are refused with the status of [Refusal.Status]:
//
//   - bare LF or CR, obsolete line folding, white space before a colon, control bytes
//   - Content-Length that is repeated, signed, hexadecimal or a list
//   - Content-Length together with Transfer-Encoding
//   - any transfer coding except one "chunked", and chunked in HTTP/1.0
//   - chunk lines of unusual form
//   - a Host that is missing, repeated or malformed, or that differs from the target
//   - a Connection field that names end-to-end fields
//
// TestRefusesEveryAmbiguousRequest has the full list. [NewOriginReader] accepts some
// unusual forms of old origins that have only one meaning, for example white space
// before a colon.
//
// A Reader must be used by one goroutine at a time. The Append functions are pure.
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
	// Extensions are not used in practice. Unlimited ones were CVE-2023-39326 in Go.
	MaxChunkLine = 256
	// MaxTrailer is the longest trailer section in bytes.
	MaxTrailer = 8 << 10
)
