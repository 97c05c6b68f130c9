package model

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"perto"
	"perto/geodata"
	"perto/mapping"
)

// Config has the size of a World.
type Config struct {
	Seed   uint64
	Blocks int // blocks of clients, 8000 by default
	Sites  int // possible sites, 2642 by default as in the paper
}

// The defaults of Config.
const (
	defaultBlocks = 8000
	defaultSites  = 2642
)

// Block is a block of clients, such as a /24.
type Block struct {
	Place    perto.Place
	Weight   float64 // share of the demand of the World
	Row      int     // of World.RTT
	Resolver int     // index into World.Resolvers
	LastMile time.Duration
}

// Resolver is a resolver, or the site of a public resolver.
type Resolver struct {
	Place  perto.Place
	Class  Class
	Row    int // of World.RTT
	Weight float64
	Blocks []int // its clients
}

// World is a draw of clients, resolvers and possible sites.
type World struct {
	Blocks    []Block
	Resolvers []Resolver
	Sites     []perto.Place
	// RTT has the round-trip times between access networks and sites, without last
	// miles. A measurement would find them.
	RTT *mapping.Costs
}

// network is a provider at a place. Clients and resolvers of one network have the same
// paths.
type network struct {
	provider int
	city     int32 // -1 for the place of a table
	table    perto.Place
}

// drawer holds the state of Draw.
type drawer struct {
	*World
	*sphere
	rand      *rand.Rand
	rows      map[network]int
	networks  []network
	resolvers map[resolverKey]int
	providers map[string]int
}

type resolverKey struct {
	row   int
	class Class
}

// publicProvider is the number of the public resolver's network, and hubProvider that of
// the enterprises.
const (
	publicProvider = iota
	hubProvider
	firstProvider
)

// Draw draws a World from the cities.
func Draw(cities *geodata.Cities, cfg Config) *World {
	cfg.Blocks, cfg.Sites = cmp.Or(cfg.Blocks, defaultBlocks), cmp.Or(cfg.Sites, defaultSites)
	d := &drawer{World: &World{}, sphere: newSphere(cities.All()), rand: rand.New(rand.NewPCG(cfg.Seed, 1)),
		rows: make(map[network]int), resolvers: make(map[resolverKey]int), providers: make(map[string]int)}
	d.drawSites(cfg.Sites)
	d.drawBlocks(cfg.Blocks)
	d.fillRTT(cfg.Seed)
	return d.World
}

// drawSites draws cities without replacement. The smallest of exponentially distributed
// keys, divided by their weights, are such a draw.
func (d *drawer) drawSites(n int) {
	type keyed struct {
		key  float64
		city int
	}
	keys := make([]keyed, len(d.cities))
	for i, c := range d.cities {
		w := math.Pow(float64(c.Population), 0.6) * math.Pow(Demand(c.Country), 0.8)
		keys[i] = keyed{d.rand.ExpFloat64() / w, i}
	}
	slices.SortFunc(keys, func(a, b keyed) int { return cmp.Compare(a.key, b.key) })
	for _, k := range keys[:min(n, len(keys))] {
		d.Sites = append(d.Sites, d.cities[k.city].Place)
	}
}

// drawBlocks draws blocks with their resolvers. A city has a probability in proportion
// to its population and to the demand of its country.
func (d *drawer) drawBlocks(n int) {
	upTo := make([]float64, len(d.cities))
	total := 0.0
	for i, c := range d.cities {
		total += float64(c.Population) * Demand(c.Country)
		upTo[i] = total
	}
	sum := 0.0
	for range n {
		i, _ := slices.BinarySearch(upTo, d.rand.Float64()*total)
		city := int32(min(i, len(d.cities)-1))
		b := Block{Place: d.cities[city].Place, Weight: math.Exp(d.rand.NormFloat64())}
		b.LastMile = LastMile(d.rand.NormFloat64(), b.Place.Country)
		provider := d.provider(b.Place.Country)
		b.Row = d.row(network{provider: provider, city: city})
		b.Resolver = d.resolver(city, provider)
		r := &d.Resolvers[b.Resolver]
		r.Blocks, r.Weight = append(r.Blocks, len(d.Blocks)), r.Weight+b.Weight
		sum += b.Weight
		d.Blocks = append(d.Blocks, b)
	}
	for i := range d.Blocks {
		d.Blocks[i].Weight /= sum
	}
	for i := range d.Resolvers {
		d.Resolvers[i].Weight /= sum
	}
}

