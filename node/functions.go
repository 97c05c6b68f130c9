package node

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"perto"
	"perto/config"
	"perto/edge"
	"perto/functions"
	"perto/mobility"
)

// functionHost runs the functions of a Node: those of the World and those that were
// pushed. The store lists them. Missing code is pulled at the first request.
type functionHost struct {
	node      *Node
	placement string // the placement of this Node: "edge" or "origin"
	store     *mobility.Store
	puller    *mobility.Puller
	host      *functions.Host
	cache     *functions.Cache // nil when the cache belongs to another owner
	changed   func()           // called when the functions or their running versions have changed

	mu          sync.Mutex
	deployments map[functionName]*deployment
}

type functionName struct {
	service perto.Service
	path    string
}

// deployment is a function at this Node. Its counters, logs and requests continue when
// its version changes.
type deployment struct {
	functions *functionHost
	name      functionName
	stats     functions.Stats
	logs      functions.Logs

	running atomic.Pointer[running] // nil before the first load
	loading sync.Mutex              // one load at a time

	mu      sync.Mutex
	desired mobility.Function
	failed  error // why desired does not run
	gone    bool  // the function was removed and is not loaded again
}

// running is the version that handles requests.
type running struct {
	version mobility.Function
	module  *functions.Module
}

// functionsFolder is the folder for functions in a Node's data folder.
const functionsFolder = "functions"

func newFunctionHost(ctx context.Context, n *Node, placement string) (*functionHost, error) {
	cfg := n.cfg()
	r := &functionHost{node: n, placement: placement, deployments: make(map[functionName]*deployment), changed: func() {}}
	trust, err := trustOf(cfg)
	if err != nil {
		return nil, err
	}
	sc := mobility.StoreConfig{Logger: cfg.Logger, Trust: trust}
	compiled := "" // in memory only
	if storesFunctions(cfg, len(trust) > 0) {
		sc.Dir, compiled = filepath.Join(cfg.Local.Data, functionsFolder), filepath.Join(cfg.Local.Data, functionsFolder, "compiled")
	}
	if r.store, err = mobility.OpenStore(sc); err != nil {
		return nil, err
	}
	if err := r.store.Declare(declaredFunctions(&cfg.World)); err != nil {
		return nil, err
	}
	transport := &http.Transport{DialContext: cfg.Network.DialContext, DisableKeepAlives: true}
	r.puller = &mobility.Puller{Store: r.store, Sources: r.sources, Client: &http.Client{Transport: transport}}
	hc := functions.HostConfig{Logger: cfg.Logger, Cache: cfg.Code, Self: r.self()}
	if cfg.Code == nil {
		if r.cache, err = functions.NewCache(compiled); err != nil {
			return nil, err
		}
		hc.Cache = r.cache
	}
	hc.Locate = func(a netip.Addr) (perto.Place, bool) {
		geo := n.cfg().Geo
		if geo == nil {
			return perto.Place{}, false
		}
		p := geo.LookupPlace(a)
		return p, p != perto.Place{}
	}
	if r.host, err = functions.NewHost(ctx, hc); err != nil {
		return nil, err
	}
	r.measure()
	return r, nil
}

// storesFunctions reports whether a node keeps functions in its data folder. A folder
// that cannot be written is no reason to serve nothing: without trusted keys there are no
// releases to store, and the World's file has the other functions.
func storesFunctions(cfg *Config, releases bool) bool {
	if cfg.Local.Data == "" {
		return false
	}
	problem := writable(cfg.Local.Data)
	if problem == "" || releases {
		return true
	}
	cfg.Logger.Warn(problem, "effect", "states of replicas and compiled functions do not survive a restart, and there is no control socket")
	return false
}

// trustOf returns the keys that may sign releases: those of the machine and those of
// the World.
func trustOf(cfg *Config) ([]mobility.PublicKey, error) {
	trust := slices.Clone(cfg.Trust)
	for _, text := range cfg.World.Trust {
		key, err := mobility.ParsePublicKey(text)
		if err != nil {
			return nil, &perto.Error{Op: "read trusted key", Kind: perto.KindInvalid, Err: err}
		}
		trust = append(trust, key)
	}
	return trust, nil
}

// declaredFunctions returns the functions of the World's file.
func declaredFunctions(w *config.World) []mobility.Declared {
	var out []mobility.Declared
	for _, s := range w.Services {
		for _, f := range s.Functions {
			d := mobility.Declared{Service: s.Name, Path: f.Path, Module: f.Data, Settings: mobility.Settings{Activation: f.Activation, Phase: f.Phase,
				Placement: f.Placement, Config: f.Config, KV: f.KV, Wall: perto.Millis(f.Wall), Memory: f.Memory, Subrequests: f.Subrequests}}
			if digest, ok := cutDigest(f.Module); ok {
				d.Digest = digest
			}
			out = append(out, d)
		}
	}
	return out
}

func cutDigest(module string) (digest string, ok bool) {
	const prefix = "sha256:"
	if len(module) > len(prefix) && module[:len(prefix)] == prefix {
		return module[len(prefix):], true
	}
	return "", false
}

