package mapping

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"perto"
	"perto/geodata"
)

// Learned is the part of a map that follows from a Learner: groups whose clients are
// served better by another ranking than that of the resolver's place. It is immutable.
type Learned struct {
	Groups []LearnedGroup // with enough evidence, by group

	version uint64 // another ranking is in use after each change
	base    *Map
	classes []class     // behind those of base
	table   *groupTable // group to class, of the groups that are in use
}

// LearnedGroup is the state of one resolver group.
type LearnedGroup struct {
	Group  Group `json:"resolvers"`
	Blocks int   `json:"client_blocks"` // distinct /24 and /48, estimated above 12
	// Geo is the nearest PoP to the resolver, Best the PoP with the least mean round trip
	// from its clients. The times are means over the clients.
	Geo     perto.PoP    `json:"geo_pop"`
	GeoRTT  perto.Millis `json:"geo_rtt_ms"`
	Best    perto.PoP    `json:"best_pop"`
	BestRTT perto.Millis `json:"best_rtt_ms"`
	// Regret is the mean time that clients lose to their own nearest PoPs, with the PoP
	// that the group gets now. It is the price of not knowing the client.
	Regret perto.Millis `json:"regret_ms"`
	Used   bool         `json:"used"` // the ranking for its clients is in use
	Since  time.Time    `json:"since"`
}

// The evidence that a ranking for a group's clients needs.
const (
	// learnedBlocks is the number of client blocks. With 8 sampled clients a group has 82 %
	// of the gain that full knowledge has (docs/rationale.md, "Eight clients are evidence").
	learnedBlocks = 8
	// learnedGain and learnedShare are the gain that it needs: 3 ms and 10 %. It keeps its
	// ranking until the gain is below half of that.
	learnedGain  = 3 * time.Millisecond
	learnedShare = 0.10
	// learnedHold is the time for which the ranking of a group stays.
	learnedHold = 10 * time.Minute
	// pseudoClients is the weight of the resolver's own place among its clients.
	pseudoClients = 2
)

// costs has the round-trip times from cells, each computed once.
type costs struct {
	m    *Map
	rows map[geodata.Cell][]time.Duration
}

func (c *costs) row(cell geodata.Cell) []time.Duration {
	row, ok := c.rows[cell]
	if !ok {
		row = make([]time.Duration, len(c.m.Sites))
		c.m.rtt(row, Clients{cell, c.m.Geo.Place(cell)})
		c.rows[cell] = row
	}
	return row
}

// Learn ranks the PoPs for the clients of each group with enough evidence. prev is the
// last result, or nil.
func (m *Map) Learn(l *Learner, now time.Time, prev *Learned) (*Learned, error) {
	out := &Learned{base: m}
	before := make(map[Group]*LearnedGroup)
	if prev != nil && sameSites(prev.base, m) {
		for i := range prev.Groups {
			before[prev.Groups[i].Group] = &prev.Groups[i]
		}
	}
	c := &costs{m: m, rows: make(map[geodata.Cell][]time.Duration)}
	byKey := make(map[classKey]uint16)
	type used struct {
		group Group
		class uint16
	}
	var inUse []used
	var failed error
	l.each(func(g Group, blocks int, clients *groupClients) {
		if blocks < learnedBlocks || failed != nil {
			return
		}
		state, list := c.rank(g, blocks, clients, before[g], now)
		out.Groups = append(out.Groups, state)
		if !state.Used {
			return
		}
		key := keyOf(0, list)
		id, ok := byKey[key]
		if !ok {
			if len(m.classes)+len(out.classes) == 1<<16 {
				failed = fmt.Errorf("more than %d classes", 1<<16)
				return
			}
			id = uint16(len(m.classes) + len(out.classes))
			byKey[key] = id
			at, _ := m.lookup(g.Prefix().Addr())
			out.classes = append(out.classes, class{rank: list, fence: m.classes[at].fence, middle: m.classes[at].middle})
		}
		inUse = append(inUse, used{g, id})
	})
	if failed != nil {
		return nil, failed
	}
	slices.SortFunc(out.Groups, func(a, b LearnedGroup) int { return cmp.Compare(a.Group, b.Group) })
	out.table = newGroupTable(len(inUse))
	for _, u := range inUse {
		out.table.put(u.group, u.class)
	}
	if prev != nil {
		out.version = prev.version
		if prev.base != m || !out.ranksLike(prev) {
			out.version++
		}
	}
	return out, nil
}

