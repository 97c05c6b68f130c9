package mapping

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"perto"
	"perto/geodata"
	"perto/internal/lpm"
	"perto/replicas"
)

// Map is the second table. It maps a network to a class and to the ECS scope in which
// the class is constant. It changes with the members of a service, its fences and the
// geodata, never with health or load. It is immutable.
type Map struct {
	Sites []replicas.Site // the members, by index
	Geo   *geodata.Map    // the source of the cells

	rtt        RTT
	classes    []class
	v4         *lpm.V4[uint32]
	v6         *lpm.V6[uint32]
	exceptions []exception // longest prefixes first; usually none
	fences     []Fence
	learned    *Learned // nil: nothing is learned
	scopes     [families]Scopes
	regret     time.Duration // bound of the mean regret
}

// class is a ranking that many networks share.
type class struct {
	rank   []ranked
	fence  string      // the fence that applies, or ""
	middle perto.Place // mean place of its cells
}

// unknownClass is the class of addresses without a known place. It ranks PoPs by their
// mean distance from all cells.
const unknownClass = 0

// exception is an override longer than the tables' granularity.
type exception struct {
	prefix netip.Prefix
	class  uint16
}

// entry packs the table value of a network.
func entry(class uint16, scope int) uint32 { return uint32(class)<<8 | uint32(scope) }

// NewMap compiles the map of a set of sites. The policy's PoPs are the members (empty:
// all sites). Its fences apply only when its chain has the fence step.
func NewMap(geo *geodata.Map, sites []replicas.Site, p *Policy) (*Map, error) {
	return newMap(geo, sites, p, PriorRTT)
}

// newMap compiles the map with a source of round-trip times.
func newMap(geo *geodata.Map, sites []replicas.Site, p *Policy, rtt RTT) (*Map, error) {
	m := &Map{Geo: geo, rtt: rtt}
	for _, s := range sites {
		if len(p.PoPs) == 0 || slices.Contains(p.PoPs, s.Name) {
			m.Sites = append(m.Sites, s)
		}
	}
	if len(m.Sites) == 0 {
		return nil, fmt.Errorf("service %s has no PoP", p.Service)
	}
	if len(m.Sites) > 1<<16-1 {
		return nil, fmt.Errorf("service %s has %d PoPs; the limit is %d", p.Service, len(m.Sites), 1<<16-1)
	}
	m.regret = p.ScopeRegret
	if p.has(StepFence) {
		m.fences = p.Fences
	}
	c, err := m.classify(p.ScopeRegret > 0)
	if err != nil {
		return nil, fmt.Errorf("service %s: %w", p.Service, err)
	}
	var compiling sync.WaitGroup
	compiling.Go(func() {
		blocks, scopes := c.join(c.rows4(geo), lpm.Bits4, p.ScopeRegret)
		m.v4, m.scopes[IPv4] = lpm.CompileV4(blocks.blocks4), scopes
	})
	blocks, scopes := c.join(c.rows6(geo), lpm.Bits6, p.ScopeRegret)
	m.v6, m.scopes[IPv6] = lpm.CompileV6(blocks.blocks6), scopes
	compiling.Wait()
	for _, e := range geo.Exceptions() {
		m.exceptions = append(m.exceptions, exception{e.Prefix, c.profiles[c.of[e.Cell]].class})
	}
	slices.SortFunc(m.exceptions, func(a, b exception) int { return cmp.Compare(b.prefix.Bits(), a.prefix.Bits()) })
	return m, nil
}

