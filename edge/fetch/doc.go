// Package fetch is the miss path: it fetches replies from origins and fills the cache.
//
//	[Client]    origins with their idle connections, limits and circuit breakers
//	[Upstream]  the origins of one site in order of preference; Do is one exchange
//	[Fetcher]   request coalescing: one leader fetches for all requests for a key
//
// The edge calls [Fetcher.Fetch] for a miss and [Upstream.Do] for a request that
// bypasses the cache.
//
// Followers of a leader read the object while it fills. When the head shows that the
// reply cannot be shared (not storable, or another variant), the followers stop
// waiting and fetch by themselves. For some time after, requests for that key do not
// wait for each other (hit-for-miss). The filling goes on when the leader's client
// disconnects.
//
// Requests to origins are composed from the parsed request and contain no bytes
// copied from the client's message. They lack hop-by-hop fields and the fields that
// many origins trust without a check. The target is the normal form that the cache key
// also has. Replies are read as strictly as requests (package http1). A truncated body
// ends with an error and is never stored. A connection is reused only after a whole
// reply.
//
// All types may be used from any goroutine.
package fetch