// self describes the Node to its functions.
func (r *functionHost) self() functions.Self {
	local := &r.node.cfg().Local
	pop, _ := edgeOf(&r.node.cfg().World, local.Name)
	return functions.Self{Name: local.Name, PoP: string(pop), City: local.Place.Name, Country: local.Place.Country, Placement: r.placement}
}

// sources returns the URLs from which code is pulled: the other edges of the PoP, which
// are near, then the origins.
func (r *functionHost) sources(service perto.Service) (out []string) {
	w := &r.node.cfg().World
	for _, p := range w.PoPs {
		if !slices.ContainsFunc(p.Edges, func(e config.Edge) bool { return string(e.Name) == r.node.cfg().Local.Name }) {
			continue
		}
		for _, e := range p.Edges {
			if string(e.Name) != r.node.cfg().Local.Name && len(e.Addresses) > 0 {
				at, _ := reachable(e.Addresses, r.node.cfg().Local.Addresses)
				out = append(out, "http://"+netip.AddrPortFrom(at, httpPort(w, string(e.Name))).String())
			}
		}
	}
	for _, s := range w.Services {
		if s.Name == service && r.placement == placeEdge {
			for _, o := range s.Origins {
				out = append(out, o.URL)
			}
		}
	}
	return out
}

func httpPort(w *config.World, server string) uint16 {
	for _, s := range w.Servers {
		if s.Name == server && s.HTTPPort != 0 {
			return s.HTTPPort
		}
	}
	return 80
}

// Placements of functions.
const (
	placeEdge   = "edge"
	placeOrigin = "origin"
)

// begin loads the functions that are present. run then follows changes.
func (r *functionHost) begin(ctx context.Context) uint64 {
	desired, version := r.store.Desired().LoadVersion()
	r.follow(ctx, *desired)
	return version
}

// run follows the store until the context ends.
func (r *functionHost) run(ctx context.Context, version uint64) {
	for {
		desired, v, err := r.store.Desired().Wait(ctx, version)
		if err != nil {
			return
		}
		version = v
		r.follow(ctx, *desired)
	}
}

// follow updates the deployments to the desired functions. A version with its code
// present is loaded and then replaces the older one. Missing code is pulled at once when
// an older version runs. Otherwise it is pulled at the first request.
func (r *functionHost) follow(ctx context.Context, desired []mobility.Function) {
	wanted := make(map[functionName]bool)
	var load, pull []*deployment
	r.mu.Lock()
	for _, f := range desired {
		if !r.runsHere(&f) {
			continue
		}
		name := functionName{f.Service, f.Path}
		wanted[name] = true
		s := r.deployments[name]
		if s == nil {
			s = &deployment{functions: r, name: name}
			r.deployments[name] = s
		}
		s.mu.Lock()
		s.desired, s.failed = f, nil
		s.mu.Unlock()
		switch {
		case f.Present:
			load = append(load, s)
		case s.running.Load() != nil:
			pull = append(pull, s)
		}
	}
	var gone []*deployment
	for name, s := range r.deployments {
		if !wanted[name] {
			gone = append(gone, s)
			delete(r.deployments, name)
		}
	}
	r.mu.Unlock()
	for _, s := range load {
		_, _ = s.load(ctx) // it logs its error, and fn list shows it
	}
	for _, s := range pull {
		r.node.running.Go(func() {
			if _, err := s.load(ctx); err == nil {
				r.changed()
			}
		})
	}
	r.changed()
	for _, s := range gone {
		s.end()
	}
}

// runsHere reports whether a function runs at this Node. The origin runs all functions.
// Its direct requests have passed no function of an edge.
func (r *functionHost) runsHere(f *mobility.Function) bool {
	return r.placement == placeOrigin || placementOf(f) == r.placement
}

func placementOf(f *mobility.Function) string {
	return cmp.Or(f.Settings.Placement, placeEdge)
}

// load loads the desired version and pulls its code when that is missing.
func (s *deployment) load(ctx context.Context) (*running, error) {
	for {
		f := s.wanted()
		// Without the lock, because a slow source must not delay a version that has its
		// code. Concurrent pulls of one module share a fetch.
		wasm, err := s.functions.puller.Get(ctx, f.Service, f.Digest)
		if now, current, err := s.take(ctx, &f, wasm, err); current {
			return now, err
		}
	}
}

// wanted returns the version that should run.
func (s *deployment) wanted() mobility.Function {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.desired
}

// take loads a version. err is the error of the pull. current is false when another
// version is desired by now.
func (s *deployment) take(ctx context.Context, f *mobility.Function, wasm []byte, err error) (_ *running, current bool, _ error) {
	s.loading.Lock()
	defer s.loading.Unlock()
	if desired := s.wanted(); !sameCode(&desired, f) {
		return nil, false, nil
	}
	s.mu.Lock()
	gone := s.gone
	s.mu.Unlock()
	if gone {
		return nil, true, errGone
	}
	if now := s.running.Load(); now != nil && sameCode(&now.version, f) {
		return now, true, nil
	}
	var next *running
	if err == nil {
		next, err = s.compile(ctx, f, wasm)
	}
	log := s.functions.node.cfg().Logger.With("service", f.Service, "path", f.Path, "version", f.Version)
	s.mu.Lock()
	if sameCode(&s.desired, f) {
		s.failed = err
	}
	s.mu.Unlock()
	if err != nil {
		log.Error("function does not run", "err", err)
		return nil, true, err
	}
	old := s.running.Swap(next)
	log.Info("function runs", "digest", f.Digest)
	if old != nil {
		old.module.Close()
	}
	return next, true, nil
}

