package mapping

import (
	"cmp"
	"math/bits"
	"slices"
	"time"

	"perto/geodata"
	"perto/internal/lpm"
)

// Networks of one class are joined to scopes as large as alignment allows. With a regret
// bound, blocks of different classes are joined too, where clients lose little. The
// regret of a network is the time by which the RTT to the first PoP of its scope's class
// exceeds the RTT to its own nearest PoP. The regret of a block is the sum over its
// networks (/24s or /48s).
//
// The blocks form a binary tree, which is pruned from the bottom up. A node becomes one
// block if that costs less than its parts:
//
//	regret(node) + lambda  <  sum of regret(part) + lambda, over its parts
//
// lambda is the price of a block. Its value bound * networks / exact blocks ensures the
// bound: the pruned tree costs at most as much as the exact one, so its regret is at
// most lambda * exact blocks = bound * networks (docs/rationale.md).
//
// Limits for single networks and blocks do not depend on lambda. Blocks with different
// fences, unknown places and overrides are never joined with others. Health has no
// influence.

const (
	// maxRegret is the most that joining may cost one network. The first PoP of the
	// scope's class and the others of its first band are all within it.
	maxRegret = 20 * time.Millisecond
	// maxBlockRegret is the most that the networks of one block may lose on average. It
	// is the fixed part of bandWidth: such differences count as equally good.
	maxBlockRegret = 5 * time.Millisecond
)

// maxAlternatives bounds the PoPs of a cell that are considered for joining.
const maxAlternatives = 8

// profile is all that joining needs about a cell. Cells with equal profiles are equal
// for it.
type profile struct {
	class, fence uint16
	alone        bool  // never joined
	n            uint8 // alternatives; 0: joined with its own class only
	site         [maxAlternatives]uint16
	regret       [maxAlternatives]uint16 // in units of regretUnit, rounded up
}

// regretUnit is the resolution of regrets. It keeps profiles few.
const regretUnit = 100 * time.Microsecond

// profileOf returns the profile of a cell with the given ranking.
func profileOf(class, fence uint16, list []ranked) profile {
	p := profile{class: class, fence: fence}
	for _, r := range list {
		extra := r.time() - list[0].time()
		if extra > maxRegret || p.n == maxAlternatives {
			break
		}
		p.site[p.n], p.regret[p.n] = r.site, uint16((extra+regretUnit-1)/regretUnit)
		p.n++
	}
	return p
}

// The profiles of no cell.
const (
	unknownProfile    = iota // networks without a known place
	transitionProfile        // prefixes of transition addresses
	firstProfile
)

// newCells returns the profiles of n cells, which are still unknown.
func newCells(n int) *cells {
	c := &cells{of: make([]uint16, n), profiles: make([]profile, firstProfile)}
	c.profiles[transitionProfile].alone = true
	return c
}

// Scopes describes the scopes of one address family. Networks without a known place do
// not count.
type Scopes struct {
	Networks float64       // /24s or /48s
	Exact    int           // blocks with one answer
	Blocks   int           // blocks after joining
	Regret   time.Duration // mean over the networks
}

// cells are the profiles of a map's cells.
type cells struct {
	profiles []profile
	of       []uint16   // by cell: index of its profile
	bands    [][]uint16 // by class: the PoPs of its first band
}

// row is a row of neighbouring networks with one value: the key of the first network,
// and 16 bits of the value. It ends where the next row begins.
type row uint64

func newRow(start uint64, value uint16) row { return row(start<<16 | uint64(value)) }

func (r row) start() uint64 { return uint64(r >> 16) }
func (r row) value() uint16 { return uint16(r) }

// rows are all networks of a family, in order.
type rows []row

// end returns the end of row i, for keys of the given width.
func (r rows) end(i, width int) uint64 {
	if i+1 < len(r) {
		return r[i+1].start()
	}
	return 1 << width
}

// rows4 returns the profiles of the IPv4 networks.
func (c *cells) rows4(geo *geodata.Map) rows {
	n, _ := geo.NumRanges()
	out, last := make(rows, 0, n), -1
	for r := range geo.All4() {
		if p := c.of[r.Value]; int(p) != last {
			last = int(p)
			out = append(out, newRow(uint64(r.Start), p))
		}
	}
	return out
}

