package node

import (
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"perto"
	"perto/config"
	"perto/edge/fetch"
	"perto/internal/api"
	"perto/mapping"
	"perto/replicas"
)

// Status is the status of a Node.
type Status struct {
	Name     string           `json:"name"`
	Roles    []string         `json:"roles"`
	Started  time.Time        `json:"started"`
	Loaded   time.Time        `json:"loaded"`        // when the current configuration took effect
	DNS      []string         `json:"dns,omitempty"` // addresses of the DNS sockets
	Zones    []ZoneStatus     `json:"zones,omitempty"`
	Services []ServiceStatus  `json:"services,omitempty"`
	Replicas []ReplicaStatus  `json:"replicas"`
	Events   []replicas.Event `json:"events,omitempty"` // the last changes of replicas, oldest first
	Edge     *EdgeStatus      `json:"edge,omitempty"`
	// Learned has the resolver groups whose clients lose most or gain most, the costly ones
	// first. It is for the first service.
	Learned []mapping.LearnedGroup `json:"learned,omitempty"`
	// Leaving is the time until which an edge that ends serves clients with cached answers.
	Leaving time.Time `json:"leaving_until,omitzero"`
	// Config is the digest of the configuration that all machines share.
	Config replicas.Digest `json:"config"`
	// Isolated is set on a name server while no replica gives a sign of life.
	Isolated bool     `json:"isolated,omitempty"`
	Counters Counters `json:"counters"`
	// Origins is the state of the origin servers at all edges of a lab. A Node alone has
	// it in Edge.
	Origins []OriginStatus `json:"origins,omitempty"`
}

// OriginStatus is the state of an origin server at several edges.
type OriginStatus struct {
	Origin  string          `json:"origin"` // "host:port"
	State   string          `json:"state"`  // "well", or the reason at the first of the edges in Failing
	Failing []perto.Replica `json:"failing,omitempty"`
}

// EdgeStatus is the status of an edge.
type EdgeStatus struct {
	Listening bool    `json:"listening"`
	Load      float64 `json:"load"`
	Objects   int64   `json:"objects"` // stored
	Bytes     int64   `json:"bytes"`   // stored
	// Origins is the state of the origin servers.
	Origins []fetch.Health `json:"origins,omitempty"`
	// Rejections are the name servers that reject the edge's heartbeats.
	Rejections []replicas.Rejection `json:"rejections,omitempty"`
	// NameServers are the name servers to which the edge reports.
	NameServers []NameServerStatus `json:"name_servers,omitempty"`
}

// NameServerStatus is a name server as an edge sees it.
type NameServerStatus struct {
	Name string `json:"name"`
	replicas.Reached
}

// ZoneStatus is the status of a zone.
type ZoneStatus struct {
	Name   string `json:"name"`
	Serial uint32 `json:"serial"`
	Names  int    `json:"names"`
}

// ServiceStatus is the status of a service's answers.
type ServiceStatus struct {
	Name    perto.Service    `json:"name"`
	Classes int              `json:"classes"`
	Answers []mapping.Answer `json:"answers"`
}

// ReplicaStatus is the state of an edge in this Node's registry.
type ReplicaStatus struct {
	Name      perto.Replica  `json:"name"`
	PoP       perto.PoP      `json:"pop"`
	Place     string         `json:"place"`
	Provider  string         `json:"provider,omitempty"` // of the PoP's machines
	Addresses []netip.Addr   `json:"addresses"`
	State     replicas.State `json:"state"`
	Reason    string         `json:"reason"`
	Since     time.Time      `json:"since"`
	HeldUntil time.Time      `json:"held_until,omitzero"` // the end of a hold-down
	// Config is the digest of its configuration.
	Config replicas.Digest `json:"config,omitzero"`
	Load   float64         `json:"load"`
	Admin  string          `json:"admin,omitempty"`
}

var _ api.Source = (*Node)(nil)

// Status returns a *Status.
func (n *Node) Status() any { return n.status() }

