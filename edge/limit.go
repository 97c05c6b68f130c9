package edge

import (
	"time"

	"perto/edge/fetch"
)

// limit is a limit of the edge that a request or a reply can reach. Its name is the key
// in the configuration.
type limit uint8

const (
	limitConnections limit = iota
	limitHead
	limitStall
	limitDrain
	limitUploadRate
	limitObject
	limitFunctionRequest
	limitFunctionReply
	limitStaleAfter
	limitOriginConnect
	limitOriginFirstByte
	limitOriginStall
	limitOriginQueue
	limits
)

var limitNames = [limits]string{"connections", "head", "stall", "drain", "upload_rate", "object", "function_request",
	"function_reply", "stale_after", "origin_connect", "origin_first_byte", "origin_stall", "origin_queue"}

// reached counts that a limit was reached.
func (e *Edge) reached(l limit) { e.m.limits[l].Inc() }

// reachedBy counts the limit that made an exchange with an origin fail, if there is
// one.
func (e *Edge) reachedBy(c fetch.Cause) {
	switch c {
	case fetch.ConnectTimeout:
		e.reached(limitOriginConnect)
	case fetch.ReplyTimeout:
		e.reached(limitOriginFirstByte)
	case fetch.BodyTimeout:
		e.reached(limitOriginStall)
	case fetch.Busy:
		e.reached(limitOriginQueue)
	}
}

// setLimits sets the defaults of limits that are zero. The configuration has the same
// defaults (config.DefaultLimits).
func (c *Config) setLimits() {
	for _, d := range []struct {
		at *time.Duration
		v  time.Duration
	}{
		{&c.HeadTimeout, 10 * time.Second}, {&c.IdleTimeout, time.Minute},
		{&c.StallTimeout, 30 * time.Second}, {&c.DrainTimeout, 10 * time.Second},
		{&c.StaleAfter, 2 * time.Second},
	} {
		if *d.at == 0 {
			*d.at = d.v
		}
	}
	for _, n := range []struct {
		at *int64
		v  int64
	}{
		{&c.CacheBytes, defaultCacheBytes}, {&c.UploadRate, 512}, {&c.RangeFillBytes, 64 << 20},
		{&c.MaxFunctionRequestBytes, 1 << 20}, {&c.MaxFunctionResponseBytes, 16 << 20},
	} {
		if *n.at == 0 {
			*n.at = n.v
		}
	}
	if c.MaxConns == 0 {
		c.MaxConns = 10_000
	}
}
