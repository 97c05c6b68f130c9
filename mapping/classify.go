package mapping

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"perto/geodata"
)

// gathering collects the cells of a class.
type gathering struct {
	key  classKey
	head []ranked
	sum  vector
}

// classify assigns a class to every cell. Cells of a class share the head of its
// ranking. The rest of the ranking is computed from the class's middle. With joins, the
// profiles have the options for joining scopes.
func (m *Map) classify(joins bool) (*cells, error) {
	c := newCells(m.Geo.NumCells())
	allowed := m.allowed()
	fences := m.fencesOf(len(c.of))
	depth := rankDepth
	if joins {
		depth = max(depth, maxAlternatives)
	}
	heads, sum := m.rankCells(fences, allowed, depth)
	byKey := make(map[classKey]uint16)
	classes := make([]gathering, 1) // the unknown class has no key
	profiles := make(map[profile]uint16)
	var everywhere vector
	for cell := geodata.Cell(1); int(cell) < len(c.of); cell++ {
		list, fence := heads[cell], fences[cell]
		key := keyOf(fence, list)
		id, ok := byKey[key]
		if !ok {
			if len(classes) == 1<<16 {
				return nil, fmt.Errorf("more than %d classes", 1<<16)
			}
			id = uint16(len(classes))
			byKey[key] = id
			classes = append(classes, gathering{key: key, head: list[:key.n]})
		}
		v := toVector(m.Geo.Place(cell))
		for i := range v {
			classes[id].sum[i] += v[i]
			everywhere[i] += v[i]
		}
		p := profile{class: id, fence: fence}
		if joins && !m.Geo.Overridden(cell) {
			p = profileOf(id, fence, list)
		}
		index, ok := profiles[p]
		if !ok {
			index = uint16(len(c.profiles))
			profiles[p] = index
			c.profiles = append(c.profiles, p)
		}
		c.of[cell] = index
	}
	m.rankClasses(classes, allowed)
	m.classes[unknownClass] = class{rank: rankSites(sum, allowed[0]), middle: everywhere.place()}
	c.bands = make([][]uint16, len(classes))
	for id, g := range classes {
		for _, r := range g.head {
			if r.band == g.head[0].band {
				c.bands[id] = append(c.bands[id], r.site)
			}
		}
	}
	return c, nil
}

// fencesOf returns the fence of each cell, as an index+1.
func (m *Map) fencesOf(cells int) []uint16 {
	out := make([]uint16, cells)
	ofCountry := make(map[string]uint16)
	for cell := 1; len(m.fences) > 0 && cell < cells; cell++ {
		country := m.Geo.Place(geodata.Cell(cell)).Country
		fence, ok := ofCountry[country]
		if !ok {
			fence = m.fence(country)
			ofCountry[country] = fence
		}
		out[cell] = fence
	}
	return out
}

// rankCells ranks the nearest sites of each cell. It also returns the mean round-trip
// time of each site from all cells.
func (m *Map) rankCells(fences []uint16, allowed [][]uint16, depth int) ([][]ranked, []time.Duration) {
	heads := make([][]ranked, len(fences))
	sum := make([]time.Duration, len(m.Sites)) // at most 2^16 cells of 0.4 s: far from overflow
	var mu sync.Mutex
	inParts(1, len(fences), func(from, to int) {
		row, part := make([]time.Duration, len(m.Sites)), make([]time.Duration, len(m.Sites))
		slab := make([]ranked, 0, (to-from)*min(depth, len(m.Sites)))
		for cell := from; cell < to; cell++ {
			m.rtt(row, Clients{geodata.Cell(cell), m.Geo.Place(geodata.Cell(cell))})
			for i, d := range row {
				part[i] += d
			}
			start := len(slab)
			slab = rankHead(slab, row, allowed[fences[cell]], depth)
			heads[cell] = slab[start:len(slab):len(slab)]
		}
		mu.Lock()
		defer mu.Unlock()
		for i, d := range part {
			sum[i] += d
		}
	})
	for i := range sum {
		sum[i] /= time.Duration(max(1, len(fences)-1))
	}
	return heads, sum
}

// rankClasses ranks the sites of each class from its middle, behind its common head.
func (m *Map) rankClasses(classes []gathering, allowed [][]uint16) {
	m.classes = make([]class, len(classes))
	inParts(1, len(classes), func(from, to int) {
		row := make([]time.Duration, len(m.Sites))
		for id := from; id < to; id++ {
			g, c := &classes[id], &m.classes[id]
			c.middle = g.sum.place()
			if g.key.fence > 0 {
				c.fence = m.fences[g.key.fence-1].Name
			}
			m.rtt(row, Clients{Place: c.middle})
			c.rank = withHead(g.head, rankSites(row, allowed[g.key.fence]))
		}
	})
}

// inParts calls work for equal parts of a range, concurrently on all processors.
func inParts(from, to int, work func(from, to int)) {
	parts := min(runtime.GOMAXPROCS(0), max(0, to-from))
	var wg sync.WaitGroup
	for i := range parts {
		a, b := from+(to-from)*i/parts, from+(to-from)*(i+1)/parts
		wg.Go(func() { work(a, b) })
	}
	wg.Wait()
}

// withHead puts a class's common head before the rest of its middle's ranking. The
// bands of the rest begin behind the head's last band. It changes list.
func withHead(head, list []ranked) []ranked {
	if len(head) == 0 {
		return nil
	}
	last := int(head[len(head)-1].band)
	// The entries of the head leave room for it, from the back.
	to := len(list)
	for _, r := range slices.Backward(list) {
		if slices.ContainsFunc(head, func(h ranked) bool { return h.site == r.site }) {
			continue
		}
		r.band = uint8(min(maxBands, last+1+int(r.band)))
		to--
		list[to] = r
	}
	copy(list[:to], head)
	return list
}
