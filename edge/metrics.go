package edge

import (
	"sync"
	"sync/atomic"
	"time"

	"perto"
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
	services     services
	unrouted     responses
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
	r.CounterTable("perto_http_responses_total", "HTTP replies, by service and class of the status. The service is \"-\" for hosts that no service has.", []string{"service", "class"}, func(sample func(uint64, ...string)) {
		m.services.sample(sample)
		m.unrouted.sample("-", sample)
	})
	r.CounterTable("perto_origin_requests_total", "Requests to an origin server, by result: replied, server_error (status from 500), failed (no reply) and abandoned (by the client).", []string{"origin", "result"}, func(sample func(uint64, ...string)) {
		e.client.Each(func(origin string, _ fetch.Health, s *fetch.Stats) {
			for result := range s.Results {
				sample(s.Results[result].Value(), origin, fetch.Result(result).String())
			}
		})
	})
	r.HistogramSetFunc("perto_origin_first_byte_seconds", "Time from a request to the head of the reply of an origin server.", "origin", func(sample func(string, *metrics.Histogram)) {
		e.client.Each(func(origin string, _ fetch.Health, s *fetch.Stats) { sample(origin, &s.FirstByte) })
	})
	r.Gauge("perto_http_connections", "Client connections open.", func() float64 {
		e.mu.Lock()
		defer e.mu.Unlock()
		return float64(len(e.conns))
	})
	r.GaugeSet("perto_origin_well", "1 for an origin that replies and passes its health checks, else 0.", "origin", func(sample func(string, float64)) {
		e.client.Each(func(origin string, h fetch.Health, _ *fetch.Stats) {
			well := 0.0
			if h.Well() {
				well = 1
			}
			sample(origin, well)
		})
	})
	r.Gauge("perto_cache_bytes", "Memory of stored replies.", func() float64 { return float64(e.cache.Stats().Bytes) })
	r.Gauge("perto_cache_limit_bytes", "Memory that stored replies may take.", func() float64 { return float64(e.limits.Load().CacheBytes) })
	r.Gauge("perto_cache_filling_bytes", "Memory of replies that are still arriving.", func() float64 { return float64(e.cache.Stats().Filling) })
	r.Gauge("perto_cache_file_bytes", "Memory of second copies of frequently sent replies, from which the kernel sends.", func() float64 { return float64(e.cache.Stats().Files) })
	r.Gauge("perto_cache_objects", "Replies stored.", func() float64 { return float64(e.cache.Stats().Objects) })
	r.CounterFunc("perto_cache_evictions_total", "Replies evicted to free memory.", func() uint64 { return e.cache.Stats().Evictions })
}

// responses counts replies by the first digit of their status.
type responses [6]metrics.Counter

// classNames are the label values; 1xx and unknown statuses are under "other".
var classNames = [len(responses{})]string{"other", "other", "2xx", "3xx", "4xx", "5xx"}

func (c *responses) count(status int) {
	class := status / 100
	if class < 2 || class >= len(c) {
		class = 0
	}
	c[class].Inc()
}

// services are the counters of services. A service keeps them when sites are replaced.
type services struct {
	mu sync.Mutex
	of map[perto.Service]*responses
}

func (s *services) responses(name perto.Service) *responses {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of == nil {
		s.of = make(map[perto.Service]*responses)
	}
	if s.of[name] == nil {
		s.of[name] = new(responses)
	}
	return s.of[name]
}

func (s *services) sample(sample func(uint64, ...string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, c := range s.of {
		c.sample(string(name), sample)
	}
}

func (c *responses) sample(service string, sample func(uint64, ...string)) {
	for class, name := range classNames {
		if class != 1 { // counted as 0
			sample(c[class].Value(), service, name)
		}
	}
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