// rows6 returns the profiles of the IPv6 networks. The prefixes of transition addresses
// are rows of their own, so that no other scope contains them.
func (c *cells) rows6(geo *geodata.Map) rows {
	_, n := geo.NumRanges()
	out, last := make(rows, 0, n), -1
	for r := range geo.All6() {
		if p := c.of[r.Value]; int(p) != last {
			last = int(p)
			out = append(out, newRow(r.Start, p))
		}
	}
	for _, form := range []geodata.Transition{geodata.NAT64, geodata.Teredo, geodata.SixToFour} {
		p := form.Prefix()
		first := lpm.Key6(p.Addr())
		out = out.paint(first, first+1<<(lpm.Bits6-min(p.Bits(), lpm.Bits6)), transitionProfile)
	}
	return out
}

// paint gives the networks from first to end (exclusive) a value.
func (r rows) paint(first, end uint64, value uint16) rows {
	search := func(start uint64) int {
		i, _ := slices.BinarySearchFunc(r, start, func(r row, start uint64) int { return cmp.Compare(r.start(), start) })
		return i
	}
	i, j := search(first), search(end)
	insert := rows{newRow(first, value)}
	if j == len(r) || r[j].start() != end {
		insert = append(insert, newRow(end, r[j-1].value()))
	}
	return slices.Replace(r, i, j, insert...)
}

// exact counts the blocks with one class.
func (c *cells) exact(profiles rows, width int) (s Scopes) {
	for i := 0; i < len(profiles); {
		class, start := c.profiles[profiles[i].value()].class, profiles[i].start()
		for i++; i < len(profiles) && c.profiles[profiles[i].value()].class == class; i++ {
		}
		if class == unknownClass {
			continue
		}
		end := profiles.end(i-1, width)
		s.Networks += float64(end - start)
		for start < end {
			start += 1 << lpm.Widest(start, end, width)
			s.Exact++
		}
	}
	return s
}

// blocks4 yields blocks of classes as ranges of (class, scope). The size of a block is
// the distance to the next.
func (r rows) blocks4(yield func(lpm.Range4[uint32]) bool) {
	for i, b := range r {
		scope := lpm.Bits4 - bits.Len64(r.end(i, lpm.Bits4)-b.start()) + 1
		if !yield(lpm.Range4[uint32]{Start: uint32(b.start()), Value: entry(b.value(), scope)}) {
			return
		}
	}
}

// blocks6 is blocks4 for IPv6.
func (r rows) blocks6(yield func(lpm.Range6[uint32]) bool) {
	for i, b := range r {
		scope := lpm.Bits6 - bits.Len64(r.end(i, lpm.Bits6)-b.start()) + 1
		if !yield(lpm.Range6[uint32]{Start: b.start(), Value: entry(b.value(), scope)}) {
			return
		}
	}
}

// alternative is a PoP that may serve all networks of a block.
type alternative struct {
	regret float64 // of the whole block, in regretUnits
	weight float32 // networks of class
	site   uint16
	class  uint16 // a class of the block that ranks the PoP first; 0: none
}

// mixed is the class of a block with several classes.
const mixed = -1

// block is a node of the tree.
type block struct {
	start   uint64
	order   uint8 // logarithm of its size
	fence   uint16
	uniform int32 // the class of all its networks, or mixed
	out     int   // index of its first entry in the output
	blocks  int   // with a known place
	weight  float64
	regret  float64
	n       int
	// Only the first n are valid.
	alternatives [maxAlternatives]alternative
}

// joiner builds the blocks of one family, in order of address.
type joiner struct {
	*cells
	lambda float64
	stack  [lpm.Bits6 + 2]block // only the first depth are valid
	depth  int
	out    rows // blocks of classes
}