// errGone is the error of a load when the function was removed.
var errGone = errors.New("the function was removed")

// end ends the instances of a removed function. A request that already has the
// deployment must not load the function again.
func (s *deployment) end() {
	s.mu.Lock()
	s.gone = true
	s.mu.Unlock()
	s.loading.Lock()
	defer s.loading.Unlock()
	if old := s.running.Swap(nil); old != nil {
		old.module.Close()
	}
}

// sameCode reports whether two versions are the same release.
func sameCode(a, b *mobility.Function) bool {
	return a.Version == b.Version && a.Digest == b.Digest && a.Source == b.Source
}

func (s *deployment) compile(ctx context.Context, f *mobility.Function, wasm []byte) (*running, error) {
	activation := functions.Pooled
	if f.Settings.Activation != "" {
		var err error
		if activation, err = functions.ParseActivation(f.Settings.Activation); err != nil {
			return nil, err
		}
	}
	m, err := s.functions.host.Load(ctx, string(f.Service)+f.Path, wasm, functions.ModuleOptions{Activation: activation, Config: []byte(f.Settings.Config), KV: f.Settings.KV,
		Limits: functions.Limits{Wall: f.Settings.Wall.Duration(), Memory: f.Settings.Memory, Subrequests: f.Settings.Subrequests}, Stats: &s.stats, Logs: &s.logs})
	if err != nil {
		return nil, err
	}
	return &running{version: *f, module: m}, nil
}

// handle runs the function for a request. When it was removed, next handles the request.
func (s *deployment) handle(ctx context.Context, q *functions.Request, next functions.Next) (*functions.Response, error) {
	now := s.running.Load()
	if now == nil { // code on demand: the first request waits for it
		var err error
		if now, err = s.load(ctx); errors.Is(err, errGone) {
			return next(q) // as if there were no function
		} else if err != nil {
			return nil, &edge.FunctionError{Status: http.StatusServiceUnavailable, Detail: "fn-missing", Err: err}
		}
		s.functions.changed()
	}
	a, err := now.module.Handle(ctx, q, next)
	if err == nil {
		return a, nil
	}
	f := &edge.FunctionError{Status: http.StatusInternalServerError, Err: err}
	switch {
	case errors.Is(err, functions.ErrDeadline):
		f.Status, f.Detail = http.StatusGatewayTimeout, "fn-deadline"
	case errors.Is(err, functions.ErrBusy):
		f.Status, f.Detail = http.StatusServiceUnavailable, "fn-busy"
	case errors.Is(err, functions.ErrResponse):
		f.Detail = "fn-answer-too-large"
	case errors.Is(err, functions.ErrTrap):
		f.Detail = "fn-crash"
	default:
		return nil, err // an error of next
	}
	s.logs.Add(q.Source.Addr(), slog.LevelError, err.Error())
	return nil, f
}

// ofService returns the functions of a service for its edge site.
func (r *functionHost) ofService(service perto.Service) []edge.Function {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []edge.Function
	for _, s := range r.deployments {
		if s.name.service != service {
			continue
		}
		f := s.wanted()
		if now := s.running.Load(); now != nil {
			f = now.version
		}
		ef := edge.Function{Path: f.Path, Version: versionText(&f), Handle: s.handleAtEdge}
		if f.Settings.Phase == "origin" {
			ef.Phase = edge.OriginPhase
		}
		out = append(out, ef)
	}
	slices.SortFunc(out, func(a, b edge.Function) int { return strings.Compare(a.Path, b.Path) })
	return out
}

// versionText formats a version: its number and the beginning of its digest.
func versionText(f *mobility.Function) string {
	return strconv.FormatUint(f.Version, 10) + "-" + f.Digest[:min(len(f.Digest), 12)]
}

// handleAtEdge is handle with the edge's types, which have the same fields.
func (s *deployment) handleAtEdge(ctx context.Context, q *edge.FunctionRequest, next func(*edge.FunctionRequest) (*edge.FunctionResponse, error)) (*edge.FunctionResponse, error) {
	a, err := s.handle(ctx, (*functions.Request)(q), func(q *functions.Request) (*functions.Response, error) {
		a, err := next((*edge.FunctionRequest)(q))
		return (*functions.Response)(a), err
	})
	return (*edge.FunctionResponse)(a), err
}

// close ends all instances.
func (r *functionHost) close() error {
	err := r.host.Close()
	if r.cache != nil {
		err = errors.Join(err, r.cache.Close())
	}
	return err
}
