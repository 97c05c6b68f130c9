package node

import (
	"context"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"perto"
	"perto/config"
	"perto/replicas"
)

// stateFile is the registry's file in a node's data folder.
const stateFile = "replicas.state"

// newRegistry builds the registry of a node that serves DNS and opens its heartbeat
// port. Without keys there are no heartbeats, and only probes decide.
func newRegistry(ctx context.Context, cfg *Config, n *Node) (*replicas.Registry, error) {
	rc := replicas.Config{Network: cfg.Network, Listen: cfg.Local.Heartbeat, Settings: registrySettings(cfg), Logger: cfg.Logger, Metrics: n.metrics}
	if cfg.Local.Roles.Has(config.RoleEdge) {
		rc.Self = perto.Replica(cfg.Local.Name)
	}
	if cfg.Local.Data != "" {
		rc.File = filepath.Join(cfg.Local.Data, stateFile)
	}
	return replicas.New(ctx, rc)
}

// registrySettings returns the part of the registry's configuration that a reload
// changes.
func registrySettings(cfg *Config) replicas.Settings {
	s := replicas.Settings{World: digestOf(&cfg.World), Keys: cfg.Keys, Sites: sitesOf(&cfg.World), Declared: declaredOf(&cfg.World, len(cfg.Keys) > 0)}
	for _, t := range heartbeatTargets(&cfg.World, cfg.Local.Addresses) {
		if t.name != cfg.Local.Name {
			s.Witnesses = append(s.Witnesses, t.at)
		}
	}
	return s
}

// declaredOf returns the edges of a World with the probes of their services. Without
// heartbeats, an edge that has no probe gets a TCP probe.
func declaredOf(w *config.World, heartbeats bool) []replicas.Declared {
	servers := make(map[string]*config.Server)
	for i := range w.Servers {
		servers[w.Servers[i].Name] = &w.Servers[i]
	}
	var out []replicas.Declared
	for _, p := range w.PoPs {
		for _, e := range p.Edges {
			d := replicas.Declared{Name: e.Name, PoP: p.Name, Addresses: e.Addresses, Capacity: e.Capacity, Weight: e.Weight, Check: e.Check}
			port := uint16(80)
			if s := servers[string(e.Name)]; s != nil {
				d.Beats = heartbeats
				if s.HTTPPort > 0 {
					port = s.HTTPPort
				}
			}
			for i := range w.Services {
				if s := &w.Services[i]; serves(s, p.Name) {
					d.Probes = append(d.Probes, probesOf(s, port)...)
				}
			}
			if len(d.Probes) == 0 && !d.Beats {
				d.Probes = []replicas.Probe{{Kind: replicas.ProbeTCP, Port: port, Interval: fallbackInterval}}
			}
			out = append(out, d)
		}
	}
	return out
}

// fallbackInterval is the interval of that TCP probe.
const fallbackInterval = 2 * time.Second

// usualPorts are the default ports of probe kinds.
var usualPorts = map[string]uint16{"https": 443, "dns": 53}

// probesOf returns the probes of a service. port is the edge's HTTP port.
func probesOf(s *config.Service, port uint16) []replicas.Probe {
	var out []replicas.Probe
	for _, p := range s.Probes {
		kind, _ := replicas.ParseProbeKind(p.Kind) // package config has checked it
		probe := replicas.Probe{Kind: kind, Host: string(s.Name), Path: p.Path, Port: p.Port, Interval: p.Interval, Timeout: p.Timeout, Up: p.Up, Down: p.Down}
		if p.Name != "" {
			probe.Host = p.Name
		}
		if below, ok := strings.CutPrefix(probe.Host, "*."); ok {
			probe.Host = "perto-probe." + below // "*" is no host name of a request
		}
		if probe.Port == 0 {
			probe.Port = port
			if usual, ok := usualPorts[p.Kind]; ok {
				probe.Port = usual
			}
		}
		out = append(out, probe)
	}
	return out
}

// target is the heartbeat port of a DNS node.
type target struct {
	name string
	at   netip.AddrPort
}

// heartbeatTargets returns the heartbeat ports of all machines that serve DNS, as a machine
// with some addresses reaches them.
func heartbeatTargets(w *config.World, from []netip.Addr) []target {
	var out []target
	for _, s := range w.Servers {
		if s.Roles.Has(config.RoleDNS) && len(s.Addresses) > 0 {
			at, _ := reachable(s.Addresses, from)
			out = append(out, target{s.Name, netip.AddrPortFrom(at, s.HeartbeatPort)})
		}
	}
	return out
}

// reachable returns the first address of a family in which a machine with the addresses
// from can send. When there is none, it returns the first address and false.
func reachable(addresses, from []netip.Addr) (netip.Addr, bool) {
	for _, a := range addresses {
		if len(from) == 0 || slices.ContainsFunc(from, func(f netip.Addr) bool { return f.Is4() == a.Is4() }) {
			return a, true
		}
	}
	return addresses[0], false
}

func serves(s *config.Service, pop perto.PoP) bool {
	if len(s.Map.PoPs) == 0 {
		return true
	}
	return slices.Contains(s.Map.PoPs, pop)
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

// newSender returns the heartbeat sender of an edge, or nil when there is no key to sign
// with.
func newSender(cfg *Config, n *Node) (*replicas.Sender, error) {
	if len(cfg.Keys) == 0 {
		return nil, nil
	}
	return replicas.NewSender(replicas.SenderConfig{Network: cfg.Network, Name: perto.Replica(cfg.Local.Name), Keys: cfg.Keys, Logger: cfg.Logger,
		Targets: senderTargets(cfg), Status: n.report})
}

// senderTargets returns the heartbeat ports of all machines that serve DNS.
func senderTargets(cfg *Config) (out []netip.AddrPort) {
	for _, t := range heartbeatTargets(&cfg.World, cfg.Local.Addresses) {
		out = append(out, t.at)
	}
	return out
}

// report returns the status of the node's edge for heartbeats: one listener, HTTP.
func (n *Node) report() replicas.Status {
	_, capacity := edgeOf(&n.cfg().World, n.cfg().Local.Name)
	s := replicas.Status{World: n.cfg().digest, Draining: n.leaving.Load() != nil, Listeners: 1, Load: n.edge.Load(), Capacity: capacity}
	if !n.edge.Listening() {
		s.Failing = 1
	}
	if addrs := n.edge.Addrs(); len(addrs) > 0 {
		if ap, err := netip.ParseAddrPort(addrs[0].String()); err == nil {
			s.Port = ap.Port()
		}
	}
	return s
}
