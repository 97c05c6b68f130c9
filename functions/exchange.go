package functions

import (
	"net/netip"

	"perto/internal/fields"
)

// Request is the request that a module handles. Middleware may change all fields but
// Protocol and Source. Names and values of header fields may be views into memory that
// is valid as long as the call.
type Request struct {
	Method   string
	URI      string // path and query, as in the request line
	Protocol string // "HTTP/1.1"
	Source   netip.AddrPort
	Header   fields.Header
	Body     []byte
	Trailer  fields.Header
}

// Response is the response of a module or of the next handler.
type Response struct {
	Status  int
	Header  fields.Header
	Body    []byte
	Trailer fields.Header
}

// Next handles a request that a module lets pass, and the module's subrequests.
type Next func(*Request) (*Response, error)
