package edge

// Counts has the edge's totals since its start.
type Counts struct {
	Requests uint64 // answered
	Hits     uint64 // answered from the cache without a fetch, or after a fetch by another request
	Failed   uint64 // answered with an error because the origin failed
	Sent     uint64 // bytes of replies, heads included
}

// Counts returns the totals since the start.
func (e *Edge) Counts() Counts {
	c := Counts{Failed: e.m.requests[Failed].Value(), Sent: e.m.sent.Value()}
	for o := range e.m.requests {
		c.Requests += e.m.requests[o].Value()
	}
	for _, o := range []Outcome{Hit, HitStale, Collapsed, StaleError} {
		c.Hits += e.m.requests[o].Value()
	}
	return c
}
