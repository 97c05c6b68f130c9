// Package rfc9111 holds the rules of a shared HTTP cache as pure functions of
// (request, reply, now): no I/O, no clock, no state.
//
//	Decide     may this reply be stored, how long is it fresh, how old was it
//	           when it came (sections 3, 4.2); the answer is a [Policy]
//	Policy     .Evaluate tells at a later moment whether the stored reply may
//	           be used, and how (section 4)
//	Selector   which requests a stored reply of a negotiated resource fits
//	           (section 4.1)
//	NotModified, Validators, Merge
//	           conditional requests from clients and to origins (section 4.3)
//	Invalidates, Targets
//	           what an unsafe request makes stale (section 4.4)
//	ParseRange, IfRange
//	           parts of a stored reply (RFC 9110, section 14)
//
// Beside RFC 9111 it follows RFC 5861 (stale-while-revalidate, stale-if-error)
// and RFC 9213 (CDN-Cache-Control). The tests carry the section numbers.
//
// All functions may be called from any goroutine. A [Policy] is computed once
// when a reply is stored; Evaluate on the hit path is arithmetic.
package rfc9111
