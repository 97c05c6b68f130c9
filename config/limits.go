package config

import (
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
)

// Limits are the bounds of a machine's connections, times and sizes.
type Limits struct {
	Connections int           // concurrent client connections
	Head        time.Duration // for a whole request head
	Idle        time.Duration // between requests of a connection
	Stall       time.Duration // for each piece of a body from or to a client
	Drain       time.Duration // for running requests when the edge stops
	DrainWait   time.Duration // before that: for clients with cached answers, at most
	UploadRate  uint64        // lowest rate of an upload, in bytes a second
	Object      uint64        // largest stored response, in bytes; 0: a quarter of the cache
	RangeFill   uint64        // largest response that is fetched completely for a range, in bytes
	Variants    int           // stored responses for one URL

	FunctionRequest uint64 // largest request body for a function, in bytes
	FunctionReply   uint64 // largest response that a function can read, in bytes

	StaleAfter            time.Duration // time limit for the origin while a stale response is available
	OriginConnect         time.Duration // to connect
	OriginFirstByte       time.Duration // from the request to the response head
	OriginStall           time.Duration // between two pieces of a body
	OriginIdle            time.Duration // after which an unused connection is closed
	OriginQueue           time.Duration // in the queue for an exchange
	OriginExchanges       int           // concurrent exchanges with one origin
	OriginIdleConnections int           // unused connections kept for one origin

	DNSConnections          int           // of DNS over TCP, at a time
	DNSConnectionsPerClient int           // of one IPv4 address or IPv6 /64
	DNSIdle                 time.Duration // between queries of a connection
	DNSWrite                time.Duration // for a response that a client does not read
}

// limitKey is one key of the limits block: its field, default and range.
type limitKey struct {
	name      string
	span      *time.Duration
	number    *int
	size      *uint64
	missing   int64 // nanoseconds, a number or bytes
	low, high int64
}

// role returns the role of the machines that the limit is for.
func (k *limitKey) role() Roles {
	if strings.HasPrefix(k.name, "dns_") {
		return RoleDNS
	}
	return RoleEdge
}

const (
	mebi = 1 << 20
	gibi = 1 << 30
)

// keys lists the keys in the order in which Show writes them.
func (l *Limits) keys() []limitKey {
	span := func(name string, at *time.Duration, missing, low, high time.Duration) limitKey {
		return limitKey{name: name, span: at, missing: int64(missing), low: int64(low), high: int64(high)}
	}
	number := func(name string, at *int, missing, high int64) limitKey {
		return limitKey{name: name, number: at, missing: missing, low: 1, high: high}
	}
	size := func(name string, at *uint64, missing, low, high int64) limitKey {
		return limitKey{name: name, size: at, missing: missing, low: low, high: high}
	}
	const s, ms = time.Second, time.Millisecond
	return []limitKey{
		number("connections", &l.Connections, 10_000, 10_000_000),
		span("head", &l.Head, 10*s, 100*ms, time.Hour),
		span("idle", &l.Idle, time.Minute, 100*ms, time.Hour),
		span("stall", &l.Stall, 30*s, 100*ms, time.Hour),
		span("drain", &l.Drain, 10*s, ms, 24*time.Hour),
		span("drain_wait", &l.DrainWait, time.Minute, 0, 24*time.Hour),
		size("upload_rate", &l.UploadRate, 512, 1, gibi),
		size("object", &l.Object, 0, 0, 1<<40),
		size("range_fill", &l.RangeFill, 64*mebi, 1, 1<<40),
		number("variants", &l.Variants, 64, 10_000),
		size("function_request", &l.FunctionRequest, mebi, 1, gibi),
		size("function_reply", &l.FunctionReply, 16*mebi, 1, gibi),
		span("stale_after", &l.StaleAfter, 2*s, 10*ms, time.Hour),
		span("origin_connect", &l.OriginConnect, 5*s, 10*ms, time.Hour),
		span("origin_first_byte", &l.OriginFirstByte, time.Minute, 100*ms, time.Hour),
		span("origin_stall", &l.OriginStall, 2*time.Minute, 100*ms, 24*time.Hour),
		span("origin_idle", &l.OriginIdle, 30*s, 100*ms, time.Hour),
		span("origin_queue", &l.OriginQueue, 10*s, 10*ms, time.Hour),
		number("origin_exchanges", &l.OriginExchanges, 1024, 1_000_000),
		number("origin_idle_connections", &l.OriginIdleConnections, 128, 100_000),
		number("dns_connections", &l.DNSConnections, 1000, 1_000_000),
		number("dns_connections_per_client", &l.DNSConnectionsPerClient, 100, 1_000_000),
		span("dns_idle", &l.DNSIdle, 10*s, 100*ms, time.Hour),
		span("dns_write", &l.DNSWrite, 5*s, 100*ms, time.Hour),
	}
}

// DefaultLimits returns the limits of a machine without a limits block.
func DefaultLimits() (l Limits) {
	for _, k := range l.keys() {
		k.set(k.missing)
	}
	return l
}

func (k *limitKey) set(v int64) {
	switch {
	case k.span != nil:
		*k.span = time.Duration(v)
	case k.number != nil:
		*k.number = int(v)
	default:
		*k.size = uint64(v)
	}
}

// limits reads the block of a machine with some roles. A limit of another role would
// bound nothing, so it is a mistake.
func (c *checker) limits(b *hcl.Block, l *Limits, roles Roles) {
	keys := l.keys()
	var s shape
	for _, k := range keys {
		s.optional = append(s.optional, k.name)
	}
	r := c.read(b.Body, b.DefRange, s)
	for _, k := range keys {
		if r.has(k.name) && !roles.Has(k.role()) {
			c.fail(r.rangeOf(k.name), "%s is for machines with the role %s", k.name, k.role().Names()[0])
		}
		switch {
		case k.span != nil:
			*k.span = r.duration(k.name, time.Duration(k.missing), time.Duration(k.low), time.Duration(k.high))
		case k.number != nil:
			*k.number = r.integer(k.name, int(k.missing), int(k.low), int(k.high))
		default:
			v := r.size(k.name, uint64(k.missing))
			if v < uint64(k.low) || v > uint64(k.high) {
				c.fail(r.rangeOf(k.name), "%s is %d bytes; it takes %s to %s", k.name, v, bytesText(uint64(k.low)), bytesText(uint64(k.high)))
			}
			*k.size = v
		}
	}
}

func bytesText(n uint64) string { return inUnits(n, 1<<10, "B", "KiB", "MiB", "GiB", "TiB") }

func (w *shower) limits(l *Limits, roles Roles) {
	w.block("limits", "", func() {
		for _, k := range l.keys() {
			if !roles.Has(k.role()) {
				continue
			}
			switch {
			case k.span != nil:
				w.span(k.name, *k.span)
			case k.number != nil:
				w.integer(k.name, *k.number)
			default:
				w.text(k.name, bytesText(*k.size))
			}
		}
	})
}
