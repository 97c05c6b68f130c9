// Package edge is the CDN edge: it answers HTTP requests from its cache, and
// brings what is missing from the origins of the site.
//
//	conn -> http1 (strict parser) -> request (state machine, fsm.go) -> one write
//	                                   |           |
//	                                 cache       fetch -> origins
//
// The states of a request and their order are drawn in docs/request.md. What
// happened and why are enums ([Outcome], and the reasons of the rooms below),
// told to clients in Cache-Status (RFC 9211) and counted in metrics.
//
// One goroutine serves one connection. [Edge.SetSites] swaps the sites while
// requests run: a request keeps the table that it started with. A hit allocates
// nothing and takes one read lock; a test holds that.
package edge
