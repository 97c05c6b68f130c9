package mapping

import (
	"cmp"
	"encoding/json"
	"hash/fnv"
	"io"
	"math"
	"net/netip"
	"slices"
	"time"

	"perto"
	"perto/replicas"
)

// Family is an address family, and an index for tables.
type Family uint8

// The families. A and AAAA are decided separately: a PoP without IPv6 must not receive
// IPv6 clients.
const (
	IPv4 Family = iota
	IPv6
	families
)

// String returns the record type of the family.
func (f Family) String() string { return [...]string{"A", "AAAA"}[f] }

// Answer is a set of addresses that one DNS answer holds. They belong to one PoP, or to
// PoPs in one band.
type Answer struct {
	PoP      perto.PoP // of the first address
	Replicas []perto.Replica
	Addrs    []netip.Addr
	TTL      time.Duration
}

// answerJSON is the form of an Answer in JSON.
type answerJSON struct {
	PoP      perto.PoP       `json:"pop"`
	Replicas []perto.Replica `json:"replicas"`
	Addrs    []netip.Addr    `json:"addresses"`
	TTL      perto.Millis    `json:"ttl_ms"`
}

// MarshalJSON writes the TTL in milliseconds.
func (a Answer) MarshalJSON() ([]byte, error) {
	return json.Marshal(answerJSON{a.PoP, a.Replicas, a.Addrs, perto.Millis(a.TTL)})
}

// UnmarshalJSON reads the output of MarshalJSON.
func (a *Answer) UnmarshalJSON(b []byte) error {
	var in answerJSON
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	*a = Answer{in.PoP, in.Replicas, in.Addrs, in.TTL.Duration()}
	return nil
}

// Leaf is the decision for a class: an index into Answers.Sets for each slot. It has no
// slot (no address), one slot, or slotCount.
type Leaf struct {
	slots []uint16
	depth int // number of PoPs of the ranking that the decision depends on
}

// slotCount is how many parts a split divides clients into.
const slotCount = 256

// Answers is the third table of one service: the current answer for each class. It is
// immutable.
type Answers struct {
	Policy *Policy
	Map    *Map
	Sets   []Answer

	leaves [families][]Leaf
	status []siteStatus // state of the sites, to detect changes
	live   int          // sets that a leaf uses; other sets are left from earlier answers
}

// Choose returns the index into Sets for a class, or -1 for no address. hash spreads
// clients over a split (see Located).
func (a *Answers) Choose(f Family, class uint16, hash uint32) int {
	set, _ := a.ChooseOrder(f, class, hash)
	return set
}

// ChooseOrder returns the set like Choose. It also reports whether the order of the
// addresses is part of the decision. The order matters when slots divide the class.
// Otherwise all addresses are equally good.
func (a *Answers) ChooseOrder(f Family, class uint16, hash uint32) (set int, ordered bool) {
	l := &a.leaves[f][class]
	switch len(l.slots) {
	case 0:
		return -1, false
	case 1:
		return int(l.slots[0]), false
	}
	return int(l.slots[hash%slotCount]), true
}

// siteStatus is the part of the Fleet that decides about one site.
type siteStatus struct {
	members  [families][]candidate // replicas that may be named
	all      [families][]candidate // all replicas, for the last resort
	headroom float64               // share of clients that the site still accepts, 0..1
	uneasy   bool                  // some member is suspect, draining or shedding
	weight   uint16
	held     []string // "NAME: REASON" of replicas that are held down, for explanations
}

// candidate is a replica with an address of one family.
type candidate struct {
	name     perto.Replica
	addr     netip.Addr
	weight   uint16 // 0: not declared
	headroom float64
}