// join divides the address space into blocks, which are the scopes. bound is the limit
// of the mean regret; 0 joins only networks of one class. Two scopes never overlap (RFC
// 7871, section 7.2.1), because each address is in exactly one block.
func (c *cells) join(profiles rows, width int, bound time.Duration) (rows, Scopes) {
	s := c.exact(profiles, width)
	j := &joiner{cells: c, out: make(rows, 0, s.Exact)}
	if s.Exact > 0 {
		j.lambda = float64(bound) / float64(regretUnit) * s.Networks / float64(s.Exact)
	}
	for i, r := range profiles {
		p := &c.profiles[r.value()]
		for at, end := r.start(), profiles.end(i, width); at < end; {
			order := lpm.Widest(at, end, width)
			j.push(at, uint8(order), p)
			at += 1 << order
		}
	}
	root := &j.stack[0]
	s.Blocks = root.blocks
	if s.Networks > 0 {
		s.Regret = time.Duration(root.regret / s.Networks * float64(regretUnit))
	}
	return j.out, s
}

// push adds the next block and joins it with its neighbours on the left.
func (j *joiner) push(start uint64, order uint8, p *profile) {
	b := &j.stack[j.depth]
	j.depth++
	b.start, b.order, b.fence, b.uniform, b.out, b.n = start, order, p.fence, int32(p.class), len(j.out), int(p.n)
	b.blocks, b.weight, b.regret = 0, 0, 0
	if p.class != unknownClass {
		b.blocks, b.weight = 1, float64(uint64(1)<<order)
	}
	if p.alone {
		b.uniform = mixed
	}
	for i := range b.n {
		b.alternatives[i] = alternative{site: p.site[i], regret: float64(p.regret[i]) * b.weight}
	}
	b.alternatives[0].class, b.alternatives[0].weight = p.class, float32(b.weight)
	j.write(b, p.class)
	for j.depth > 1 {
		left := &j.stack[j.depth-2]
		if b = &j.stack[j.depth-1]; left.order != b.order || left.start>>left.order&1 != 0 {
			return
		}
		j.merge(left, b)
		j.depth--
	}
}

// write makes a block one entry of the output.
func (j *joiner) write(b *block, class uint16) {
	j.out = append(j.out[:b.out], newRow(b.start, class))
}

// merge makes the parent of two blocks, in place of the left one.
func (j *joiner) merge(a, b *block) {
	if a.fence != b.fence {
		a.n = 0
	}
	a.intersect(b)
	a.order++
	a.weight += b.weight
	if a.uniform == b.uniform && a.uniform != mixed {
		j.write(a, uint16(a.uniform)) // blocks and regret are those of one entry already
		return
	}
	a.uniform = mixed
	a.regret += b.regret
	a.blocks += b.blocks
	if best := j.best(a); best != nil && best.regret+j.lambda < a.regret+j.lambda*float64(a.blocks) {
		a.regret, a.blocks = best.regret, 1
		j.write(a, best.class)
	}
}

// intersect keeps the alternatives that both blocks have, and adds their regrets.
func (a *block) intersect(b *block) {
	n := 0
	for i := range a.n {
		o := a.alternatives[i]
		for k := range b.n {
			other := &b.alternatives[k]
			if other.site != o.site {
				continue
			}
			o.regret += other.regret
			switch {
			case other.class == o.class:
				o.weight += other.weight
			case other.weight > o.weight:
				o.class, o.weight = other.class, other.weight
			}
			a.alternatives[n] = o
			n++
			break
		}
	}
	a.n = n
}

// best returns the alternative with the least regret, or nil. It needs a class, and all
// PoPs of the first band of that class must be alternatives. The mean regret of the
// block must not exceed maxBlockRegret.
func (j *joiner) best(b *block) *alternative {
	var best *alternative
	limit := float64(maxBlockRegret/regretUnit) * b.weight
	for i := range b.n {
		o := &b.alternatives[i]
		if o.class != unknownClass && o.regret <= limit && j.allows(b, o.class) {
			best, limit = o, o.regret
		}
	}
	return best
}

func (j *joiner) allows(b *block, class uint16) bool {
next:
	for _, site := range j.bands[class] {
		for i := range b.n {
			if b.alternatives[i].site == site {
				continue next
			}
		}
		return false
	}
	return true
}
