package lab

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"perto"
	"perto/config"
	"perto/dnsserver"
	"perto/functions"
	"perto/geodata"
	"perto/lab/access"
	"perto/mobility"
	"perto/node"
	"perto/replicas"
)

// Config says what to bring up.
type Config struct {
	World *config.Config // PoPs, services and name servers; nil: the demo world
	Geo   *geodata.Map
	Place config.PlaceResolver
	// DoorPlace is where the doors to the authoritative servers stand; the zero
	// Place: São Paulo.
	DoorPlace perto.Place
	Ports     Ports
	Seed      uint64 // of the paths; 0: 1
	// Origin is the site behind the CDN: "http://localhost:3000"; "": the shop, with
	// its functions.
	Origin string
	// OriginPlace is where it stands; the zero Place: Ashburn.
	OriginPlace perto.Place
	// CacheBytes is the cache of each edge in bytes; 0: that of its node block, else
	// the usual one.
	CacheBytes uint64
	Logger     *slog.Logger
}

// Lab is a running world. Its methods may be called from any goroutine.
type Lab struct {
	cfg      Config
	Internet *Internet
	World    *config.Config
	vantages []*Vantage
	machines []*machine
	plain    []*dnsserver.Server // ordinary name servers: root, the shop's
	extra    []*Resolver         // public services and the enterprise
	doors    []*Door
	doorHost *Host
	socks    []*socksDoor
	origin   *originHost
	keys     []replicas.Key
	signing  mobility.SigningKey // of functions that are pushed to the lab
	code     *functions.Cache    // each function is compiled once for all Nodes

	faults sync.Mutex // one kill or heal at a time
}

// Resolver is a resolver on a host of the lab.
type Resolver struct {
	*access.Resolver
	Host *Host
}

// startResolver puts a resolver on a host; at is where it is asked, zero for all
// of the host's addresses.
func (l *Lab) startResolver(host *Host, at netip.Addr, sendECS bool) (*Resolver, error) {
	r := &Resolver{&access.Resolver{Station: host.Station(), Roots: l.roots(), SendECS: sendECS}, host}
	if at.IsValid() {
		r.Listen = netip.AddrPortFrom(at, 53).String()
	}
	return r, r.Start()
}

// Vantage is a client somewhere on the globe, with the resolver it asks.
type Vantage struct {
	Name   string
	Place  perto.Place
	Kind   ResolverKind
	Host   *Host
	Client access.Client

	own *Resolver // the provider's; nil when it asks another
}

