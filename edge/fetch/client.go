package fetch

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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

	Limits

	// Changed is called when an origin becomes well or unwell. It must not block.
	Changed func(Health)
	TLS     *tls.Config // for https origins; this package sets ServerName
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
	// [Limits].
	ReplyTimeout time.Duration
	// Forwarded adds the field Forwarded (RFC 7239) to the X-Forwarded fields.
	Forwarded bool
	// KeepURLs leaves URLs of the origin itself in fields of its replies unchanged.
	KeepURLs bool
	// Health is the path of the origin's health check; "" for none.
	Health string
}

// Client holds the state of each origin server that outlives a site's configuration:
// connections, limits and circuit breakers.
type Client struct {
	cfg    Config // without the limits
	limits atomic.Pointer[Limits]

	checker *checker

	mu      sync.Mutex
	servers map[string]*server // by scheme and address
	closed  bool
}

// NewClient returns a client without connections.
func NewClient(cfg Config) *Client {
	limits := cfg.Limits
	cfg.Limits = Limits{}
	c := &Client{cfg: cfg, servers: make(map[string]*server)}
	c.SetLimits(limits)
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
	keepURLs  bool
	reply     time.Duration // for the head; 0: the client's limit
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
		u.origins = append(u.origins, member{server: s, host: o.Host, forwarded: o.Forwarded, keepURLs: o.KeepURLs, reply: o.ReplyTimeout})
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
		s = &server{cfg: &c.cfg, limits: &c.limits, address: address}
		s.permits.resize(c.limits.Load().MaxExchanges)
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
