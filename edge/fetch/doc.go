// Package fetch is the miss path: it brings replies from origins.
//
//	[Client]    origins with their idle connections, limits and breakers
//	[Upstream]  the origins of one site in order of preference; Do is one exchange
//	[Fetcher]   collapse: however many want a key, one leader fetches it
//
// Followers of a leader read the object while it fills. When the head says that
// it is not for them (not storable, or another variant) they are released at
// once and fetch for themselves; for a while after, nobody waits for that key.
// The filling goes on when the leader's client is gone.
//
// What is sent is made anew from the parsed request, never copied: hop-by-hop
// fields and those that origins are known to trust blindly are left out, the
// target is the normal form that the cache key is made of. Replies are read as
// strictly as requests (package http1); a body that is not whole ends with an
// error, and is never stored. A connection is used again only after a whole
// reply.
//
// All types may be used from any goroutine.
package fetch
