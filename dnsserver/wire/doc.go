// Package wire reads DNS queries and writes DNS responses as bytes (RFC 1035,
// RFC 6891, RFC 7871). It does no I/O, keeps no state, knows no clock and
// allocates nothing: the fast path of the name server is made of it. Whatever it
// finds odd but not wrong is left to the slow path.
//
//	packet --Parse--> Query --(zone, map)--> Tail --Append--> packet
package wire
