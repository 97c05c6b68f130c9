package fetch

import "time"

// Limits bounds the exchanges with origins. Zero values mean the defaults.
type Limits struct {
	ConnectTimeout time.Duration // to connect, TLS included; default 5 s
	ReplyTimeout   time.Duration // from the end of the request to the head; default 60 s
	StallTimeout   time.Duration // between two pieces of a body, either way; default 2 min
	QueueTimeout   time.Duration // to wait for a permit; default 10 s
	IdleTimeout    time.Duration // until an unused connection is closed; default 30 s

	MaxExchanges int // concurrent exchanges with one origin; default 1,024
	MaxIdle      int // idle connections kept for one origin; default 128
}

func (l *Limits) defaults() {
	for _, d := range []struct {
		at *time.Duration
		v  time.Duration
	}{
		{&l.ConnectTimeout, 5 * time.Second}, {&l.ReplyTimeout, time.Minute},
		{&l.StallTimeout, 2 * time.Minute}, {&l.QueueTimeout, 10 * time.Second}, {&l.IdleTimeout, 30 * time.Second},
	} {
		if *d.at == 0 {
			*d.at = d.v
		}
	}
	if l.MaxExchanges == 0 {
		l.MaxExchanges = 1024
	}
	if l.MaxIdle == 0 {
		l.MaxIdle = 128
	}
}

// SetLimits replaces the limits. A wait that has begun ends after the time that it
// began with. Running exchanges above a smaller MaxExchanges finish. Idle connections
// above the new limits are closed at once.
func (c *Client) SetLimits(l Limits) {
	l.defaults()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.limits.Store(&l)
	for _, s := range c.servers {
		s.limit(&l)
	}
}

// limit applies new limits to the exchanges and the idle connections. The client has
// stored them before, so a connection that becomes idle later has the new limits.
func (s *server) limit(l *Limits) {
	s.permits.resize(l.MaxExchanges)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.idle {
		if until := c.used.Add(l.IdleTimeout); until.Before(c.until) {
			c.until = until
		}
	}
	s.closeOldest(len(s.idle) - l.MaxIdle)
	if s.reaper != nil && s.reaper.Stop() { // otherwise reap runs already and waits for mu
		s.closeExpired()
	}
}
