package mapping

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"perto"
	"perto/geodata"
	"perto/internal/lpm"
	"perto/replicas"
)

// populousSites draws n PoPs from the 2n cells with the most /24s that are 200 km apart.
func populousSites(geo *geodata.Map, n int, seed uint64) []replicas.Site {
	weight := make([]uint32, geo.NumCells())
	ranges := geo.Ranges4()
	for i, r := range ranges {
		end := uint32(1) << lpm.Bits4
		if i+1 < len(ranges) {
			end = ranges[i+1].Start
		}
		weight[r.Value] += end - r.Start
	}
	cells := make([]geodata.Cell, 0, len(weight))
	for c := range weight[1:] {
		cells = append(cells, geodata.Cell(c+1))
	}
	slices.SortFunc(cells, func(a, b geodata.Cell) int { return cmp.Compare(weight[b], weight[a]) })
	var places []perto.Place
	for _, c := range cells {
		at := geo.Place(c)
		if len(places) < 2*n && !slices.ContainsFunc(places, func(p perto.Place) bool { return p.DistanceKm(at) < 200 }) {
			places = append(places, at)
		}
	}
	rand.New(rand.NewPCG(seed, 0)).Shuffle(len(places), func(i, j int) { places[i], places[j] = places[j], places[i] })
	var out []replicas.Site
	for i, p := range places[:n] {
		out = append(out, replicas.Site{Name: perto.PoP(fmt.Sprintf("p%03d", i)), Place: p})
	}
	return out
}

// citySites draws n PoPs from the 1,000 cities with the most inhabitants.
func citySites(t testing.TB, n int, seed uint64) []replicas.Site {
	t.Helper()
	f, err := os.Open("../geodata/cities.tsv.gz") // docs/formats/geodata.md
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zr, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var places []perto.Place
	for lines := bufio.NewScanner(zr); lines.Scan() && len(places) < 1000; {
		if fields := strings.Split(lines.Text(), "\t"); fields[0] == "C" {
			lat, _ := strconv.ParseFloat(fields[4], 64)
			lon, _ := strconv.ParseFloat(fields[5], 64)
			places = append(places, perto.Place{Country: fields[1], Name: fields[3], Lat: lat * 1e-5, Lon: lon * 1e-5})
		}
	}
	rand.New(rand.NewPCG(seed, 0)).Shuffle(len(places), func(i, j int) { places[i], places[j] = places[j], places[i] })
	var out []replicas.Site
	for i, p := range places[:n] {
		out = append(out, replicas.Site{Name: perto.PoP(fmt.Sprintf("p%03d", i)), Place: p})
	}
	return out
}

// regrets is what the clients of a map lose through joined scopes, by an independent
// computation from places.
type regrets struct {
	networks float64
	sum      float64     // ms
	failSum  float64     // ms beyond the best of the others when the first PoP is down
	count    [64]float64 // networks by regret in ms
	worst    float64     // ms, to any PoP of the first band
}

// add counts n networks of a place that have a class.
func (g *regrets) add(m *Map, at perto.Place, class uint16, n float64) {
	rtt := make([]float64, len(m.Sites))
	allowed := m.allowed()[m.fence(at.Country)]
	for i, s := range m.Sites {
		rtt[i] = math.Inf(1)
		if slices.Contains(allowed, uint16(i)) {
			rtt[i] = float64(perto.PriorRTT(at.DistanceKm(s.Place))) / float64(time.Millisecond)
		}
	}
	rank := m.classes[class].rank
	sorted := slices.Sorted(slices.Values(rtt))
	first := rtt[rank[0].site]
	lost := first - sorted[0]
	g.networks += n
	g.sum += lost * n
	g.count[min(int(lost), len(g.count)-1)] += n
	for _, r := range rank[:min(len(rank), rankDepth)] {
		if r.band == rank[0].band {
			g.worst = max(g.worst, rtt[r.site]-sorted[0])
		}
	}
	if len(rank) > 1 {
		others := sorted[0]
		if others == first {
			others = sorted[1]
		}
		g.failSum += (rtt[rank[1].site] - others) * n
	}
}

// p returns a quantile of the regret, in ms and rounded down.
func (g *regrets) p(q float64) int {
	sum := 0.0
	for ms, n := range g.count {
		if sum += n; sum >= q*g.networks {
			return ms
		}
	}
	return len(g.count)
}

