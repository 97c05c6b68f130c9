// Package wire reads DNS queries and writes DNS responses as bytes (RFC 1035, RFC 6891,
// RFC 7871). It does no I/O, keeps no state, reads no clock and allocates nothing. The
// fast path of the name server consists of it. Queries that are unusual but not wrong
// get the verdict Odd, and the slow path answers them.
//
//	packet --Parse--> Query --(zone, map)--> Tail --Append--> packet
//
// All functions may be called concurrently on different values. Start with [Parse] and
// [Begin].
package wire
