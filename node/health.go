package node

import (
	"context"
	"net/netip"
	"path/filepath"
	"time"

	"perto"
	"perto/config"
	"perto/edge"
	"perto/edge/fetch"
	"perto/replicas"
)

// stateFile is what the registry keeps in a node's data folder.
const stateFile = "replicas.state"

// newRegistry builds the registry of a node that serves DNS. Without keys nobody
// can report, and probes alone decide.
func newRegistry(cfg *Config, n *Node) *replicas.Registry {
	rc := replicas.RegistryConfig{Network: cfg.Network, Keys: cfg.Keys, Sites: sitesOf(&cfg.World), Declared: declaredOf(&cfg.World),
		Probes: probesOf(&cfg.World, len(cfg.Keys) == 0), Logger: cfg.Logger, Metrics: n.metrics}
	if len(cfg.Keys) > 0 {
		rc.Listen = cfg.Local.Heartbeat
		for _, s := range heartbeatTargets(&cfg.World) {
			if s.name != cfg.Local.Name {
				rc.Witnesses = append(rc.Witnesses, s.at)
			}
		}
	}
	if cfg.Local.Data != "" {
		rc.StateFile = filepath.Join(cfg.Local.Data, stateFile)
	}
	return replicas.NewRegistry(rc)
}

// fallbackInterval is how often an edge is asked when nothing else is known of
// it.
const fallbackInterval = 2 * time.Second

// target is where a DNS node hears heartbeats.
type target struct {
	name string
	at   netip.AddrPort
}

func heartbeatTargets(w *config.World) []target {
	var out []target
	for _, s := range w.Servers {
		if s.Roles.Has(config.RoleDNS) && len(s.Addresses) > 0 {
			out = append(out, target{s.Name, netip.AddrPortFrom(s.Addresses[0], s.HeartbeatPort)})
		}
	}
	return out
}

// probesOf returns the probes of each edge: those of the services that it
// serves. With fallback, an edge without any gets a plain TCP one.
func probesOf(w *config.World, fallback bool) map[perto.Replica][]replicas.Probe {
	out := make(map[perto.Replica][]replicas.Probe)
	for _, pop := range w.PoPs {
		for _, e := range pop.Edges {
			for i := range w.Services {
				s := &w.Services[i]
				if !serves(s, pop.Name) {
					continue
				}
				for _, p := range s.Probes {
					out[e.Name] = append(out[e.Name], replicas.Probe{Kind: p.Kind, Port: p.Port, Path: p.Path, Host: string(s.Name), Name: p.Name,
						Interval: p.Interval, Timeout: p.Timeout, Up: p.Up, Down: p.Down})
				}
			}
			if fallback && len(out[e.Name]) == 0 {
				out[e.Name] = []replicas.Probe{replicas.Probe{Kind: "tcp", Interval: fallbackInterval, Timeout: 2 * time.Second, Up: 2, Down: 3}}
			}
		}
	}
	return out
}

func serves(s *config.Service, pop perto.PoP) bool {
	if len(s.Map.PoPs) == 0 {
		return true
	}
	for _, p := range s.Map.PoPs {
		if p == pop {
			return true
		}
	}
	return false
}

// newEdge builds the edge of a node, with the services that its PoP serves.
func newEdge(cfg *Config, n *Node) (*edge.Edge, error) {
	pop, capacity := edgeOf(&cfg.World, cfg.Local.Name)
	e, err := edge.New(edge.Config{Name: perto.Replica(cfg.Local.Name), PoP: pop, Network: cfg.Network, Listen: cfg.Local.HTTP,
		CacheBytes: int64(cfg.Local.CacheBytes), CapacityBytes: float64(capacity) / 8, Logger: cfg.Logger, Metrics: n.metrics})
	if err != nil {
		return nil, err
	}
	var sites []edge.Site
	for i := range cfg.World.Services {
		s := &cfg.World.Services[i]
		if len(s.Origins) == 0 || !serves(s, pop) {
			continue
		}
		site := edge.Site{Service: s.Name, Hosts: s.Aliases}
		for _, o := range s.Origins {
			site.Origins = append(site.Origins, fetch.Origin{URL: o.URL, Host: o.Host})
		}
		sites = append(sites, site)
	}
	set, err := edge.NewSites(sites...)
	if err != nil {
		return nil, &perto.Error{Op: "serve sites on", Path: cfg.Local.Name, Kind: perto.KindInvalid, Err: err}
	}
	e.SetSites(set)
	return e, nil
}

// edgeOf returns the PoP and the capacity, in bits per second, of an edge.
func edgeOf(w *config.World, name string) (perto.PoP, uint64) {
	for _, p := range w.PoPs {
		for _, e := range p.Edges {
			if string(e.Name) == name {
				return p.Name, e.Capacity
			}
		}
	}
	return "", 0
}

// newSender opens the heartbeats of an edge, or returns nil when there is nobody
// to report to or no key to sign with.
func newSender(ctx context.Context, cfg *Config, n *Node) (*replicas.Sender, error) {
	targets := heartbeatTargets(&cfg.World)
	if len(targets) == 0 || len(cfg.Keys) == 0 {
		return nil, nil
	}
	_, capacity := edgeOf(&cfg.World, cfg.Local.Name)
	sc := replicas.SenderConfig{Network: cfg.Network, Replica: perto.Replica(cfg.Local.Name), Keys: cfg.Keys, Logger: cfg.Logger,
		Status: func() replicas.Status {
			return replicas.Status{Serving: n.edge.Listening(), Load: n.edge.Load(), Capacity: capacity}
		}}
	for _, t := range targets {
		sc.Targets = append(sc.Targets, t.at)
	}
	return replicas.NewSender(ctx, sc)
}
