package node

import (
	"context"
	"slices"

	"perto"
	"perto/config"
	"perto/dnsserver/zone"
	"perto/edge"
	"perto/edge/fetch"
)

// newEdge builds the edge of a node, with the services of its PoP and their functions.
func (n *Node) newEdge() error {
	cfg := n.cfg()
	host, err := newFunctionHost(context.Background(), n, placeEdge)
	if err != nil {
		return err
	}
	n.functions = host
	_, capacity := edgeOf(&cfg.World, cfg.Local.Name)
	n.edge, err = edge.New(edgeConfig(cfg, capacity, host, n))
	if err != nil {
		return err
	}
	n.hosts = zoneHosts(&cfg.World)
	sites, err := sitesOfEdge(cfg, n.hosts, nil)
	if err != nil {
		return err
	}
	n.edge.SetSites(sites)
	host.changed = n.setSites
	return nil
}

// setSites gives the edge the current services of its PoP, with their functions.
func (n *Node) setSites() {
	n.setting.Lock() // so that the newest sites are set last
	defer n.setting.Unlock()
	sites, err := sitesOfEdge(n.cfg(), n.hosts, n.functions)
	if err != nil {
		n.cfg().Logger.Error("the edge keeps its old sites", "err", err)
		return
	}
	n.edge.SetSites(sites)
}

// edgeConfig returns the configuration of an edge.
func edgeConfig(cfg *Config, capacity uint64, host *functionHost, n *Node) edge.Config {
	return edge.Config{Name: perto.Replica(cfg.Local.Name), Network: cfg.Network, Listen: cfg.Local.HTTP,
		Limits: edgeLimits(&cfg.Local, capacity), Module: host.store.Module, Accepted: n.acceptedHook(), Logger: cfg.Logger, Metrics: n.metrics}
}

// edgeLimits returns the limits of an edge. capacity is in bits a second.
func edgeLimits(local *config.Local, capacity uint64) edge.Limits {
	l := &local.Limits
	return edge.Limits{CacheBytes: int64(local.CacheBytes), CapacityBytes: float64(capacity) / 8,
		MaxConns: l.Connections, HeadTimeout: l.Head, IdleTimeout: l.Idle, StallTimeout: l.Stall, DrainTimeout: l.Drain,
		UploadRate: int64(l.UploadRate), MaxObjectBytes: int64(l.Object), RangeFillBytes: int64(l.RangeFill), MaxVariants: l.Variants,
		MaxFunctionRequestBytes: int64(l.FunctionRequest), MaxFunctionResponseBytes: int64(l.FunctionReply), StaleAfter: l.StaleAfter,
		Origin: fetch.Limits{ConnectTimeout: l.OriginConnect, ReplyTimeout: l.OriginFirstByte, StallTimeout: l.OriginStall,
			IdleTimeout: l.OriginIdle, QueueTimeout: l.OriginQueue, MaxExchanges: l.OriginExchanges, MaxIdle: l.OriginIdleConnections}}
}

// zoneHosts returns the names in zones that lead to services by CNAME, also with "*".
// Their clients reach the edges too. Services and aliases are not among them.
func zoneHosts(w *config.World) map[perto.Service][]string {
	out := make(map[perto.Service][]string)
	declared := make(map[string]bool)
	for i := range w.Services {
		declared[string(w.Services[i].Name)] = true
		for _, a := range w.Services[i].Aliases {
			declared[a] = true
		}
	}
	for i := range w.Zones {
		cfg, services := zoneConfig(w, &w.Zones[i])
		if len(services) == 0 || len(cfg.Data) == 0 {
			continue
		}
		z, err := zone.Build(cfg)
		if err != nil {
			continue // the node that serves the zone reports it
		}
		for _, name := range z.Names() {
			if k := z.Service(name); k >= 0 && !declared[name] {
				declared[name] = true
				s := w.Services[services[k]].Name
				out[s] = append(out[s], name)
			}
		}
	}
	return out
}

// sitesOfEdge returns the services of an edge's PoP. hosts is the result of zoneHosts.
// functions may be nil.
func sitesOfEdge(cfg *Config, hosts map[perto.Service][]string, functions *functionHost) (*edge.Sites, error) {
	pop, _ := edgeOf(&cfg.World, cfg.Local.Name)
	var sites []edge.Site
	for i := range cfg.World.Services {
		s := &cfg.World.Services[i]
		if len(s.Origins) == 0 || !serves(s, pop) {
			continue
		}
		site := edge.Site{Service: s.Name, Hosts: slices.Concat(s.Aliases, hosts[s.Name])}
		for _, o := range s.Origins {
			site.Origins = append(site.Origins, fetch.Origin{URL: o.URL, Host: o.Host, Health: o.Health, Forwarded: o.Forwarded, KeepURLs: o.KeepURLs, ReplyTimeout: o.FirstByte})
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
