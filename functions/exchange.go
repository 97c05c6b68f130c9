package functions

import (
	"net/netip"

	"perto/internal/fields"
)

// Request is what a module is asked. A module that is middleware may change all of
// it but Protocol and Source. Names and values of fields may be views into memory
// that lives as long as the call.
type Request struct {
	Method   string
	URI      string // path and query, as in the request line
	Protocol string // "HTTP/1.1"
	Source   netip.AddrPort
	Header   fields.Header
	Body     []byte
	Trailer  fields.Header
}

// Response is what it answers.
type Response struct {
	Status  int
	Header  fields.Header
	Body    []byte
	Trailer fields.Header
}

// Next answers a request that a module lets pass, and its subrequests.
type Next func(*Request) (*Response, error)
