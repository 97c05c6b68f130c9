package edge

import (
	"time"

	"perto/edge/cache"
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
	default: // no limit of ours
	}
}

// Limits bounds the memory, connections, times and sizes of an edge. Zero values mean
// the defaults.
type Limits struct {
	CacheBytes    int64   // memory for stored replies; default 64 MiB
	CapacityBytes float64 // bytes that the machine can send in a second, for Load; 0 when unknown
	MaxConns      int     // concurrent connections; default 10,000

	HeadTimeout  time.Duration // for a whole request head from its first bytes; default 10 s
	IdleTimeout  time.Duration // between requests; default 60 s
	StallTimeout time.Duration // for a piece of a body, either way, of 32 KiB at most; default 30 s
	DrainTimeout time.Duration // for running requests when closing; default 10 s

	// StaleAfter is the time to wait for the origin before a stale reply is sent; default
	// 2 s.
	StaleAfter time.Duration
	// UploadRate is the minimum average rate of a request body, in bytes a second, after
	// the first stall time; default 512. Each upload holds one of the origin's permits,
	// so it must not be able to hold it with very few bytes (Apache's mod_reqtimeout
	// requires 500).
	UploadRate     int64
	MaxObjectBytes int64 // of a stored body; default a quarter of CacheBytes
	MaxVariants    int   // stored for one URL; default 64
	// RangeFillBytes is the maximum length of an object that is fetched whole for a range
	// request; default 64 MiB. Of longer objects, such as films, clients mostly need few
	// parts.
	RangeFillBytes int64
	// MaxFunctionRequestBytes bounds a request body that is passed to a function, which
	// is held in memory; default 1 MiB.
	MaxFunctionRequestBytes int64
	// MaxFunctionResponseBytes bounds the body of a response that a function receives
	// from next; default 16 MiB.
	MaxFunctionResponseBytes int64

	Origin fetch.Limits // of exchanges with origins
}

// defaultCacheBytes is the memory of a cache whose size is not configured.
const defaultCacheBytes = 64 << 20

// defaults sets limits that are zero. The configuration has the same defaults
// (config.DefaultLimits).
func (l *Limits) defaults() {
	for _, d := range []struct {
		at *time.Duration
		v  time.Duration
	}{
		{&l.HeadTimeout, 10 * time.Second}, {&l.IdleTimeout, time.Minute},
		{&l.StallTimeout, 30 * time.Second}, {&l.DrainTimeout, 10 * time.Second},
		{&l.StaleAfter, 2 * time.Second},
	} {
		if *d.at == 0 {
			*d.at = d.v
		}
	}
	for _, n := range []struct {
		at *int64
		v  int64
	}{
		{&l.CacheBytes, defaultCacheBytes}, {&l.UploadRate, 512}, {&l.RangeFillBytes, 64 << 20},
		{&l.MaxFunctionRequestBytes, 1 << 20}, {&l.MaxFunctionResponseBytes, 16 << 20},
	} {
		if *n.at == 0 {
			*n.at = n.v
		}
	}
	if l.MaxConns == 0 {
		l.MaxConns = 10_000
	}
}

// ofCache returns the limits of the cache.
func (l *Limits) ofCache() cache.Config {
	return cache.Config{MaxBytes: l.CacheBytes, MaxObjectBytes: l.MaxObjectBytes, MaxVariants: l.MaxVariants}
}

// SetLimits replaces the limits of a running edge. A smaller cache evicts at once. Open
// connections above a smaller MaxConns stay, and no new one is accepted until there are
// fewer. A deadline that is set stays, and the next one has the new time. Calls must
// not run at the same time.
func (e *Edge) SetLimits(l Limits) {
	l.defaults()
	e.limits.Store(&l)
	e.cache.Resize(l.ofCache())
	e.client.SetLimits(l.Origin)
}
