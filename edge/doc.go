// Package edge is the CDN edge. It replies to HTTP requests from its cache, and fetches
// missing replies from the origins of the site.
//
//	conn -> http1 (strict parser) -> request (state machine, fsm.go) -> one write
//	                                   |           |
//	                                 cache       fetch -> origins
//
// Start with [New], [Edge.SetSites] and [Edge.Run]. The states of a request and their
// order are drawn in docs/request.md. The result of a request and its reason are enums:
// [Outcome], and the reasons of the packages below. Clients receive them in
// Cache-Status (RFC 9211), and metrics count them.
//
// One goroutine serves one connection. The exported methods of [Edge] may be called
// from any goroutine. [Edge.SetSites] replaces the sites while requests run. A request
// uses the sites with which it started. A hit allocates nothing and takes one read
// lock. A test checks that.
package edge