// Decide compiles the answers of a service from its map and the Fleet. prev holds the
// previous answers and may be nil. If prev has the same map, Decide computes only the
// classes that a change touches. With AllDownLast, it keeps their last addresses.
func Decide(m *Map, p *Policy, fleet *replicas.Fleet, prev *Answers) *Answers {
	a := &Answers{Policy: p, Map: m, status: statusOf(m, p, fleet)}
	d := decider{Answers: a, interned: make(map[string]uint16)}
	if prev != nil && (prev.Map != m || prev.Policy != p) {
		prev = nil
	}
	var changed []bool
	if prev != nil && len(prev.Sets) <= 2*prev.live+minStale {
		changed = make([]bool, len(m.Sites))
		for i := range changed {
			changed[i] = !equalStatus(&a.status[i], &prev.status[i])
		}
		for _, set := range prev.Sets { // unchanged leaves may keep their indices
			d.intern(set)
		}
	}
	for f := range families {
		a.leaves[f] = make([]Leaf, len(m.classes))
		for c := range m.classes {
			var old *Leaf
			if prev != nil {
				old = &prev.leaves[f][c]
				if changed != nil && !touches(m.classes[c].rank, old.depth, changed) {
					a.leaves[f][c] = *old
					continue
				}
			}
			a.leaves[f][c] = d.leaf(f, m.classes[c].rank, prev, old)
		}
	}
	a.live = len(a.Current())
	return a
}

// minStale is how many unused sets are always allowed.
const minStale = 64

// Current returns the sets in use, each once.
func (a *Answers) Current() []Answer {
	named := make([]bool, len(a.Sets))
	for f := range families {
		for c := range a.leaves[f] {
			for _, s := range a.leaves[f][c].slots {
				named[s] = true
			}
		}
	}
	var out []Answer
	for i, set := range a.Sets {
		if named[i] {
			out = append(out, set)
		}
	}
	return out
}

// touches reports whether one of the first depth sites of a ranking changed.
func touches(list []ranked, depth int, changed []bool) bool {
	for _, r := range list[:min(depth, len(list))] {
		if changed[r.site] {
			return true
		}
	}
	return false
}

type decider struct {
	*Answers
	interned map[string]uint16
}

// keep copies a leaf from answers with a different numbering of sets.
func (d *decider) keep(prev *Answers, old *Leaf) Leaf {
	l := Leaf{slots: make([]uint16, len(old.slots)), depth: old.depth}
	for i, s := range old.slots {
		l.slots[i] = d.intern(prev.Sets[s])
	}
	return l
}

func (d *decider) intern(a Answer) uint16 {
	key := make([]byte, 0, 64)
	for i, r := range a.Replicas {
		key = append(append(key, r...), 0)
		key = append(key, a.Addrs[i].AsSlice()...)
	}
	key = append(key, a.TTL.String()...)
	if i, ok := d.interned[string(key)]; ok {
		return i
	}
	i := uint16(len(d.Sets))
	d.Sets = append(d.Sets, a)
	d.interned[string(key)] = i
	return i
}

// leaf decides one class.
func (d *decider) leaf(f Family, list []ranked, prev *Answers, old *Leaf) Leaf {
	var l Leaf
	for slot := range slotCount {
		pick := d.pick(f, list, uint32(slot), false)
		l.depth = max(l.depth, pick.depth)
		if len(pick.answer.Addrs) == 0 {
			break
		}
		l.slots = append(l.slots, d.intern(pick.answer))
		if !pick.varies {
			break
		}
	}
	if len(l.slots) > 0 {
		return l
	}
	l.depth = len(list) // the recovery of any of them changes the answer
	switch d.Policy.AllDown {
	case AllDownNone:
	case AllDownLast:
		if old != nil && len(old.slots) > 0 {
			kept := d.keep(prev, old)
			kept.depth = l.depth
			return kept
		}
		fallthrough
	case AllDownAll:
		if pick := d.pick(f, list, 0, true); len(pick.answer.Addrs) > 0 {
			l.slots = []uint16{d.intern(pick.answer)}
		}
	}
	return l
}

// pick is the result of walking a ranking for one slot.
type pick struct {
	answer Answer
	depth  int  // number of PoPs that the result depends on
	varies bool // another slot may have another result
}

