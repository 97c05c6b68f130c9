package report

import (
	"context"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"time"

	"perto"
	"perto/lab/model"
	"perto/mapping"
)

// endUserRun has the tables that all orders of sites share.
type endUserRun struct {
	*model.World
	seed uint64
	// clients has a row for each resolver: the mean of its clients' rows.
	clients *mapping.Costs
	draws   [][]float64 // by resolver: running sums of its blocks' weights
	high    map[string]bool
	dns     []time.Duration // by block: from the client to its resolver
}

func newEndUserRun(w *model.World, seed uint64) *endUserRun {
	s := &endUserRun{World: w, seed: seed, clients: mapping.NewCosts(len(w.Resolvers), len(w.Sites))}
	all := make([]uint16, len(w.Sites))
	for i := range all {
		all[i] = uint16(i)
	}
	for i, r := range w.Resolvers {
		samples := make([]mapping.Sample, len(r.Blocks))
		sums := make([]float64, len(r.Blocks))
		sum := 0.0
		for k, b := range r.Blocks {
			samples[k] = mapping.Sample{Row: w.Blocks[b].Row, Weight: w.Blocks[b].Weight}
			sum += w.Blocks[b].Weight
			sums[k] = sum
		}
		w.RTT.Mean(s.clients.Row(i), samples, all)
		s.draws = append(s.draws, sums)
	}
	s.high = s.highCountries()
	for _, b := range w.Blocks {
		r := w.Resolvers[b.Resolver]
		f := (model.Inflation(b.Place.Country) + model.Inflation(r.Place.Country)) / 2
		s.dns = append(s.dns, b.LastMile+model.PathBase+model.RoundTrip(b.Place.DistanceKm(r.Place), f, 1))
	}
	return s
}

// kmPerMile converts distances to the paper's unit.
const kmPerMile = 1.609344

// highExpectation is the median distance to the public resolver above which the paper
// expects a country to gain much.
const highExpectation = 1000 // miles

// highCountries returns the countries whose clients are far from their public resolver.
func (s *endUserRun) highCountries() map[string]bool {
	distance := make(map[string][]weighted)
	for _, b := range s.Blocks {
		if r := s.Resolvers[b.Resolver]; r.Class == model.Public {
			distance[b.Place.Country] = append(distance[b.Place.Country], weighted{b.Place.DistanceKm(r.Place) / kmPerMile, b.Weight})
		}
	}
	high := make(map[string]bool)
	for country, list := range distance {
		high[country] = quantile(list, 0.5) > highExpectation
	}
	return high
}

// weighted is a value and its share of demand.
type weighted struct{ value, weight float64 }

// quantile returns a quantile by weight. It sorts the list.
func quantile(list []weighted, q float64) float64 {
	slices.SortFunc(list, func(a, b weighted) int {
		switch {
		case a.value < b.value:
			return -1
		case a.value > b.value:
			return 1
		}
		return 0
	})
	total := 0.0
	for _, x := range list {
		total += x.weight
	}
	sum := 0.0
	for _, x := range list {
		if sum += x.weight; sum >= q*total {
			return x.value
		}
	}
	return 0
}

func mean(list []weighted) float64 {
	sum, total := 0.0, 0.0
	for _, x := range list {
		sum += x.value * x.weight
		total += x.weight
	}
	if total == 0 {
		return 0
	}
	return sum / total
}

// millis converts a number of milliseconds.
func millis(x float64) perto.Millis { return perto.Millis(x * float64(time.Millisecond)) }

// order has the result of one random order of the sites.
type order struct {
	deployments []Deployment
	learned     []Learned
	escalation  []Escalation
	transfers   []Transfer
	classes     []ClassShare
	rollOut     []RollOut
}

// runOrders computes the orders concurrently. The result does not depend on how many run
// at a time: each one has its own random numbers.
func (s *endUserRun) runOrders(ctx context.Context, n int) ([]order, error) {
	out := make([]order, n)
	next := make(chan int)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := range next {
				out[i] = s.runOrder(i)
			}
		})
	}
	for i := 0; i < n && ctx.Err() == nil; i++ {
		next <- i
	}
	close(next)
	wg.Wait()
	return out, ctx.Err()
}

