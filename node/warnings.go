package node

import (
	"fmt"
	"slices"
	"strings"

	"perto"
	"perto/config"
	"perto/mapping"
)

// Warnings returns a text for each setting that is valid but often a mistake, for example
// a fence without addresses of a family. "perto config check" prints them.
func Warnings(cfg *config.Config) []string {
	out := slices.Clone(cfg.Notes())
	for i := range cfg.World.Services {
		out = append(out, fenceWarnings(&cfg.World, &cfg.World.Services[i])...)
	}
	out = append(out, familyWarnings(cfg)...)
	return append(out, dataWarnings(cfg.Nodes)...)
}

// familyWarnings returns a warning for each pair of machines whose heartbeats cannot pass,
// because one has only IPv4 addresses and the other one only IPv6 addresses.
func familyWarnings(cfg *config.Config) (out []string) {
	for i := range cfg.Nodes {
		n := &cfg.Nodes[i]
		for _, s := range cfg.World.Servers {
			if !s.Roles.Has(config.RoleDNS) || s.Name == n.Name || len(s.Addresses) == 0 {
				continue
			}
			if _, ok := reachable(s.Addresses, n.Addresses); !ok {
				out = append(out, fmt.Sprintf("node %s cannot send heartbeats to name server %s: they have no address of the same family", n.Name, s.Name))
			}
		}
	}
	return out
}

// fenceWarnings returns a warning for a fence when its PoPs have no address of a family
// that other PoPs of the service have. Clients of these countries get NODATA for that family.
func fenceWarnings(w *config.World, s *config.Service) []string {
	if !slices.Contains(s.Map.Policy, mapping.StepFence.String()) {
		return nil
	}
	var members [2][]perto.PoP // that have an address, by mapping.Family
	for _, p := range w.PoPs {
		if !serves(s, p.Name) {
			continue
		}
		for _, e := range p.Edges {
			for _, a := range e.Addresses {
				f := mapping.IPv6
				if a.Is4() {
					f = mapping.IPv4
				}
				members[f] = append(members[f], p.Name)
			}
		}
	}
	var out []string
	for _, fence := range s.Map.Fences {
		for f, name := range []string{"IPv4", "IPv6"} {
			inFence := func(p perto.PoP) bool { return slices.Contains(fence.PoPs, p) }
			if len(members[f]) == 0 || slices.ContainsFunc(members[f], inFence) {
				continue
			}
			out = append(out, fmt.Sprintf("service %s: fence %s leaves the clients of %s without %s (%s): no edge of its PoPs has such an address, while %s has; add one to an edge, or a PoP to the fence",
				s.Name, fence.Name, strings.Join(fence.Countries, ", "), name, mapping.Family(f), members[f][0]))
		}
	}
	return out
}