// regretsOf computes the regrets of all IPv4 networks, or of every nth range.
func regretsOf(m *Map, nth int) *regrets {
	g := new(regrets)
	ranges := m.Geo.Ranges4()
	for i := 0; i < len(ranges)-1; i += nth {
		if ranges[i].Value == 0 {
			continue
		}
		for key := ranges[i].Start; key < ranges[i+1].Start; {
			e := m.v4.At(key)
			block := uint32(1) << (lpm.Bits4 - e&0xff)
			end := min(ranges[i+1].Start, key&^(block-1)+block)
			g.add(m, m.Geo.Place(ranges[i].Value), uint16(e>>8), float64(end-key))
			key = end
		}
	}
	return g
}

// joinedMap compiles a map with a regret bound.
func joinedMap(t testing.TB, geo *geodata.Map, sites []replicas.Site, bound time.Duration) *Map {
	t.Helper()
	p := standardPolicy()
	p.ScopeRegret = bound
	p.Fences = []Fence{{Name: "de", Countries: []string{"DE"}, PoPs: []perto.PoP{sites[0].Name, sites[1].Name}}}
	m, err := NewMap(geo, sites, p)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestJoinedScopesKeepTheirLimits compares the whole IPv4 map with an independent
// computation.
func TestJoinedScopesKeepTheirLimits(t *testing.T) {
	geo, err := world(t).WithOverrides([]geodata.Override{
		{Prefix: netip.MustParsePrefix("80.0.7.0/24"), Place: perto.Place{Country: "DE", Lat: 50.1, Lon: 8.6}},
	})
	if err != nil {
		t.Fatal(err)
	}
	sites := populousSites(geo, 20, 1)
	exact, ranges := joinedMap(t, geo, sites, 0), geo.Ranges4()
	for _, bound := range []time.Duration{100 * time.Microsecond, 20 * time.Millisecond} {
		m := joinedMap(t, geo, sites, bound)
		s := m.Scopes(IPv4)
		g := regretsOf(m, 211)
		mean := time.Duration(g.sum / g.networks * float64(time.Millisecond))
		t.Logf("bound %v: %d of %d blocks, regret %v (reported %v), worst %.1f ms", bound, s.Blocks, s.Exact, mean, s.Regret, g.worst)
		if s.Regret > bound || mean > bound || mean > 2*s.Regret || s.Blocks >= s.Exact {
			t.Errorf("bound %v: got a mean regret of %v (reported %v)", bound, mean, s.Regret)
		}
		if limit := float64((maxRegret + regretUnit) / time.Millisecond); g.worst > limit {
			t.Errorf("bound %v: a network loses %.1f ms, more than %.1f", bound, g.worst, limit)
		}
		for i, r := range ranges {
			if i%5 != 0 && !geo.Overridden(r.Value) {
				continue
			}
			was, is := exact.v4.At(r.Start), m.v4.At(r.Start)
			a, b := &exact.classes[was>>8], &m.classes[is>>8]
			if a.fence != b.fence || (was>>8 == unknownClass) != (is>>8 == unknownClass) || geo.Overridden(r.Value) && was != is {
				t.Fatalf("range %d at %s: class %d (%q) became %d (%q)", i, lpm.Prefix4(r.Start, 24), was>>8, a.fence, is>>8, b.fence)
			}
			if is&0xff > was&0xff {
				t.Fatalf("%s: scope /%d became /%d", lpm.Prefix4(r.Start, 24), was&0xff, is&0xff)
			}
		}
		if bound > time.Millisecond {
			checkPartition(t, m)
		}
	}
}

// checkPartition checks that the scopes of both families divide the address space. Two
// scopes that overlap would break the caches of resolvers (RFC 7871, section 7.2.1).
func checkPartition(t *testing.T, m *Map) {
	t.Helper()
	for key := uint64(0); key < 1<<lpm.Bits4; {
		e := m.v4.At(uint32(key))
		size := uint64(1) << (lpm.Bits4 - e&0xff)
		if key&(size-1) != 0 || m.v4.At(uint32(key+size-1)) != e || m.v4.At(uint32(key+size/2)) != e {
			t.Fatalf("%s is no block", lpm.Prefix4(uint32(key), int(e&0xff)))
		}
		key += size
	}
	for key := uint64(0); key < 1<<lpm.Bits6; {
		e := m.v6.At(key)
		size := uint64(1) << (lpm.Bits6 - e&0xff)
		if key&(size-1) != 0 || m.v6.At(key+size-1) != e || m.v6.At(key+size/2) != e {
			t.Fatalf("%s is no block", lpm.Prefix6(key, int(e&0xff)))
		}
		key += size
	}
	for _, form := range []geodata.Transition{geodata.NAT64, geodata.Teredo, geodata.SixToFour} {
		if _, scope := m.lookup(form.Prefix().Addr()); int(scope) != min(form.Prefix().Bits(), lpm.Bits6) {
			t.Errorf("%s: a scope of /%d contains %s", form, scope, form.Prefix())
		}
	}
}

// TestExactScopesAreThoseOfClasses: without a bound, the blocks are the largest with one
// class.
func TestExactScopesAreThoseOfClasses(t *testing.T) {
	geo := world(t)
	m := joinedMap(t, geo, tenSites(), 0)
	c, err := m.classify(false)
	if err != nil {
		t.Fatal(err)
	}
	var want []lpm.Range4[uint16]
	for r := range geo.All4() {
		want = append(want, lpm.Range4[uint16]{Start: r.Start, Value: c.profiles[c.of[r.Value]].class})
	}
	n := 0
	for p, class := range lpm.Blocks4(want) {
		if got, scope := m.lookup(p.Addr()); got != class || int(scope) != p.Bits() {
			t.Fatalf("%s: got class %d and scope /%d, want class %d", p, got, scope, class)
		}
		if class != unknownClass {
			n++
		}
	}
	if s := m.Scopes(IPv4); s.Exact != n || s.Blocks != n || s.Regret != 0 {
		t.Errorf("got %+v, want %d blocks", s, n)
	}
}

// TestJoinIsOptimal compares the pruned tree with the best of all trees, on small random
// address spaces.
func TestJoinIsOptimal(t *testing.T) {
	const width = 5
	for seed := range uint64(2000) {
		rng := rand.New(rand.NewPCG(seed, 3))
		c := newCells(1)
		c.bands = [][]uint16{nil, {0}, {1}, {2}, {3}}
		for range 5 {
			p := profile{class: uint16(rng.IntN(5))}
			p.fence = p.class / 4 // a class has one fence
			if p.class != unknownClass {
				for site := range uint16(4) {
					if own := site == p.class-1; own || rng.IntN(2) == 0 {
						p.site[p.n] = site
						if !own {
							p.regret[p.n] = uint16(1 + rng.IntN(60))
						}
						p.n++
					}
				}
				// The nearest PoP is the first.
				slices.SortFunc(p.site[:p.n], func(a, b uint16) int {
					return cmp.Compare(btoi(a != p.class-1), btoi(b != p.class-1))
				})
				slices.SortFunc(p.regret[:p.n], cmp.Compare)
			}
			c.profiles = append(c.profiles, p)
		}
		values := make([]uint16, 1<<width)
		var profiles rows
		for key := range values {
			values[key] = uint16(rng.IntN(5)) + firstProfile
			if rng.IntN(2) == 0 && key > 0 {
				values[key] = values[key-1]
			}
			if key == 0 || values[key] != values[key-1] {
				profiles = append(profiles, newRow(uint64(key), values[key]))
			}
		}
		bound := time.Duration(rng.IntN(3)) * time.Millisecond
		out, s := c.join(profiles, width, bound)
		lambda := 0.0
		if s.Exact > 0 {
			lambda = float64(bound/regretUnit) * s.Networks / float64(s.Exact)
		}
		got := 0.0
		for i, b := range out {
			blocks := 0.0
			for key := b.start(); key < out.end(i, width); key++ {
				if p := c.profiles[values[key]]; p.class != unknownClass {
					blocks = 1
					if p.class != b.value() {
						k := slices.Index(p.site[:p.n], b.value()-1)
						got += float64(p.regret[k])
					}
				}
			}
			got += blocks * lambda
		}
		if want := cheapest(c, values, lambda); math.Abs(got-want) > 1e-6 {
			t.Fatalf("seed %d: the tree costs %.1f, the best one %.1f", seed, got, want)
		}
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// cheapest returns the cost of the best tree over networks with the given profiles. It
// tries each class for each block.
func cheapest(c *cells, values []uint16, lambda float64) float64 {
	best := math.Inf(1)
	if len(values) > 1 {
		best = cheapest(c, values[:len(values)/2], lambda) + cheapest(c, values[len(values)/2:], lambda)
	}
	for class := range uint16(5) {
		cost, ok, present, weight := lambda, true, false, 0.0
		for _, v := range values {
			p := c.profiles[v]
			k := slices.Index(p.site[:p.n], class-1)
			ok = ok && p.fence == c.profiles[values[0]].fence
			switch {
			case p.class == class:
				present = true
			case class == unknownClass || p.class == unknownClass || k < 0:
				ok = false
			default:
				cost += float64(p.regret[k])
			}
			weight++
		}
		if class == unknownClass {
			cost = 0
		} else if cost-lambda > float64(maxBlockRegret/regretUnit)*weight {
			ok = false
		}
		if ok && present {
			best = min(best, cost)
		}
	}
	return best
}

// BenchmarkScopes compiles maps of PoPs in the 2n most populous cells that are 200 km
// apart (hubs), or in the 1,000 biggest cities (cities). It reports for IPv4: blocks
// with a known place, /24s for each of them, the mean and the 99th percentile of the
// regret, the mean regret of fail-over, and the cache entries of a resolver after
// 60,000 and 1,000,000 random clients. A bound of 0 gives uniform scopes, as gdnsd does.
// v6-blocks are those of IPv6.
func BenchmarkScopes(b *testing.B) {
	geo := world(b)
	for _, n := range []int{10, 50, 200} {
		for _, at := range []string{"hubs", "cities"} {
			sites := populousSites(geo, n, 1)
			if at == "cities" {
				sites = citySites(b, n, 1)
			}
			for _, bound := range []time.Duration{0, 200 * time.Microsecond, time.Millisecond, 5 * time.Millisecond} {
				b.Run(fmt.Sprintf("pops=%d/at=%s/regret=%s", n, at, bound), func(b *testing.B) {
					benchmarkScopes(b, geo, sites, bound)
				})
			}
		}
	}
}

func benchmarkScopes(b *testing.B, geo *geodata.Map, sites []replicas.Site, bound time.Duration) {
	p := standardPolicy()
	p.ScopeRegret = bound
	var m *Map
	for b.Loop() {
		var err error
		if m, err = NewMap(geo, sites, p); err != nil {
			b.Fatal(err)
		}
	}
	s, g := m.Scopes(IPv4), regretsOf(m, 17)
	b.ReportMetric(float64(s.Blocks), "blocks")
	b.ReportMetric(s.Networks/float64(s.Blocks), "/24s/block")
	b.ReportMetric(float64(s.Regret.Nanoseconds())/1000, "regret-us")
	b.ReportMetric(float64(g.p(0.99)), "regret-p99-ms")
	b.ReportMetric(g.failSum/g.networks*1000, "failover-us")
	b.ReportMetric(float64(entriesOf(m, 60_000)), "entries-of-60k")
	b.ReportMetric(float64(entriesOf(m, 1_000_000)), "entries-of-1M")
	b.ReportMetric(float64(m.Scopes(IPv6).Blocks), "v6-blocks")
}

// entriesOf returns how many scopes n random clients with a known place have.
func entriesOf(m *Map, n int) int {
	rng := rand.New(rand.NewPCG(1, 1))
	seen := make(map[netip.Prefix]bool)
	for n > 0 {
		key := rng.Uint32N(1 << lpm.Bits4)
		addr := lpm.Prefix4(key, lpm.Bits4).Addr()
		if m.Geo.Lookup(addr) == 0 {
			continue
		}
		n--
		_, scope := m.lookup(addr)
		block, _ := addr.Prefix(int(scope))
		seen[block] = true
	}
	return len(seen)
}

// TestExplainStatesRegret looks for a client that is not served by its nearest PoP.
func TestExplainStatesRegret(t *testing.T) {
	geo, sites := world(t), tenSites()
	p := standardPolicy()
	p.ScopeRegret = time.Millisecond
	m, err := NewMap(geo, sites, p)
	if err != nil {
		t.Fatal(err)
	}
	a := Decide(m, p, fleetOf(sites, 2), nil)
	found := 0
	for i := uint32(0); found < 20 && i < 1<<20; i++ {
		addr := lpm.Prefix4(i*2654435761>>8, lpm.Bits4).Addr()
		class, scope := m.lookup(addr)
		if first := m.Sites[m.classes[class].rank[0].site]; class == unknownClass || first.Name == nearestOf(sites, geo.LookupPlace(addr)) {
			continue
		}
		found++
		e := a.Explain(addr, Subnet{addr, 24}, IPv4)
		if e.Scope != scope || e.Regret <= 0 || e.Regret > e.RegretMax || e.RegretBound.Duration() != p.ScopeRegret {
			t.Errorf("%s: got %+v", addr, e)
		}
		if !strings.Contains(e.Why, "is nearer to this client by") || !strings.Contains(e.Why, fmt.Sprintf("scope /%d", scope)) {
			t.Errorf("%s: explained as %q", addr, e.Why)
		}
	}
	if found == 0 {
		t.Error("every client has its nearest PoP: nothing was joined")
	}
}

func nearestOf(sites []replicas.Site, at perto.Place) perto.PoP {
	return slices.MinFunc(sites, func(a, b replicas.Site) int {
		return cmp.Compare(at.DistanceKm(a.Place), at.DistanceKm(b.Place))
	}).Name
}
