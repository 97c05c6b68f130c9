package node

import (
	"context"
	"sync"

	"perto"
	"perto/edge"
	"perto/edge/fetch"
)

// newEdge builds the edge of a node, with the services that its PoP serves and their
// functions.
func newEdge(cfg *Config, n *Node) (*edge.Edge, error) {
	room, err := newFunctionRoom(context.Background(), n, placeEdge)
	if err != nil {
		return nil, err
	}
	n.functions = room
	pop, capacity := edgeOf(&cfg.World, cfg.Local.Name)
	e, err := edge.New(edge.Config{Name: perto.Replica(cfg.Local.Name), PoP: pop, Network: cfg.Network, Listen: cfg.Local.HTTP,
		CacheBytes: int64(cfg.Local.CacheBytes), CapacityBytes: float64(capacity) / 8, Module: room.store.Module, Logger: cfg.Logger, Metrics: n.metrics})
	if err != nil {
		return nil, err
	}
	if err := setSites(e, cfg, pop, nil); err != nil {
		return nil, err
	}
	var setting sync.Mutex // what is set last is what is true last
	room.changed = func() {
		setting.Lock()
		defer setting.Unlock()
		if err := setSites(e, cfg, pop, room); err != nil {
			cfg.Logger.Error("functions cannot be set", "err", err)
		}
	}
	return e, nil
}

// setSites gives an edge the services that its PoP serves.
func setSites(e *edge.Edge, cfg *Config, pop perto.PoP, functions *functionRoom) error {
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
		if functions != nil {
			site.Functions = functions.ofService(s.Name)
		}
		sites = append(sites, site)
	}
	set, err := edge.NewSites(sites...)
	if err != nil {
		return &perto.Error{Op: "serve sites on", Path: cfg.Local.Name, Kind: perto.KindInvalid, Err: err}
	}
	e.SetSites(set)
	return nil
}