// pick walks the bands of a ranking. Inside a band, the splits choose the PoP. Clients
// that it sheds go to the next PoP of the band, then to the next band. With lastResort,
// all replicas count as up and no PoP sheds.
func (d *decider) pick(f Family, list []ranked, slot uint32, lastResort bool) pick {
	var p pick
	var fallback []uint16 // the first band that could serve without shedding
	for start := 0; start < len(list); {
		end := start + 1
		for end < len(list) && list[end].band == list[start].band {
			end++
		}
		order, varies := d.order(f, list[start:end], slot, lastResort)
		p.varies = p.varies || varies
		p.depth = end
		if len(order) > 0 {
			taken := order
			if d.Policy.has(StepShed) && !lastResort {
				taken = slices.DeleteFunc(slices.Clone(order), func(site uint16) bool {
					h := d.status[site].headroom
					p.varies = p.varies || h < 1
					return share(slot, d.Map.Sites[site].Name, "shed") >= h
				})
			}
			if len(taken) > 0 {
				p.answer, varies = d.name(f, taken, slot, lastResort)
				p.varies = p.varies || varies
				return p
			}
			if fallback == nil {
				fallback = order
			}
		}
		start = end
	}
	if fallback != nil { // all PoPs shed: an overloaded service is better than none
		var varies bool
		p.answer, varies = d.name(f, fallback, slot, lastResort)
		p.varies = p.varies || varies
	}
	return p
}

// order sorts the sites of a band that can serve: by weight when one of them declares
// it, else nearest first.
func (d *decider) order(f Family, band []ranked, slot uint32, lastResort bool) (sites []uint16, varies bool) {
	weighted := false
	for _, r := range band {
		if len(d.candidates(f, r.site, lastResort)) > 0 {
			sites = append(sites, r.site)
			weighted = weighted || d.status[r.site].weight > 0
		}
	}
	if !weighted || len(sites) < 2 || !d.Policy.has(StepWeight) {
		return sites, false
	}
	slices.SortStableFunc(sites, func(a, b uint16) int {
		return cmp.Compare(d.siteScore(b, slot), d.siteScore(a, slot))
	})
	return sites, true
}

func (d *decider) siteScore(site uint16, slot uint32) float64 {
	return score(slot, d.Map.Sites[site].Name, float64(max(1, d.status[site].weight)))
}

func (d *decider) candidates(f Family, site uint16, lastResort bool) []candidate {
	if lastResort {
		return d.status[site].all[f]
	}
	return d.status[site].members[f]
}

// name fills an answer with addresses of the first site. If there are too few, it adds
// addresses of the other sites of the band.
func (d *decider) name(f Family, sites []uint16, slot uint32, lastResort bool) (Answer, bool) {
	a := Answer{PoP: d.Map.Sites[sites[0]].Name, TTL: d.Policy.TTL}
	varies := false
	for _, site := range sites {
		room := d.Policy.Answers - len(a.Addrs)
		if room <= 0 {
			break
		}
		candidates := d.candidates(f, site, lastResort)
		if len(candidates) > room {
			varies = true
			candidates = slices.Clone(candidates)
			slices.SortStableFunc(candidates, func(x, y candidate) int {
				return cmp.Compare(score(slot, y.name, y.share(d.Policy)), score(slot, x.name, x.share(d.Policy)))
			})
			candidates = candidates[:room]
		}
		for _, c := range candidates {
			a.Replicas = append(a.Replicas, c.name)
			a.Addrs = append(a.Addrs, c.addr)
		}
		if d.status[site].uneasy {
			a.TTL = d.Policy.TTLMin
		}
	}
	return a, varies
}

// share returns the share of its PoP's clients that a replica should get.
func (c *candidate) share(p *Policy) float64 {
	s := 1.0
	if p.has(StepWeight) {
		s = float64(max(1, c.weight))
	}
	if p.has(StepShed) {
		s *= max(c.headroom, 1.0/slotCount)
	}
	return s
}

// share maps a slot and a name to 0..1, evenly and deterministically.
func share[S ~string](slot uint32, name S, salt string) float64 {
	h := fnv.New64a()
	h.Write([]byte{byte(slot)})
	io.WriteString(h, string(name))
	io.WriteString(h, salt)
	x := h.Sum64() // FNV mixes its last bytes badly into the high bits: add the final steps of splitmix64
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return float64((x^x>>31)>>11) / (1 << 53)
}

// score is the weighted rendezvous score of a name in a slot. The highest score wins,
// and names win in proportion to their weights (Schindelhauer, Schomaker 2005).
func score[S ~string](slot uint32, name S, weight float64) float64 {
	return -weight / math.Log(max(share(slot, name, "weight"), 1e-12))
}