func (n *Node) status() *Status {
	s := &Status{Name: n.cfg().Local.Name, Roles: n.cfg().Local.Roles.Names(), Started: n.started, Loaded: time.Unix(0, n.loaded.Load()), Replicas: []ReplicaStatus{}, Counters: n.Counters()}
	s.Config = n.cfg().digest
	if until := n.leaving.Load(); until != nil {
		s.Leaving = *until
	}
	if n.edge != nil {
		c := n.edge.CacheStats()
		s.Edge = &EdgeStatus{Listening: n.edge.Listening(), Load: n.edge.Load(), Objects: int64(c.Objects), Bytes: int64(c.Bytes), Origins: n.edge.Origins()}
		if n.sender != nil {
			s.Edge.Rejections = n.sender.Rejections()
			s.Edge.NameServers = n.nameServers()
		}
	}
	if n.dns == nil {
		if n.edge != nil {
			s.Replicas = append(s.Replicas, n.ownStatus())
		}
		return s
	}
	s.Replicas, s.Events, s.Isolated = replicaStatus(n.Fleet()), n.registry.Events(), n.Fleet().Isolated
	for _, a := range n.dns.Addrs() {
		s.DNS = append(s.DNS, a.String())
	}
	s.Learned = n.learning.costly()
	view := n.dns.View()
	if view == nil {
		return s
	}
	for i := range view.Zones().Len() {
		z := view.Zones().At(i)
		s.Zones = append(s.Zones, ZoneStatus{Name: z.Name, Serial: z.Serial, Names: len(z.Names())})
	}
	for _, svc := range n.cfg().World.Services {
		if a, err := view.Answers(string(svc.Name)); err == nil {
			s.Services = append(s.Services, ServiceStatus{Name: svc.Name, Classes: a.Map.Classes(), Answers: a.Current()})
		}
	}
	return s
}

// nameServers returns the name servers to which the edge reports, with their names.
func (n *Node) nameServers() (out []NameServerStatus) {
	cfg := n.cfg()
	targets := heartbeatTargets(&cfg.World, cfg.Local.Addresses)
	for _, r := range n.sender.Reached() {
		s := NameServerStatus{Reached: r}
		if i := slices.IndexFunc(targets, func(t target) bool { return t.at == r.Target }); i >= 0 {
			s.Name = targets[i].name
		}
		out = append(out, s)
	}
	return out
}

// ownStatus returns the node's edge as a node without a registry sees it: name servers
// decide about it, and may decide otherwise.
func (n *Node) ownStatus() ReplicaStatus {
	cfg := n.cfg()
	pop, _ := edgeOf(&cfg.World, cfg.Local.Name)
	r := ReplicaStatus{Name: perto.Replica(cfg.Local.Name), PoP: pop, Place: cfg.Local.Place.String(), Addresses: cfg.Local.Addresses,
		State: replicas.StateUp, Reason: "it listens; the name servers decide", Since: n.started, Load: n.edge.Load(), Config: cfg.digest}
	if i := slices.IndexFunc(cfg.World.PoPs, func(p config.PoP) bool { return p.Name == pop }); i >= 0 {
		r.Provider = cfg.World.PoPs[i].Provider
	}
	switch {
	case !n.edge.Listening():
		r.State, r.Reason = replicas.StateDown, "it does not listen"
	case n.leaving.Load() != nil:
		r.State, r.Reason = replicas.StateDraining, "it leaves"
	}
	return r
}

func replicaStatus(f *replicas.Fleet) []ReplicaStatus {
	out := []ReplicaStatus{}
	for _, m := range f.Members {
		r := ReplicaStatus{Name: m.Name, PoP: m.PoP, Addresses: m.Addresses, State: m.State, Reason: m.Reason, Since: m.Since, HeldUntil: m.HeldUntil, Config: m.World, Load: m.Load, Admin: m.Admin}
		if i := slices.IndexFunc(f.Sites, func(s replicas.Site) bool { return s.Name == m.PoP }); i >= 0 {
			r.Place, r.Provider = f.Sites[i].Place.String(), f.Sites[i].Provider
		}
		out = append(out, r)
	}
	return out
}

// Live returns nil while the Node serves. It is for load balancers and service managers: a
// Node with problems elsewhere, for example a dead origin, is alive.
func (n *Node) Live() error {
	if n.edge != nil && !n.edge.Listening() {
		return errors.New("the edge does not listen")
	}
	return nil
}

// Metrics serves the Node's metrics.
func (n *Node) Metrics() http.Handler { return n.metrics.Handler() }
