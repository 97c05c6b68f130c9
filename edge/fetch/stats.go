package fetch

import (
	"context"

	"perto/metrics"
)

// Result is how an exchange with an origin ended.
type Result uint8

// The results.
const (
	Replied      Result = iota // a reply with a status below 500
	RepliedError               // a reply with a status from 500
	NotReplied                 // no reply: no connection, a timeout, or an invalid reply
	Abandoned                  // the client left before the reply
	results
)

var resultNames = [results]string{"replied", "server_error", "failed", "abandoned"}

// String returns the result as a label value.
func (r Result) String() string { return resultNames[r] }

// Stats are the counters of one origin server.
type Stats struct {
	Results [results]metrics.Counter // by Result
	// FirstByte is the time from the request to the head of the reply.
	FirstByte metrics.Histogram
}

// count records the end of an exchange.
func (s *Stats) count(ctx context.Context, r *Reply, err error) {
	switch {
	case err == nil:
		result := Replied
		if r.Status >= 500 {
			result = RepliedError
		}
		s.Results[result].Inc()
		s.FirstByte.Observe(r.ReplyTime.Sub(r.RequestTime))
	case ctx.Err() != nil || CauseOf(err) == ClientGone:
		s.Results[Abandoned].Inc()
	default:
		s.Results[NotReplied].Inc()
	}
}

// Each calls f for each origin server with its URL, for example "http://host:80". f must
// not call the client.
func (c *Client) Each(f func(url string, h Health, s *Stats)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for url, s := range c.servers {
		f(url, s.health(), &s.stats)
	}
}
