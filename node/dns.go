package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"perto"
	"perto/config"
	"perto/dnsserver"
	"perto/dnsserver/zone"
	"perto/geodata"
	"perto/internal/snapshot"
	"perto/mapping"
	"perto/replicas"
)

// edgeNameTTL is the time to live of the edges' own names, in seconds.
const edgeNameTTL = 300

// decider holds the zones and maps of one configuration, and the newest answers of
// its services. It belongs to its publisher.
type decider struct {
	zones    []builtZone
	policies []*mapping.Policy
	maps     []*mapping.Map     // by policy; services with the same members share one
	learned  []*mapping.Learned // by policy; nil until something is learned
	current  []*mapping.Map     // maps with what is learned
	tags     *dnsserver.Tags
	answers  []*mapping.Answers
}

// builtZone is a zone with the indexes of its services among the policies.
type builtZone struct {
	zone     *zone.Zone
	services []int
}

// newDecider builds zones and maps. Mistakes in zone files and policies are errors: a
// configuration is never served in part.
func newDecider(w *config.World, geo *geodata.Map) (*decider, error) {
	d := &decider{}
	var errs []error
	for i := range w.Services {
		p, err := policyOf(&w.Services[i])
		if err != nil {
			errs = append(errs, err)
			continue
		}
		d.policies = append(d.policies, p)
	}
	for i := range w.Zones {
		z, err := buildZone(w, &w.Zones[i])
		if err != nil {
			errs = append(errs, err)
			continue
		}
		d.zones = append(d.zones, z)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	sites := sitesOf(w)
	shared := make(map[string]*mapping.Map)
	for _, p := range d.policies {
		key := fmt.Sprint(p.PoPs, p.Fences, slices.Contains(p.Steps, mapping.StepFence), p.ScopeRegret)
		m := shared[key]
		if m == nil {
			var err error
			if m, err = mapping.NewMap(geo, sites, p); err != nil {
				return nil, err
			}
			shared[key] = m
		}
		d.maps = append(d.maps, m)
	}
	d.answers = make([]*mapping.Answers, len(d.policies))
	d.learned = make([]*mapping.Learned, len(d.policies))
	d.current = slices.Clone(d.maps)
	d.tags = tagsOf(w)
	return d, nil
}

// dnsLimits returns the limits of DNS over TCP.
func dnsLimits(l *config.Limits) dnsserver.Limits {
	return dnsserver.Limits{Connections: l.DNSConnections, PerClient: l.DNSConnectionsPerClient, Idle: l.DNSIdle, Write: l.DNSWrite}
}

func policyOf(s *config.Service) (*mapping.Policy, error) {
	steps, err := mapping.ParseSteps(s.Map.Policy)
	if err != nil {
		return nil, fmt.Errorf("service %s: %w", s.Name, err)
	}
	allDown, err := mapping.ParseAllDown(s.Map.AllDown)
	if err != nil {
		return nil, fmt.Errorf("service %s: %w", s.Name, err)
	}
	p := &mapping.Policy{Service: s.Name, PoPs: s.Map.PoPs, Steps: steps, Answers: s.Map.Answers, TTL: s.Map.TTL, TTLMin: s.Map.TTLMin, AllDown: allDown, ScopeRegret: s.Map.ScopeRegret}
	for _, f := range s.Map.Fences {
		p.Fences = append(p.Fences, mapping.Fence(f))
	}
	return p, nil
}

// sitesOf returns the PoPs of a World in order of name.
func sitesOf(w *config.World) []replicas.Site {
	var out []replicas.Site
	for _, p := range w.PoPs {
		out = append(out, replicas.Site{Name: p.Name, Place: p.Place, Provider: p.Provider, Weight: p.Weight})
	}
	slices.SortFunc(out, func(a, b replicas.Site) int { return strings.Compare(string(a.Name), string(b.Name)) })
	return out
}

// zoneConfig returns the configuration of a zone, and the indexes of its services.
func zoneConfig(w *config.World, z *config.Zone) (zone.Config, []int) {
	cfg := zone.Config{Name: z.Name, File: z.File, Data: z.Data, HostTTL: edgeNameTTL, Hosts: make(map[string][]netip.Addr)}
	var services []int
	for i := range w.Services {
		if zoneOf(w, string(w.Services[i].Name)) == z.Name {
			cfg.Services = append(cfg.Services, string(w.Services[i].Name))
			services = append(services, i)
		}
	}
	if len(services) > 0 { // a zone without services has no names of edges
		if z.Whoami != "" {
			cfg.Whoami = z.Whoami + "." + z.Name
		}
		if z.EdgeLabel != "" {
			for _, p := range w.PoPs {
				for _, e := range p.Edges {
					cfg.Hosts[string(e.Name)+"."+z.EdgeLabel+"."+z.Name] = e.Addresses
				}
			}
		}
	}
	return cfg, services
}

// zoneOf returns the zone with the longest name that contains a name.
func zoneOf(w *config.World, name string) string {
	best, found := "", false
	for i := range w.Zones {
		z := w.Zones[i].Name
		if (name == z || strings.HasSuffix(name, "."+z)) && (!found || len(z) > len(best)) {
			best, found = z, true
		}
	}
	return best
}

func buildZone(w *config.World, z *config.Zone) (builtZone, error) {
	if z.DNSSEC {
		return builtZone{}, &perto.Error{Op: "sign zone", Path: z.Name, Kind: perto.KindInvalid,
			Err: errors.New("this version does not sign zones"), Hint: "remove dnssec = true"}
	}
	cfg, services := zoneConfig(w, z)
	built, err := zone.Build(cfg)
	if err != nil {
		return builtZone{}, err
	}
	return builtZone{built, services}, nil
}

// view decides the answers of all services for a Fleet and returns them packed. prev
// may be nil. Unchanged answers are taken from it.
func (d *decider) view(f *replicas.Fleet, prev *dnsserver.View) *dnsserver.View {
	for i, p := range d.policies {
		d.answers[i] = mapping.Decide(d.current[i], p, f, d.answers[i])
	}
	var zones []dnsserver.ZoneServices
	for _, z := range d.zones {
		zs := dnsserver.ZoneServices{Zone: z.zone}
		for _, s := range z.services {
			zs.Services = append(zs.Services, d.answers[s])
		}
		zones = append(zones, zs)
	}
	return dnsserver.NewView(zones, d.tags, prev)
}

// publisher sets the name server's View for every new Fleet and configuration.
type publisher struct {
	server *dnsserver.Server

	mu      sync.Mutex // one View at a time; the last one published is the newest
	decider *decider
}

// update publishes a View for the newest Fleet.
func (p *publisher) update(fleet *snapshot.Var[replicas.Fleet]) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.server.SetView(p.decider.view(fleet.Load(), p.server.View()))
}

// replace changes the configuration. change makes the registry publish a Fleet for it.
// So no View mixes one configuration with the Fleet of another.
func (p *publisher) replace(d *decider, fleet *snapshot.Var[replicas.Fleet], change func() error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := change(); err != nil {
		return err
	}
	p.decider = d
	p.server.SetView(d.view(fleet.Load(), p.server.View()))
	return nil
}

// run publishes a View for every new Fleet until the context ends.
func (p *publisher) run(ctx context.Context, fleet *snapshot.Var[replicas.Fleet]) {
	var version uint64
	for {
		_, v, err := fleet.Wait(ctx, version)
		if err != nil {
			return
		}
		p.update(fleet)
		version = v
	}
}

// CheckZones builds the zones of a World to find their mistakes, and returns the number
// of names in each. "perto zone check" and "perto config check" run it.
func CheckZones(w *config.World) (map[string]int, error) {
	names := make(map[string]int)
	var errs []error
	for i := range w.Zones {
		cfg, _ := zoneConfig(w, &w.Zones[i])
		n, err := zone.Check(cfg)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		names[w.Zones[i].Name] = n
	}
	return names, errors.Join(errs...)
}
