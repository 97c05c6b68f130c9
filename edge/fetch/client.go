package fetch

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"perto/internal/netx"
)

// Config has the limits and the network for exchanges with origins. Zero values mean
// the defaults.
type Config struct {
	// Name identifies this node in Via and CDN-Loop ("perto-gru-1"). It is a token and
	// must not change during the life of the node.
	Name    string
	Network netx.Network

	ConnectTimeout time.Duration // to connect, TLS included; default 5 s
	ReplyTimeout   time.Duration // from the end of the request to the head; default 60 s
	StallTimeout   time.Duration // between two pieces of a body, either way; default 2 min
	QueueTimeout   time.Duration // to wait for a permit; default 10 s
	IdleTimeout    time.Duration // until an unused connection is closed; default 30 s

	MaxExchanges int // concurrent exchanges with one origin; default 1,024
	MaxIdle      int // idle connections kept for one origin; default 128
	// Changed is called when an origin becomes well or unwell. It must not block.
	Changed func(Health)
	TLS     *tls.Config // for https origins; this package sets ServerName
}

func (c *Config) defaults() {
	for _, d := range []struct {
		at *time.Duration
		v  time.Duration
	}{
		{&c.ConnectTimeout, 5 * time.Second}, {&c.ReplyTimeout, time.Minute},
		{&c.StallTimeout, 2 * time.Minute}, {&c.QueueTimeout, 10 * time.Second}, {&c.IdleTimeout, 30 * time.Second},
	} {
		if *d.at == 0 {
			*d.at = d.v
		}
	}
	if c.MaxExchanges == 0 {
		c.MaxExchanges = 1024
	}
	if c.MaxIdle == 0 {
		c.MaxIdle = 128
	}
}

// Origin is a server that has the original of a site's resources.
type Origin struct {
	// URL is scheme, host and port, for example "http://origin.example:8080". It must
	// not have a path, because requests keep theirs.
	URL string
	// Host is the Host field of requests to the origin. When empty, they carry the host
	// of the client's request.
	Host string
	// ReplyTimeout bounds the time to the head of a reply. 0 means the value in
	// [Config].
	ReplyTimeout time.Duration
	// Forwarded adds the field Forwarded (RFC 7239) to the X-Forwarded fields.
	Forwarded bool
	// Health is the path of the origin's health check; "" for none.
	Health string
}

// Client holds the state of each origin server that outlives a site's configuration:
// connections, limits and circuit breakers.
type Client struct {
	cfg Config

	checker *checker

	mu      sync.Mutex
	servers map[string]*server // by scheme and address
	closed  bool
}

// NewClient returns a client without connections.
func NewClient(cfg Config) *Client {
	cfg.defaults()
	c := &Client{cfg: cfg, servers: make(map[string]*server)}
	c.checker = newChecker(c)
	return c
}

// Upstream is the origins of one site in order of preference.
type Upstream struct {
	client  *Client
	origins []member
}

type member struct {
	server    *server
	host      string
	forwarded bool
	reply     time.Duration // for the head
}

// Health returns the state of the upstream's servers, in order of preference.
func (u *Upstream) Health() []Health {
	var out []Health
	for _, m := range u.origins {
		out = append(out, m.server.health())
	}
	return out
}

// Upstream returns the upstream made of origins. Origins with the same scheme and
// address share connections, also those of different upstreams.
func (c *Client) Upstream(origins []Origin) (*Upstream, error) {
	if len(origins) == 0 {
		return nil, fmt.Errorf("upstream without origins")
	}
	u := &Upstream{client: c}
	for _, o := range origins {
		s, err := c.server(o.URL)
		if err != nil {
			return nil, err
		}
		u.origins = append(u.origins, member{server: s, host: o.Host, forwarded: o.Forwarded, reply: cmp.Or(o.ReplyTimeout, c.cfg.ReplyTimeout)})
	}
	return u, nil
}

func (c *Client) server(raw string) (*server, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("origin %q: %w", raw, err)
	}
	port := u.Port()
	switch {
	case u.Hostname() == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "":
		return nil, fmt.Errorf("origin %q is not scheme://host[:port]", raw)
	case u.Scheme == "http" && port == "":
		port = "80"
	case u.Scheme == "https" && port == "":
		port = "443"
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("origin %q: scheme is neither http nor https", raw)
	}
	address := net.JoinHostPort(u.Hostname(), port)
	c.mu.Lock()
	defer c.mu.Unlock()
	key := u.Scheme + "://" + address
	s := c.servers[key]
	if s == nil {
		s = &server{cfg: &c.cfg, address: address, permits: make(chan struct{}, c.cfg.MaxExchanges)}
		if u.Scheme == "https" {
			s.tls = c.cfg.TLS.Clone()
			if s.tls == nil {
				s.tls = new(tls.Config)
			}
			s.tls.ServerName = u.Hostname()
			s.tls.NextProtos = []string{"http/1.1"}
		}
		c.servers[key] = s
	}
	return s, nil
}

// Close closes the idle connections. Running exchanges go on, and their connections
// are closed when they end.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, s := range c.servers {
		s.close()
	}
}

// Abort closes the connections of running exchanges, which then fail.
func (c *Client) Abort() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.servers {
		s.abort()
	}
}

// Health is the state of one origin server for pages and explanations.
type Health struct {
	Origin   string `json:"origin"`           // "host:port"
	Failures int    `json:"failures"`         // failed connections in a row
	Timeouts int    `json:"timeouts"`         // exchanges without a head in time, in a row
	Open     bool   `json:"open"`             // the circuit breaker stops requests
	Unwell   string `json:"unwell,omitempty"` // why its health checks fail; "" while they succeed
	Idle     int    `json:"idle"`             // idle connections
	Running  int    `json:"running"`          // running exchanges
}

// Well reports whether the origin replies and passes its health checks.
func (h *Health) Well() bool { return max(h.Failures, h.Timeouts) < breakAfter && h.Unwell == "" }

// String returns the state in words.
func (h *Health) String() string {
	switch {
	case h.Unwell != "":
		return h.Unwell
	case h.Failures >= breakAfter:
		return fmt.Sprintf("%d connections failed in a row", h.Failures)
	case h.Timeouts >= breakAfter:
		return fmt.Sprintf("%d requests in a row had no reply in time", h.Timeouts)
	}
	return "well"
}

// Health returns the state of every origin server, in order of name.
func (c *Client) Health() []Health {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]Health, 0, len(c.servers))
	for _, s := range c.servers {
		out = append(out, s.health())
	}
	slices.SortFunc(out, func(a, b Health) int { return strings.Compare(a.Origin, b.Origin) })
	return out
}
