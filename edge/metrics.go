package edge

import (
	"sync"
	"sync/atomic"
	"time"

	"perto/edge/fetch"
	"perto/metrics"
)

type edgeMetrics struct {
	requests     []metrics.Counter // by Outcome
	seconds      *metrics.Histogram
	sent         *metrics.Counter
	acceptErrors *metrics.Counter
	turnedAway   *metrics.Counter
	cut          *metrics.Counter
	limits       []metrics.Counter // by limit
	// originFailures is by fetch.Cause.
	originFailures []metrics.Counter
}

func (m *edgeMetrics) make(r *metrics.Registry, e *Edge) {
	m.requests = r.CounterSet("perto_http_requests_total", "HTTP requests answered, by outcome.", "outcome", outcomeNames[:]...)
	m.seconds = r.Histogram("perto_http_request_seconds", "Time from a request's head to the last byte of its reply.")
	m.sent = r.Counter("perto_http_sent_bytes_total", "Bytes of replies sent to clients, heads included.")
	m.acceptErrors = r.Counter("perto_http_accept_errors_total", "Connections that could not be accepted.")
	m.turnedAway = r.Counter("perto_http_turned_away_total", "Connections closed at once because there were too many.")
	m.cut = r.Counter("perto_http_cut_replies_total", "Replies that ended before their last byte because the origin failed.")
	m.limits = r.CounterSet("perto_limit_reached_total", "Times that a request or a reply reached a limit of the edge, by its configuration key.", "limit", limitNames[:]...)
	m.originFailures = r.CounterSet("perto_origin_failures_total", "Requests for which an exchange with an origin failed, by cause.", "cause", fetch.Causes()...)
	r.Gauge("perto_http_connections", "Client connections open.", func() float64 {
		e.mu.Lock()
		defer e.mu.Unlock()
		return float64(len(e.conns))
	})
	r.GaugeSet("perto_origin_well", "1 for an origin that replies and passes its health checks, else 0.", "origin", func(sample func(string, float64)) {
		for _, h := range e.Origins() {
			well := 0.0
			if h.Well() {
				well = 1
			}
			sample(h.Origin, well)
		}
	})
	r.Gauge("perto_cache_bytes", "Memory of stored replies.", func() float64 { return float64(e.cache.Stats().Bytes) })
	r.Gauge("perto_cache_filling_bytes", "Memory of replies that are still arriving.", func() float64 { return float64(e.cache.Stats().Filling) })
	r.Gauge("perto_cache_file_bytes", "Memory of second copies of frequently sent replies, from which the kernel sends.", func() float64 { return float64(e.cache.Stats().Files) })
	r.Gauge("perto_cache_objects", "Replies stored.", func() float64 { return float64(e.cache.Stats().Objects) })
	r.CounterFunc("perto_cache_evictions_total", "Replies evicted to free memory.", func() uint64 { return e.cache.Stats().Evictions })
}

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

// loadMeter computes a rate from a growing count of bytes.
type loadMeter struct {
	sent atomic.Uint64

	mu   sync.Mutex
	at   time.Time
	seen uint64
	rate float64 // bytes a second, smoothed
}

const (
	// loadStep is the shortest time in which a rate is measured.
	loadStep = 250 * time.Millisecond
	// loadTime is the time constant of the smoothing: after it, an old rate has the weight
	// 1/e.
	loadTime = time.Second
)

func (l *loadMeter) bytesPerSecond(now time.Time) float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.sent.Load()
	if l.at.IsZero() {
		l.at, l.seen = now, n
		return 0
	}
	if d := now.Sub(l.at); d >= loadStep {
		keep := float64(loadTime) / float64(loadTime+d)
		l.rate = l.rate*keep + float64(n-l.seen)/d.Seconds()*(1-keep)
		l.at, l.seen = now, n
	}
	return l.rate
}

// Load returns the load of the edge for heartbeats: 0 is idle, 1 is full, and it may
// exceed 1. It is the share of the connections in use, or the share of the capacity in
// bytes a second if that is known and greater.
func (e *Edge) Load() float64 {
	e.mu.Lock()
	conns := len(e.conns)
	e.mu.Unlock()
	l := e.limits.Load()
	load := float64(conns) / float64(l.MaxConns)
	rate := e.load.bytesPerSecond(time.Now())
	if l.CapacityBytes > 0 {
		load = max(load, rate/l.CapacityBytes)
	}
	return load
}