// Up brings a world up: when it returns, every host answers.
func Up(ctx context.Context, cfg Config) (*Lab, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Seed == 0 {
		cfg.Seed = 1
	}
	l := &Lab{cfg: cfg, World: cfg.World, keys: []replicas.Key{replicas.NewKey()}}
	var err error
	if l.signing, err = mobility.NewSigningKey("lab"); err != nil {
		return nil, err
	}
	if l.code, err = functions.NewCache(""); err != nil {
		return nil, err
	}
	l.Internet = NewInternet(NewPaths(cfg.Seed))
	if err := l.up(ctx); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

func (l *Lab) up(ctx context.Context) error {
	if l.World == nil {
		world, err := DemoWorld(l.cfg.Place)
		if err != nil {
			return err
		}
		if l.cfg.Origin != "" {
			for i := range world.World.Services {
				world.World.Services[i].Functions = nil // they are the shop's
			}
		}
		l.World = world
	} else if err := l.adopt(); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{l.startPlainServers, l.startOrigin, l.startNodes, l.startResolvers, l.startVantages, l.openDoors, l.openSOCKS, l.ready} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// adopt fits a World that was made for real machines to the lab: its nodes write
// to no folder, its origins speak http, and its overrides place its networks.
func (l *Lab) adopt() error {
	own := *l.World
	own.Nodes = slices.Clone(own.Nodes)
	for i := range own.Nodes {
		own.Nodes[i].Data = ""
	}
	own.World.Services = slices.Clone(own.World.Services)
	for i := range own.World.Services {
		s := &own.World.Services[i]
		s.Origins = slices.Clone(s.Origins)
		for k := range s.Origins {
			if host, ok := strings.CutPrefix(s.Origins[k].URL, "https://"); ok {
				s.Origins[k].URL = "http://" + host
			}
		}
	}
	l.World = &own
	var err error
	l.cfg.Geo, err = node.WithOverrides(l.cfg.Geo, &own.World.Geodata)
	return err
}

// Close takes everything down and waits until it is gone.
func (l *Lab) Close() error {
	for _, m := range l.machines {
		m.host.gate.open()
	}
	for _, d := range l.socks {
		d.close()
	}
	for _, d := range l.doors {
		d.close()
	}
	for _, v := range l.vantages {
		if v.own != nil {
			v.own.Close()
		}
	}
	for _, r := range l.extra {
		r.Close()
	}
	var errs []error
	var closing sync.WaitGroup
	ended := make([]error, len(l.machines))
	for i, m := range l.machines {
		if n := m.node.Load(); n != nil {
			closing.Go(func() { ended[i] = n.Close() })
		}
	}
	closing.Wait()
	errs = append(errs, ended...)
	if l.origin != nil {
		errs = append(errs, l.origin.stop())
	}
	for _, s := range l.plain {
		errs = append(errs, s.Close())
	}
	errs = append(errs, l.code.Close())
	l.Internet.Close()
	return errors.Join(errs...)
}

// Vantages returns the vantages in their fixed order.
func (l *Lab) Vantages() []*Vantage { return l.vantages }

// Vantage returns the vantage of a name, or an error that says which there are.
func (l *Lab) Vantage(name string) (*Vantage, error) {
	var known []string
	for _, v := range l.vantages {
		if v.Name == name {
			return v, nil
		}
		known = append(known, v.Name)
	}
	return nil, &perto.Error{Op: "find vantage", Path: name, Kind: perto.KindNotFound,
		Err: fmt.Errorf("there are: %s", strings.Join(known, ", "))}
}

func (l *Lab) addHost(name, kind, place string, addrs ...string) (*Host, error) {
	p, err := l.cfg.Place(place)
	if err != nil {
		return nil, err
	}
	cfg := HostConfig{Name: name, Kind: kind, End: End{Place: p}}
	for _, a := range addrs {
		addr, err := netip.ParseAddr(a)
		if err != nil {
			return nil, err
		}
		cfg.Addrs = append(cfg.Addrs, addr)
	}
	return l.Internet.AddHost(cfg)
}

// startNodes starts a Node on every machine of the World. Edges that have no
// node block get one with the usual values.
func (l *Lab) startNodes(ctx context.Context) error {
	w := &l.World.World
	locals := slices.Clone(l.World.Nodes)
	for _, p := range w.PoPs {
		for _, e := range p.Edges {
			if _, ok := l.World.Local(string(e.Name)); !ok {
				local := config.EdgeDefaults(string(e.Name), p.Place, e.Addresses)
				locals = append(locals, local)
				w.Servers = append(slices.Clip(w.Servers), config.Server{Name: local.Name, Roles: local.Roles, Place: p.Place, Addresses: e.Addresses, HTTPPort: 80})
			}
		}
	}
	for _, local := range locals {
		if l.cfg.CacheBytes > 0 {
			local.CacheBytes = l.cfg.CacheBytes
		}
		end := End{Place: local.Place, Site: siteOf(w, local.Name)}
		if end.Place == (perto.Place{}) {
			return &perto.Error{Op: "place machine", Path: local.Name, Kind: perto.KindInvalid,
				Err: errors.New("the lab must know where it stands"), Hint: "give its node block a place"}
		}
		host, err := l.Internet.AddHost(HostConfig{Name: local.Name, Kind: strings.Join(local.Roles.Names(), ", "), Addrs: local.Addresses, End: end})
		if err != nil {
			return err
		}
		m := &machine{lab: l, host: host, local: local}
		l.machines = append(l.machines, m)
		if err := m.start(ctx); err != nil {
			return err
		}
	}
	return nil
}

// readyWait is how long a world may take to answer after everything was started.
const readyWait = 30 * time.Second

// ready waits until every name server has heard of every edge.
func (l *Lab) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyWait)
	defer cancel()
	for _, m := range l.machines {
		n := m.node.Load()
		if n == nil || !m.local.Roles.Has(config.RoleDNS) {
			continue
		}
		if err := n.WaitFleet(ctx, func(f *replicas.Fleet) bool {
			return !slices.ContainsFunc(f.Members, func(x replicas.Member) bool { return x.State == replicas.StateUnknown })
		}); err != nil {
			return &perto.Error{Op: "wait for the edges to report to", Path: m.local.Name, Kind: perto.KindUnavailable, Err: err}
		}
	}
	return nil
}

