package functions

import (
	"net/http"
	"net/netip"
)

// Request is what a module is asked. A module that is middleware may change all of
// it but Protocol and Source.
type Request struct {
	Method   string
	URI      string // path and query, as in the request line
	Protocol string // "HTTP/1.1"
	Source   netip.AddrPort
	Header   http.Header
	Body     []byte
	Trailer  http.Header
}

// Response is what it answers.
type Response struct {
	Status  int
	Header  http.Header
	Body    []byte
	Trailer http.Header
}

// Next answers a request that a module lets pass.
type Next func(*Request) (*Response, error)

// clone copies what a module may change.
func (r *Request) clone() *Request {
	c := *r
	c.Header, c.Trailer = r.Header.Clone(), r.Trailer.Clone()
	if c.Header == nil {
		c.Header = make(http.Header)
	}
	if c.Trailer == nil {
		c.Trailer = make(http.Header)
	}
	return &c
}

func newResponse() *Response {
	return &Response{Status: http.StatusOK, Header: make(http.Header), Trailer: make(http.Header)}
}
