// Package rfc9111 has the rules of a shared HTTP cache as pure functions of (request,
// reply, now). It has no I/O, no clock and no state. Packages edge, cache and fetch
// apply the rules. Start with [Decide].
//
//	Decide     may this reply be stored, how long is it fresh, how old was it
//	           when it came (sections 3, 4.2); the result is a [Policy]
//	Policy     .Evaluate returns at a later time whether the stored reply may
//	           be used, and how (section 4)
//	Selector   which requests a stored reply of a negotiated resource fits
//	           (section 4.1)
//	NotModified, Validators, Merge
//	           conditional requests from clients and to origins (section 4.3)
//	Invalidates, Targets
//	           the replies that an unsafe request makes stale (section 4.4)
//	ParseRange, IfRange
//	           parts of a stored reply (RFC 9110, section 14)
//
// The package also follows RFC 5861 (stale-while-revalidate, stale-if-error) and RFC
// 9213 (CDN-Cache-Control). Section numbers without an RFC are those of RFC 9111. The
// names of tests have the section numbers.
//
// All functions may be called from any goroutine. A [Policy] is computed once when a
// reply is stored. Evaluate on the hit path is arithmetic only.
package rfc9111
