package node

// Counters has a Node's totals since its start.
type Counters struct {
	Queries   uint64 `json:"queries"`    // DNS messages received
	Requests  uint64 `json:"requests"`   // HTTP requests answered
	Hits      uint64 `json:"hits"`       // of these, answered from the cache
	Failed    uint64 `json:"failed"`     // of these, errors because the origin failed
	SentBytes uint64 `json:"sent_bytes"` // of HTTP replies
}

// Counters returns the totals of a Node since its start.
func (n *Node) Counters() (c Counters) {
	if n.dns != nil {
		c.Queries = n.dns.Queries()
	}
	if n.edge != nil {
		e := n.edge.Counts()
		c.Requests, c.Hits, c.Failed, c.SentBytes = e.Requests, e.Hits, e.Failed, e.Sent
	}
	return c
}