// provider returns the access provider of a country.
func (d *drawer) provider(country string) int {
	p, ok := d.providers[country]
	if !ok {
		p = firstProvider + len(d.providers)
		d.providers[country] = p
	}
	return p
}

// row returns the row of a network, a new one for the first client or resolver in it.
func (d *drawer) row(n network) int {
	r, ok := d.rows[n]
	if !ok {
		r = len(d.networks)
		d.rows[n] = r
		d.networks = append(d.networks, n)
	}
	return r
}

// resolver draws the resolver of a client.
func (d *drawer) resolver(city int32, provider int) int {
	here := d.cities[city].Place
	if d.rand.Float64() < publicShare(here.Country) {
		sites := publicSites()
		slices.SortFunc(sites, func(a, b perto.Place) int { return cmp.Compare(here.DistanceKm(a), here.DistanceKm(b)) })
		i := 0
		for i < len(sites)-1 && d.rand.Float64() < publicNext {
			i++
		}
		return d.at(Public, network{publicProvider, -1, sites[i]})
	}
	x := d.rand.Float64()
	switch {
	case x < localShare:
		return d.at(Local, network{provider: provider, city: d.largest(city, 0, localKm)})
	case x < localShare+regionalShare:
		return d.at(Regional, network{provider: provider, city: d.largest(city, 70, 240)})
	case x < localShare+regionalShare+distantShare:
		return d.at(Distant, network{provider: provider, city: d.largest(city, 250, 540)})
	case x < localShare+regionalShare+distantShare+nationalShare:
		list := d.byCountry[here.Country]
		return d.at(National, network{provider: provider, city: list[d.rand.IntN(min(3, len(list)))]})
	}
	abroad := hubs()
	return d.at(Abroad, network{hubProvider, -1, abroad[d.rand.IntN(len(abroad))]})
}

// at returns the resolver of a class in a network. A city has one for each class: the
// clients of a resolver for the city are others than those of one for the country.
func (d *drawer) at(class Class, n network) int {
	key := resolverKey{d.row(n), class}
	i, ok := d.resolvers[key]
	if !ok {
		i = len(d.Resolvers)
		d.resolvers[key] = i
		d.Resolvers = append(d.Resolvers, Resolver{Place: d.place(n), Class: class, Row: key.row})
	}
	return i
}

func (d *drawer) place(n network) perto.Place {
	if n.city < 0 {
		return n.table
	}
	return d.cities[n.city].Place
}

// fillRTT draws the paths of all networks to all sites. The lognormal factor and the
// detour are the same for all places of a provider.
func (d *drawer) fillRTT(seed uint64) {
	sites := len(d.Sites)
	providers := firstProvider + len(d.providers)
	factor, detour := make([]float64, providers*sites), make([]time.Duration, providers*sites)
	for i := range factor {
		factor[i] = Factor(d.rand.NormFloat64())
		if d.rand.Float64() < DetourShare {
			detour[i] = Detour(d.rand.Float64())
		}
	}
	at, inflation := make([]vector, sites), make([]float64, sites)
	for i, s := range d.Sites {
		at[i], inflation[i] = vectorOf(s), Inflation(s.Country)
	}
	d.RTT = mapping.NewCosts(len(d.networks), sites)
	for r, n := range d.networks {
		from := d.place(n)
		v, f := vectorOf(from), Inflation(from.Country)
		row := d.RTT.Row(r)
		jitter := rand.New(rand.NewPCG(seed, uint64(r)+2))
		for s := range row {
			path := n.provider*sites + s
			rtt := PathBase + time.Duration(jitter.Float64()*float64(PathJitter)) + detour[path]
			rtt += RoundTrip(v.km(at[s]), (f+inflation[s])/2, factor[path])
			row[s] = mapping.CostOf(rtt)
		}
	}
}

// Middle returns the mean place of blocks by their demand.
func (w *World) Middle(blocks []int) perto.Place {
	var sum vector
	for _, i := range blocks {
		v := vectorOf(w.Blocks[i].Place)
		for k := range v {
			sum[k] += v[k] * w.Blocks[i].Weight
		}
	}
	return sum.place()
}