// runOrder opens the sites in one random order.
func (s *endUserRun) runOrder(i int) order {
	draw := rand.New(rand.NewPCG(s.seed^0x9e3779b97f4a7c15, uint64(i)))
	sites := make([]uint16, len(s.Sites))
	for k, p := range draw.Perm(len(sites)) {
		sites[k] = uint16(p)
	}
	var o order
	ns, cans, eu := newFront(s.RTT, s.resolverRows()), newFront(s.clients, nil), newFront(s.RTT, nil)
	for _, n := range deployments {
		ns.open(sites[:n])
		cans.open(sites[:n])
		eu.open(sites[:n])
		o.deployments = append(o.deployments, Deployment{n,
			s.spread(func(b *model.Block) uint16 { return ns.best[b.Resolver] }),
			s.spread(func(b *model.Block) uint16 { return cans.best[b.Resolver] }),
			s.spread(func(b *model.Block) uint16 { return eu.best[b.Row] })})
	}
	o.rollOut = s.rollOut(sites[:rollOutSites])
	c := s.newCure(sites[:cureSites], draw)
	c.run(&o)
	return o
}

// resolverRows returns the rows of the resolvers' own networks.
func (s *endUserRun) resolverRows() []int {
	rows := make([]int, len(s.Resolvers))
	for i := range s.Resolvers {
		rows[i] = s.Resolvers[i].Row
	}
	return rows
}

// front is the nearest open site for some rows of a table. Sites open in order, so that
// each is compared once.
type front struct {
	table *mapping.Costs
	rows  []int // nil for all, in order
	best  []uint16
	n     int // open sites
}

func newFront(table *mapping.Costs, rows []int) *front {
	f := &front{table: table, rows: rows}
	if rows == nil {
		f.rows = make([]int, table.Rows())
		for i := range f.rows {
			f.rows[i] = i
		}
	}
	f.best = make([]uint16, len(f.rows))
	return f
}

// open opens the first sites of an order. They begin with the sites of the last call.
func (f *front) open(sites []uint16) {
	for i, r := range f.rows {
		row := f.table.Row(r)
		best := mapping.Nearest(row, sites[f.n:])
		if f.n == 0 || row[best] < row[f.best[i]] {
			f.best[i] = best
		}
	}
	f.n = len(sites)
}

// spread returns the spread of the times from all blocks to their sites. A histogram of
// costs is faster than sorting.
func (s *endUserRun) spread(site func(b *model.Block) uint16) Spread {
	share := make([]float64, 1+int(mapping.MaxCost))
	total := 0.0
	for i := range s.Blocks {
		b := &s.Blocks[i]
		cost := s.RTT.Row(b.Row)[site(b)]
		share[cost] += b.Weight
		total += float64(cost.Duration()) * b.Weight
	}
	at := func(q float64) perto.Millis {
		sum := 0.0
		for cost, w := range share {
			if sum += w; sum >= q {
				return perto.Millis(mapping.Cost(cost).Duration())
			}
		}
		return perto.Millis(mapping.MaxCost.Duration())
	}
	return Spread{perto.Millis(math.Round(total)), at(0.95), at(0.99)}
}

// rollOut compares both kinds of mapping for the clients of public resolvers.
func (s *endUserRun) rollOut(sites []uint16) []RollOut {
	var out []RollOut
	for _, group := range []string{"high", "low"} {
		r := RollOut{Group: group}
		var before, after served
		for i := range s.Blocks {
			b := &s.Blocks[i]
			resolver := &s.Resolvers[b.Resolver]
			if resolver.Class != model.Public || s.high[b.Place.Country] != (group == "high") {
				continue
			}
			r.Demand += b.Weight
			before.add(s, b, mapping.Nearest(s.RTT.Row(resolver.Row), sites))
			after.add(s, b, mapping.Nearest(s.RTT.Row(b.Row), sites))
		}
		r.Before, r.After = before.figures(), after.figures()
		out = append(out, r)
	}
	return out
}

// served collects clients with their sites.
type served struct{ miles, rtt []weighted }

func (v *served) add(s *endUserRun, b *model.Block, site uint16) {
	v.miles = append(v.miles, weighted{b.Place.DistanceKm(s.Sites[site]) / kmPerMile, b.Weight})
	rtt := s.RTT.Row(b.Row)[site].Duration() + b.LastMile
	v.rtt = append(v.rtt, weighted{rtt.Seconds() * 1000, b.Weight})
}

// The page model, fitted to the differences in the paper: the first byte comes after
// firstByteFixed and firstByteTrips round trips, the rest after downloadTrips more.
const (
	firstByteFixed = 400 * time.Millisecond
	firstByteTrips = 3.0
	downloadTrips  = 1.5
)

func (v *served) figures() Served {
	rtt, p75 := mean(v.rtt), quantile(v.rtt, 0.75)
	firstByte := func(ms float64) perto.Millis { return perto.Millis(firstByteFixed) + millis(firstByteTrips*ms) }
	return Served{mean(v.miles), quantile(v.miles, 0.9), millis(rtt), millis(p75), firstByte(rtt), firstByte(p75), millis(downloadTrips * rtt), millis(downloadTrips * p75)}
}
