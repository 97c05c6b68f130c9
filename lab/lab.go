package lab

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"perto"
	"perto/config"
	"perto/console"
	"perto/dnsserver"
	"perto/functions"
	"perto/geodata"
	"perto/lab/access"
	"perto/mobility"
	"perto/node"
	"perto/replicas"
)

// Config describes the lab to start.
type Config struct {
	World *config.Config // PoPs, services and name servers; nil means the demo world
	Geo   *geodata.Map
	Place config.PlaceResolver
	// DoorPlace is the place of the doors to the authoritative servers. The zero Place
	// means São Paulo.
	DoorPlace perto.Place
	Ports     Ports
	Seed      uint64 // of the paths; 0 means 1
	// Origin is the site behind the CDN, for example "http://localhost:3000". "" means
	// the demo shop with its functions.
	Origin string
	// OriginHost is the Host field of requests to Origin. "" means its own host and port,
	// because development servers refuse other hosts. X-Forwarded-Host has the client's.
	OriginHost string
	// OriginPlace is the place of the origin. The zero Place means Ashburn.
	OriginPlace perto.Place
	// CacheBytes is the size of each edge's cache, in bytes. 0 means the size in its
	// node block, or else the default.
	CacheBytes uint64
	// Tags gives each edge with an IPv6 address a network of tags, so that the name servers
	// learn where the clients of resolvers are.
	Tags bool
	// Crowd adds clients to each vantage with a shared resolver.
	Crowd  bool
	Logger *slog.Logger
	// Progress is called at the begin of each step of Up, with a text such as "the
	// resolvers". It may be nil.
	Progress func(step string)
}

// Lab is a running world. Its methods may be called from any goroutine.
type Lab struct {
	cfg      Config
	Internet *Internet
	World    *config.Config
	vantages []*Vantage
	crowd    []*Vantage // more clients of shared resolvers, so that there is something to learn
	machines []*machine
	external []*dnsserver.Server // name servers outside the CDN: the root, the shop's
	extra    []*Resolver         // of the public services and the enterprise
	doors    []*Door
	doorHost *Host
	socks    []*socksDoor
	web      []*webDoor
	origin   *originHost
	site     *url.URL // the user's own site; nil means the shop
	keys     []replicas.Key
	signing  mobility.SigningKey // of functions that are pushed to the lab
	code     *functions.Cache    // each function is compiled once for all Nodes

	console  *console.Console
	visits   console.Visits
	visitors visitors

	faults sync.Mutex // held during a fault, so that faults do not overlap
}

// Resolver is a resolver on a host of the lab.
type Resolver struct {
	*access.Resolver
	Host *Host
}

// startResolver starts a resolver on a host. It listens on the address at, or on all
// addresses of the host when at is zero.
func (l *Lab) startResolver(host *Host, at netip.Addr, sendECS bool) (*Resolver, error) {
	r := &Resolver{&access.Resolver{Station: host.Station(), Roots: l.roots(), SendECS: sendECS}, host}
	if at.IsValid() {
		r.Listen = netip.AddrPortFrom(at, 53).String()
	}
	return r, r.Start()
}

// Vantage is a client at a place on the globe, with its resolver.
type Vantage struct {
	Name   string
	Region string // a part of the world, for lists: "Asia"
	Place  perto.Place
	Kind   ResolverKind
	Host   *Host
	Client access.Client

	own *Resolver // of its provider; nil when it uses another resolver
}

// Up starts a world. When it returns, all hosts are ready.
func Up(ctx context.Context, cfg Config) (*Lab, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Progress == nil {
		cfg.Progress = func(string) {}
	}
	logStacks(cfg.Logger)
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
		l.World = world
	} else if err := l.adopt(); err != nil {
		return err
	}
	if l.cfg.Origin != "" {
		if err := l.useSite(); err != nil {
			return err
		}
	}
	if l.cfg.Tags {
		l.addTags()
	}
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"the name servers outside the CDN", l.startExternalDNS},
		{"the origin", l.startOrigin},
		{"the edges and name servers", l.startNodes},
		{"the resolvers", l.startResolvers},
		{"the vantages", l.startVantages},
		{"the doors", l.openDoors},
		{"the SOCKS doors", l.openSOCKS},
		{"the web doors", l.openWeb},
		{"the web console", l.openConsole},
		{"waiting for heartbeats of the edges", l.ready},
	} {
		l.cfg.Progress(step.what)
		if err := step.do(ctx); err != nil {
			return err
		}
	}
	return nil
}

// adopt changes a World that was made for real machines for the lab. Nodes have no data
// folder, and origins use http. The location overrides apply to the map.
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

// Close stops the whole lab and waits for its end.
func (l *Lab) Close() error {
	l.visitors.stop()
	if l.console != nil {
		l.console.Close()
	}
	for _, m := range l.machines {
		m.host.gate.open()
	}
	for _, d := range l.web {
		d.close()
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
		l.origin.host.gate.open() // so that a frozen one can end
		errs = append(errs, l.origin.stop())
	}
	for _, s := range l.external {
		errs = append(errs, s.Close())
	}
	errs = append(errs, l.code.Close())
	l.Internet.Close()
	return errors.Join(errs...)
}

