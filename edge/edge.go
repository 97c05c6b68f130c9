package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"perto"
	"perto/edge/cache"
	"perto/edge/fetch"
	"perto/internal/netx"
	"perto/internal/snapshot"
	"perto/metrics"
)

// Config has the identity, the network and the limits of an edge. Zero values mean the
// defaults.
type Config struct {
	Name    perto.Replica // "gru-1"; it appears as "perto-gru-1" in Via, Cache-Status and CDN-Loop
	Network netx.Network
	Listen  []string // addresses; default ":80"

	Limits

	// Module returns the code of a function by its digest, for downloads under
	// [ModulePath]. When nil, there are no downloads.
	Module func(digest string) ([]byte, bool)
	// Accepted is called for each new connection with the address that the client used and
	// the client's address. It must not block. It may be nil.
	Accepted func(local, client net.Addr)

	Logger  *slog.Logger      // default: no log
	Metrics *metrics.Registry // default: a new registry
}

func (c *Config) defaults() {
	if len(c.Listen) == 0 {
		c.Listen = []string{":80"}
	}
	c.Limits.defaults()
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = metrics.New()
	}
}

// Edge is one edge server. Use [New].
type Edge struct {
	cfg     Config // without the limits
	limits  atomic.Pointer[Limits]
	name    string // "perto-gru-1"
	timing  string // the Server-Timing entry that names the edge
	sites   snapshot.Var[table]
	cache   *cache.Cache
	client  *fetch.Client
	fetcher *fetch.Fetcher
	log     recentRequests
	reports reports
	m       edgeMetrics

	listening atomic.Bool
	draining  atomic.Bool
	load      loadMeter
	pieces    sync.Pool // *[]byte of pieceBytes, for replies that are not stored

	base   context.Context // of fetches; it ends when the edge aborts them
	cancel context.CancelFunc

	mu        sync.Mutex
	conns     map[*conn]struct{}
	listeners []net.Listener
	stop      chan struct{} // closed by Close
	stopped   chan struct{} // closed when Run returns; nil before it
	serving   sync.WaitGroup
}

// New returns an edge without sites that does not listen yet.
func New(cfg Config) (*Edge, error) {
	if cfg.Name == "" || cfg.Network == nil {
		return nil, errors.New("edge: name or network missing")
	}
	cfg.defaults()
	limits := cfg.Limits
	cfg.Limits = Limits{}
	e := &Edge{cfg: cfg, name: "perto-" + string(cfg.Name), timing: fmt.Sprintf("edge;desc=%q", string(cfg.Name)),
		conns: make(map[*conn]struct{}), stop: make(chan struct{})}
	e.base, e.cancel = context.WithCancel(context.Background())
	e.limits.Store(&limits)
	e.cache = cache.New(limits.ofCache())
	e.client = fetch.NewClient(fetch.Config{Name: e.name, Network: cfg.Network, Limits: limits.Origin, Changed: e.originChanged})
	e.fetcher = fetch.NewFetcher(e.cache)
	e.m.make(cfg.Metrics, e)
	e.sites.Store(&table{})
	return e, nil
}

// SetSites replaces the sites. Running requests finish with the old sites. Stored
// replies stay.
func (e *Edge) SetSites(s *Sites) {
	t := &table{hosts: make(map[string]*route), wild: make(map[string]*route)}
	for i := range s.list {
		site := &s.list[i]
		up, err := e.client.Upstream(site.Origins)
		if err != nil {
			e.cfg.Logger.Error("site has no usable origin", "service", site.Service, "err", err)
			continue
		}
		r := &route{site: site, upstream: up, counts: e.m.services.responses(site.Service)}
		for _, h := range site.hosts() {
			t.add(h, r)
		}
	}
	if err := e.client.SetChecks(s.checks()); err != nil {
		e.cfg.Logger.Error("origins are not checked", "err", err)
	}
	old := e.sites.Load()
	version := e.sites.Store(t)
	for _, tag := range outdated(old, t) {
		e.PurgeTag(tag)
	}
	e.cfg.Logger.Debug("sites set", "sites", len(s.list), "hosts", len(t.hosts)+len(t.wild), "version", version)
}

// outdated returns the tags of replies made by functions of the origin phase that have
// changed or were removed.
func outdated(old, now *table) (tags []string) {
	for host, r := range old.all() {
		if host != string(r.site.Service) {
			continue // an alias of the site
		}
		for i := range r.site.Functions {
			f := &r.site.Functions[i]
			if f.Phase != OriginPhase {
				continue
			}
			n := now.hosts[host]
			if n == nil {
				n = now.wild[host]
			}
			if n == nil || !slices.ContainsFunc(n.site.Functions, func(g Function) bool {
				return g.Phase == OriginPhase && g.Path == f.Path && g.Version == f.Version
			}) {
				tags = append(tags, functionTag(r.site, f))
			}
		}
	}
	return tags
}