// ranksLike reports whether queries get the same answers with another result for the same
// map. Groups in use have the same head of their ranking.
func (l *Learned) ranksLike(prev *Learned) bool {
	if len(l.Groups) == 0 && len(prev.Groups) == 0 {
		return true
	}
	used := 0
	for _, g := range l.Groups {
		if !g.Used {
			continue
		}
		used++
		a, _ := l.table.get(g.Group)
		b, ok := prev.table.get(g.Group)
		if !ok || keyOf(0, l.classes[int(a)-len(l.base.classes)].rank) != keyOf(0, prev.classes[int(b)-len(prev.base.classes)].rank) {
			return false
		}
	}
	return used == prev.used()
}

func (l *Learned) used() (n int) {
	for _, g := range l.Groups {
		if g.Used {
			n++
		}
	}
	return n
}

// Version changes when queries get other answers than with the result before.
func (l *Learned) Version() uint64 { return l.version }

// Of returns the state of the group of a resolver, or nil when it has too little evidence.
func (l *Learned) Of(resolver netip.Addr) *LearnedGroup {
	if l == nil {
		return nil
	}
	i, ok := slices.BinarySearchFunc(l.Groups, GroupOf(resolver), func(g LearnedGroup, want Group) int { return cmp.Compare(g.Group, want) })
	if !ok {
		return nil
	}
	return &l.Groups[i]
}

// rank returns the state of a group, and the ranking of the PoPs for its clients.
func (c *costs) rank(g Group, blocks int, clients *groupClients, before *LearnedGroup, now time.Time) (LearnedGroup, []ranked) {
	m := c.m
	resolver := g.Prefix().Addr()
	home := m.Geo.Lookup(resolver)
	at := m.locateResolver(resolver)
	geo := m.classes[at.Class].rank
	mean := make([]time.Duration, len(m.Sites)) // of the clients
	score := make([]time.Duration, len(m.Sites))
	var ideal float64 // every client at its own nearest PoP
	sums := make([]float64, len(m.Sites))
	var weight float64
	for i := range clients.used {
		w := float64(clients.weights[i])
		row := c.row(clients.cells[i])
		least := row[geo[0].site]
		for _, r := range geo { // the PoPs that the fence allows
			sums[r.site] += w * float64(row[r.site])
			least = min(least, row[r.site])
		}
		ideal += w * float64(least)
		weight += w
	}
	var own []time.Duration
	if home != 0 {
		own = c.row(home)
	}
	// The resolver's own place counts as some clients, in units of the mean vote.
	prior := 0.0
	if own != nil {
		prior = pseudoClients * weight / float64(blocks)
	}
	allowed := make([]uint16, 0, len(geo))
	for _, r := range geo {
		s := r.site
		allowed = append(allowed, s)
		mean[s] = time.Duration(sums[s] / weight)
		score[s] = mean[s]
		if own != nil {
			score[s] = time.Duration((prior*float64(own[s]) + sums[s]) / (prior + weight))
		}
	}
	slices.Sort(allowed)
	list := rankSites(score, allowed)
	best := list[0].site
	x := LearnedGroup{Group: g, Blocks: blocks, Geo: m.Sites[geo[0].site].Name, GeoRTT: perto.Millis(mean[geo[0].site]),
		Best: m.Sites[best].Name, BestRTT: perto.Millis(mean[best]), Since: now}
	gain := score[geo[0].site] - score[best]
	need := max(learnedGain, time.Duration(learnedShare*float64(score[geo[0].site])))
	x.Used = gain > need
	if before != nil {
		x.Since = before.Since
		x.Used = gain > need || before.Used && gain > need/2
		if x.Used != before.Used || x.Best != before.Best {
			if now.Sub(before.Since) < learnedHold {
				x.Used = before.Used // too early: noise must not move clients
			} else {
				x.Since = now
			}
		}
	}
	now2 := mean[geo[0].site]
	if x.Used {
		now2 = mean[best]
	}
	x.Regret = perto.Millis(now2 - time.Duration(ideal/weight))
	return x, list
}

// sameSites reports whether two maps rank the same PoPs.
func sameSites(a, b *Map) bool {
	if len(a.Sites) != len(b.Sites) {
		return false
	}
	for i := range a.Sites {
		if a.Sites[i].Name != b.Sites[i].Name || a.Sites[i].Place != b.Sites[i].Place {
			return false
		}
	}
	return true
}

// With returns the map with learned groups. Only queries without a client subnet change.
func (m *Map) With(l *Learned) *Map {
	if l == nil || l.base != m {
		return m
	}
	out := *m
	out.classes = append(slices.Clip(slices.Clone(m.classes)), l.classes...)
	out.learned = l
	return &out
}

// Learned returns the learned groups of the map, or nil.
func (m *Map) Learned() *Learned { return m.learned }