// classify assigns a class to every cell. Cells of a class share the head of its
// ranking. The rest of the ranking is computed from the class's middle. With joins, the
// profiles have the options for joining scopes.
func (m *Map) classify(joins bool) (*cells, error) {
	type gathering struct {
		id  uint16
		sum vector
	}
	byKey := make(map[classKey]*gathering)
	keys := make([]classKey, 1) // by class; the unknown class has none
	heads := make([][]ranked, 1)
	c := newCells(m.Geo.NumCells())
	profiles := make(map[profile]uint16)
	fenceOf := make(map[string]uint16)
	var everywhere vector
	row := make([]time.Duration, len(m.Sites))
	sum := make([]time.Duration, len(m.Sites)) // at most 2^16 cells of 0.4 s: far from overflow
	for cell := geodata.Cell(1); int(cell) < len(c.of); cell++ {
		place := m.Geo.Place(cell)
		fence, ok := fenceOf[place.Country]
		if !ok {
			fence = m.fence(place.Country)
			fenceOf[place.Country] = fence
		}
		m.rtt(row, Clients{cell, place}, m.Sites)
		for i, d := range row {
			sum[i] += d
		}
		list := rankSites(row, m.allowed(fence))
		key := keyOf(fence, list)
		g := byKey[key]
		if g == nil {
			if len(keys) == 1<<16 {
				return nil, fmt.Errorf("more than %d classes", 1<<16)
			}
			g = &gathering{id: uint16(len(keys))}
			byKey[key] = g
			keys = append(keys, key)
			heads = append(heads, list[:key.n])
		}
		v := toVector(place)
		for i := range v {
			g.sum[i] += v[i]
			everywhere[i] += v[i]
		}
		p := profile{class: g.id, fence: fence}
		if joins && !m.Geo.Overridden(cell) {
			p = profileOf(g.id, fence, list)
		}
		index, ok := profiles[p]
		if !ok {
			index = uint16(len(c.profiles))
			profiles[p] = index
			c.profiles = append(c.profiles, p)
		}
		c.of[cell] = index
	}
	m.classes = make([]class, len(keys))
	m.classes[unknownClass] = class{rank: m.rankEverywhere(sum), middle: everywhere.place()}
	c.bands = make([][]uint16, len(keys))
	for key, g := range byKey {
		for _, r := range heads[g.id] {
			if r.band == heads[g.id][0].band {
				c.bands[g.id] = append(c.bands[g.id], r.site)
			}
		}
		group := class{middle: g.sum.place()}
		if key.fence > 0 {
			group.fence = m.fences[key.fence-1].Name
		}
		m.rtt(row, Clients{Place: group.middle}, m.Sites)
		group.rank = withHead(heads[g.id], rankSites(row, m.allowed(key.fence)))
		m.classes[g.id] = group
	}
	return c, nil
}

// withHead puts a class's common head before the rest of its middle's ranking. The
// bands of the rest begin behind the head's last band.
func withHead(head, list []ranked) []ranked {
	out := slices.Clone(head)
	if len(head) == 0 {
		return out
	}
	last := head[len(head)-1]
	var rest []ranked
	for _, r := range list {
		if !slices.ContainsFunc(head, func(h ranked) bool { return h.site == r.site }) {
			rest = append(rest, r)
		}
	}
	for _, r := range rest {
		r.band = uint8(min(maxBands, int(last.band)+1+int(r.band)))
		out = append(out, r)
	}
	return out
}

// rankEverywhere ranks the sites by their mean round-trip time from all cells. sum has
// the sum of these times for each site.
func (m *Map) rankEverywhere(sum []time.Duration) []ranked {
	cells := max(1, m.Geo.NumCells()-1)
	for i := range sum {
		sum[i] /= time.Duration(cells)
	}
	return rankSites(sum, nil)
}

// fence returns the index+1 of the fence that applies to a country, or 0.
func (m *Map) fence(country string) uint16 {
	for i, f := range m.fences {
		if slices.Contains(f.Countries, country) {
			return uint16(i + 1)
		}
	}
	return 0
}

// allowed returns the filter of a fence, or nil when there is none.
func (m *Map) allowed(fence uint16) func(int) bool {
	if fence == 0 {
		return nil
	}
	f := m.fences[fence-1]
	return func(i int) bool { return slices.Contains(f.PoPs, m.Sites[i].Name) }
}

// Classes returns how many classes the map has.
func (m *Map) Classes() int { return len(m.classes) }

// Scopes returns the number of ECS scopes of a family, and the regret that they cost.
func (m *Map) Scopes(f Family) Scopes { return m.scopes[f] }

// lookup returns the class of an address. It also returns the length, in bits, of the
// largest block around it in which the class is constant.
func (m *Map) lookup(addr netip.Addr) (class uint16, scope uint8) {
	var e uint32
	if addr.Is4() {
		e = m.v4.Lookup(addr)
	} else {
		e = m.v6.Lookup(addr)
	}
	return uint16(e >> 8), uint8(e)
}