// Start opens the listeners, and Run serves them. When an address cannot be opened,
// Start closes all listeners and returns an error.
func (e *Edge) Start(ctx context.Context) error {
	for _, address := range e.cfg.Listen {
		l, err := e.cfg.Network.Listen(ctx, "tcp", address)
		if err != nil {
			e.closeListeners()
			return &perto.Error{Op: "serve HTTP on", Path: address, Kind: perto.KindUnavailable, Err: err,
				Hint: "another process may hold the port; set http = [...] in the node block to listen elsewhere"}
		}
		e.mu.Lock()
		e.listeners = append(e.listeners, l)
		e.mu.Unlock()
	}
	e.listening.Store(true)
	e.cfg.Logger.Info("edge listens", "name", e.cfg.Name, "addresses", e.cfg.Listen)
	return nil
}

// Run serves until the context ends or Close is called. Then it lets running requests
// finish, up to the drain time. It calls Start if Start was not called, and returns an
// error only if Start failed or Run was called before.
func (e *Edge) Run(ctx context.Context) error {
	e.mu.Lock()
	if e.stopped != nil {
		e.mu.Unlock()
		return errors.New("edge: Run was called before")
	}
	e.stopped = make(chan struct{})
	started := len(e.listeners) > 0
	e.mu.Unlock()
	defer close(e.stopped)
	defer e.cancel()
	if !started {
		if err := e.Start(ctx); err != nil {
			return err
		}
	}
	e.mu.Lock()
	listeners := e.listeners
	e.mu.Unlock()
	var accepting, checking sync.WaitGroup
	checks, endChecks := context.WithCancel(e.base)
	checking.Go(func() { e.client.RunChecks(checks) })
	for _, l := range listeners {
		accepting.Go(func() { e.accept(l) })
	}
	select {
	case <-ctx.Done():
	case <-e.stop:
	}
	e.listening.Store(false)
	e.draining.Store(true)
	e.closeListeners()
	accepting.Wait()
	e.drain()
	endChecks()
	checking.Wait()
	return nil
}

// Close ends Run and waits for it.
func (e *Edge) Close() error {
	e.mu.Lock()
	select {
	case <-e.stop:
	default:
		close(e.stop)
	}
	stopped := e.stopped
	e.mu.Unlock()
	if stopped != nil {
		<-stopped
	} else {
		e.listening.Store(false)
		e.closeListeners() // Start was called, but not Run
	}
	e.client.Close()
	return nil
}

func (e *Edge) closeListeners() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, l := range e.listeners {
		l.Close()
	}
	e.listeners = nil
}

// drain lets running requests and fills finish. After the drain time it aborts the
// rest.
func (e *Edge) drain() {
	e.mu.Lock()
	for c := range e.conns {
		c.drain()
	}
	e.mu.Unlock()
	cut := time.AfterFunc(e.limits.Load().DrainTimeout, func() {
		e.cancel()
		e.client.Abort()
		e.mu.Lock()
		defer e.mu.Unlock()
		for c := range e.conns {
			e.reached(limitDrain)
			c.nc.Close()
		}
	})
	e.serving.Wait()
	e.fetcher.Wait()
	cut.Stop()
	e.client.Close()
	e.cfg.Logger.Info("edge stopped", "name", e.cfg.Name)
}

// maxAcceptPause is the maximum pause of accepting connections when the process has no
// file descriptors left. Finished requests free some.
const maxAcceptPause = time.Second

// accept serves the connections of one listener until it is closed.
func (e *Edge) accept(l net.Listener) {
	pause := time.Duration(0)
	for {
		nc, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || e.draining.Load() {
				return
			}
			pause = min(max(5*time.Millisecond, 2*pause), maxAcceptPause)
			e.m.acceptErrors.Inc()
			select {
			case <-time.After(pause):
				continue
			case <-e.stop:
				return
			}
		}
		pause = 0
		c := e.admit(nc)
		if c == nil {
			e.m.turnedAway.Inc()
			e.reached(limitConnections)
			nc.Close()
			continue
		}
		if e.cfg.Accepted != nil {
			e.cfg.Accepted(nc.LocalAddr(), nc.RemoteAddr())
		}
		e.serving.Go(c.serve)
	}
}

// admit registers a connection, unless there are too many.
func (e *Edge) admit(nc net.Conn) *conn {
	c := newConn(e, nc)
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.conns) >= e.limits.Load().MaxConns {
		return nil
	}
	e.conns[c] = struct{}{}
	return c
}

func (e *Edge) leave(c *conn) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.conns, c)
}

// Addrs returns the addresses that the edge listens on. It returns none before Start.
func (e *Edge) Addrs() []net.Addr {
	if !e.listening.Load() {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make([]net.Addr, 0, len(e.listeners))
	for _, l := range e.listeners {
		out = append(out, l.Addr())
	}
	return out
}

// Listening reports whether the edge accepts connections, for heartbeats.
func (e *Edge) Listening() bool { return e.listening.Load() }

// CacheStats returns the counts and sizes of the cache.
func (e *Edge) CacheStats() cache.Stats { return e.cache.Stats() }

// originChanged logs that an origin became unwell or well again.
func (e *Edge) originChanged(h fetch.Health) {
	if h.Well() {
		e.cfg.Logger.Info("origin is well again", "origin", h.Origin)
		return
	}
	e.cfg.Logger.Warn("origin is unwell", "origin", h.Origin, "reason", h.String())
}

// Origins returns the state of the origin servers.
func (e *Edge) Origins() []fetch.Health { return e.client.Health() }