// Vantages returns the vantages in their fixed order.
func (l *Lab) Vantages() []*Vantage { return l.vantages }

// Vantage returns the vantage with a name. Its error offers similar names.
func (l *Lab) Vantage(name string) (*Vantage, error) {
	for _, v := range l.vantages {
		if v.Name == name {
			return v, nil
		}
	}
	return nil, l.noVantage(name)
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

// startNodes starts a Node on every machine of the World. Edges without a node block
// get one with the defaults.
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
	for i, local := range locals {
		l.cfg.Progress(fmt.Sprintf("the edges and name servers, %d of %d: %s", i+1, len(locals), local.Name))
		if l.cfg.CacheBytes > 0 {
			local.CacheBytes = l.cfg.CacheBytes
		}
		end := End{Place: local.Place, Site: siteOf(w, local.Name)}
		if end.Place == (perto.Place{}) {
			return &perto.Error{Op: "place machine", Path: local.Name, Kind: perto.KindInvalid,
				Err: errors.New("the machine has no place"), Hint: "add a place to its node block"}
		}
		host, err := l.Internet.AddHost(HostConfig{Name: local.Name, Kind: strings.Join(local.Roles.Names(), ", "), Addrs: local.Addresses, Network: l.tagsOf(local.Name), End: end})
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

// addTags gives each edge that has an IPv6 address, and no network of tags, the /64 behind
// it: the fourth group of the address becomes 7a00 and the edge's number.
func (l *Lab) addTags() {
	own := *l.World
	own.World.PoPs = slices.Clone(own.World.PoPs)
	number := byte(0)
	for i := range own.World.PoPs {
		p := &own.World.PoPs[i]
		p.Edges = slices.Clone(p.Edges)
		for k := range p.Edges {
			e := &p.Edges[k]
			at := slices.IndexFunc(e.Addresses, func(a netip.Addr) bool { return a.Is6() })
			if e.Tags.IsValid() || at < 0 {
				continue
			}
			b := e.Addresses[at].As16()
			b[6], b[7] = 0x7a, number
			number++
			e.Tags, _ = netip.AddrFrom16(b).Prefix(tagNetworkBits) // an IPv6 address has this prefix
		}
	}
	l.World = &own
}

// tagNetworkBits is the length of a network of tags, in bits.
const tagNetworkBits = 64

// tagsOf returns the network of tags of an edge.
func (l *Lab) tagsOf(name string) netip.Prefix {
	for _, p := range l.World.World.PoPs {
		for _, e := range p.Edges {
			if string(e.Name) == name {
				return e.Tags
			}
		}
	}
	return netip.Prefix{}
}

// readyWait is the timeout of ready.
const readyWait = 30 * time.Second

// ready waits until every name server has a heartbeat of every edge.
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

// startResolvers starts the resolvers of the public services and of the enterprise.
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

// startVantages starts the clients and their providers' resolvers.
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
		v := &Vantage{Name: s.name, Region: s.region, Place: s.place, Kind: s.resolver, Host: client, Client: access.Client{Station: client.Station()}}
		l.vantages = append(l.vantages, v)
		if s.resolver != ResolverISP {
			v.Client.Resolver = anycast[s.resolver]
			if l.cfg.Crowd {
				if err := l.addCrowd(&s); err != nil {
					return err
				}
			}
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

// AddClient adds a client that is no vantage of the list: it has no doors, and the page
// does not show it. kind is that of a shared resolver.
func (l *Lab) AddClient(name string, place perto.Place, kind ResolverKind, addrs ...netip.Addr) (*Vantage, error) {
	host, err := l.Internet.AddHost(HostConfig{Name: name, Kind: "client", Addrs: addrs, UpBits: accessBits, DownBits: accessBits,
		End: End{Place: place, LastMile: l.Internet.paths.DrawLastMile(name, place.Country)}})
	if err != nil {
		return nil, err
	}
	v := &Vantage{Name: name, Place: place, Kind: kind, Host: host, Client: access.Client{Station: host.Station(), Resolver: anycast[kind]}}
	return v, nil
}

// crowdSize is the number of clients that share the resolver of a vantage. Name servers
// learn from at least eight networks.
const crowdSize = 15

// Clients returns the vantages and the crowd.
func (l *Lab) Clients() []*Vantage { return slices.Concat(l.vantages, l.crowd) }

// addCrowd adds clients in the networks of a vantage.
func (l *Lab) addCrowd(s *vantageSpec) error {
	for i := range byte(crowdSize) {
		v, err := l.AddClient(fmt.Sprintf("%s-%d", s.name, i+1), s.place, s.resolver, hostIn(s.v4.Addr(), 1+i, 7), hostIn(s.v6.Addr(), 1+i, 7))
		if err != nil {
			return err
		}
		l.crowd = append(l.crowd, v)
	}
	return nil
}

// ResolverOf returns the resolver of a vantage: its provider's resolver, or the nearest
// site of the service that it uses.
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
