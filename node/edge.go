package node

import (
	"context"

	"perto"
	"perto/edge"
	"perto/edge/fetch"
)

// newEdge builds the edge of a node, with the services that its PoP serves and their
// functions.
func (n *Node) newEdge() error {
	cfg := n.cfg()
	room, err := newFunctionRoom(context.Background(), n, placeEdge)
	if err != nil {
		return err
	}
	n.functions = room
	pop, capacity := edgeOf(&cfg.World, cfg.Local.Name)
	n.edge, err = edge.New(edge.Config{Name: perto.Replica(cfg.Local.Name), PoP: pop, Network: cfg.Network, Listen: cfg.Local.HTTP,
		CacheBytes: int64(cfg.Local.CacheBytes), CapacityBytes: float64(capacity) / 8, Module: room.store.Module, Logger: cfg.Logger, Metrics: n.metrics})
	if err != nil {
		return err
	}
	sites, err := sitesOfEdge(cfg, nil)
	if err != nil {
		return err
	}
	n.edge.SetSites(sites)
	room.changed = n.setSites
	return nil
}

// setSites gives the edge the services that its PoP serves now, with their functions.
func (n *Node) setSites() {
	n.setting.Lock() // the sites that are set last are the newest
	defer n.setting.Unlock()
	sites, err := sitesOfEdge(n.cfg(), n.functions)
	if err != nil {
		n.cfg().Logger.Error("the edge keeps its old sites", "err", err)
		return
	}
	n.edge.SetSites(sites)
}

// sitesOfEdge returns the services that an edge's PoP serves. functions may be nil.
func sitesOfEdge(cfg *Config, functions *functionRoom) (*edge.Sites, error) {
	pop, _ := edgeOf(&cfg.World, cfg.Local.Name)
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
		site.Cookies, _ = edge.ParseCookies(s.Cookies)
		for _, p := range s.Paths {
			rule := edge.PathRule{Path: p.Path}
			rule.Cookies, _ = edge.ParseCookies(p.Cookies)
			site.Paths = append(site.Paths, rule)
		}
		if functions != nil {
			site.Functions = functions.ofService(s.Name)
		}
		sites = append(sites, site)
	}
	set, err := edge.NewSites(sites...)
	if err != nil {
		return nil, &perto.Error{Op: "serve sites on", Path: cfg.Local.Name, Kind: perto.KindInvalid, Err: err}
	}
	return set, nil
}