func siteOf(w *config.World, edge string) string {
	for _, p := range w.PoPs {
		for _, e := range p.Edges {
			if string(e.Name) == edge {
				return string(p.Name)
			}
		}
	}
	return ""
}

// startResolvers starts the public services and the enterprise's resolver.
func (l *Lab) startResolvers(context.Context) error {
	specs, err := demoResolvers(l.cfg.Place)
	if err != nil {
		return err
	}
	for _, s := range specs {
		host, err := l.Internet.AddHost(HostConfig{Name: s.name, Kind: "resolver", Addrs: s.addrs, Anycast: []netip.Addr{anycast[s.kind]}, End: End{Place: s.place}})
		if err != nil {
			return err
		}
		r, err := l.startResolver(host, anycast[s.kind], s.kind == ResolverPublicECS)
		if err != nil {
			return err
		}
		l.extra = append(l.extra, r)
	}
	return nil
}

func (l *Lab) roots() []netip.Addr { return l.Internet.Host("root").Addrs }

// accessBits is the rate of a client's access line, in bits per second.
const accessBits = 100_000_000

// startVantages puts up clients and their providers' resolvers.
func (l *Lab) startVantages(context.Context) error {
	specs, err := demoVantages(l.cfg.Place)
	if err != nil {
		return err
	}
	for _, s := range specs {
		client, err := l.Internet.AddHost(HostConfig{Name: s.name, Kind: "vantage", Addrs: s.clientAddrs(), UpBits: accessBits, DownBits: accessBits,
			End: End{Place: s.place, LastMile: l.Internet.paths.DrawLastMile(s.name, s.place.Country)}})
		if err != nil {
			return err
		}
		v := &Vantage{Name: s.name, Place: s.place, Kind: s.resolver, Host: client, Client: access.Client{Station: client.Station()}}
		l.vantages = append(l.vantages, v)
		if s.resolver != ResolverISP {
			v.Client.Resolver = anycast[s.resolver]
			continue
		}
		host, err := l.Internet.AddHost(HostConfig{Name: "isp-" + s.name, Kind: "resolver", Addrs: s.resolverAddrs(), End: End{Place: s.place}})
		if err != nil {
			return err
		}
		if v.own, err = l.startResolver(host, netip.Addr{}, false); err != nil {
			return err
		}
		v.Client.Resolver = host.Addrs[0]
	}
	return nil
}

// ResolverOf returns the resolver that answers a vantage: its provider's, or the
// site of the service that is nearest to it.
func (l *Lab) ResolverOf(v *Vantage) *Resolver {
	if v.own != nil {
		return v.own
	}
	host := l.Internet.HostAt(v.Client.Resolver, v.Host)
	for _, r := range l.extra {
		if r.Host == host {
			return r
		}
	}
	return nil
}
