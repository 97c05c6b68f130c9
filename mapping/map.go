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
func newMap(geo *geodata.Map, sites []replicas.Site, p *Policy, source Source) (*Map, error) {
	m := &Map{Geo: geo}
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
	m.rtt = source(m.Sites)
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

// fence returns the index+1 of the fence that applies to a country, or 0.
func (m *Map) fence(country string) uint16 {
	for i, f := range m.fences {
		if slices.Contains(f.Countries, country) {
			return uint16(i + 1)
		}
	}
	return 0
}

// allowed returns the sites that may serve under each fence. Index 0 has all sites.
func (m *Map) allowed() [][]uint16 {
	out := make([][]uint16, 1+len(m.fences))
	for i := range m.Sites {
		out[0] = append(out[0], uint16(i))
		for k, f := range m.fences {
			if slices.Contains(f.PoPs, m.Sites[i].Name) {
				out[k+1] = append(out[k+1], uint16(i))
			}
		}
	}
	return out
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
