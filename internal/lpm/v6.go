package lpm

import (
	"iter"
	"net/netip"
	"slices"
	"unsafe"
)

// V6 maps IPv6 addresses to values, with one value for each /48.
//
//	root[bits 0-15]              = inline | value    most /16s are not allocated
//	  └► pages[page][bits 16-31] = inline | value    the /32 has one value
//	       ├► steps[head...]                         it has a few: search
//	       └► dense | fan[n][bits 32-39] = inline | value, or a head of steps
//
// About 64 of the 65,536 /16s are in use, and a provider gets a /32. A search therefore
// covers the values of one provider, or of one /40 of a provider with many values. The
// steps of a search are stored together, mostly in one or two cache lines: [n-1 value]
// [low value] [low value] ...
type V6[V Value] struct {
	root  []uint32 // 65,536 entries
	pages []uint32 // pages of 65,536 entries each
	fans  []uint32 // fans of 256 entries each
	steps []step[V]
	given int // ranges that were given to NewV6
}

// step assigns value to the addresses from low up to the next step. low is bits 32-47
// of the address. The first step of a search begins with its block. There, low is the
// number of following steps.
type step[V Value] struct {
	low   uint16
	value V
}

const (
	// dense marks a page entry that is the number of a fan, not of a step.
	dense = 1 << 30
	// fanSteps is the number of values from which a /32 gets a fan. A search through
	// more steps needs more than two cache lines. A fan costs 1 KiB.
	fanSteps = 64
)

// NewV6 compiles ranges into a table. The rules are those of [NewV4].
func NewV6[V Value](ranges []Range6[V]) *V6[V] { return CompileV6(slices.Values(ranges)) }

// CompileV6 is [NewV6] for ranges that are never in memory together. It reads the
// sequence twice: the first time to learn the size of the table.
func CompileV6[V Value](ranges iter.Seq[Range6[V]]) *V6[V] {
	n := count6(ranges)
	t := &V6[V]{
		given: n.ranges,
		root:  make([]uint32, 1<<16),
		pages: make([]uint32, 0, n.pages<<16),
		fans:  make([]uint32, 0, n.fans<<8),
		steps: make([]step[V], 0, n.steps),
	}
	c := compiler6[V]{t: t}
	for r := range ranges {
		c.add(r)
	}
	c.flush()
	c.fill(1 << 32)
	return t
}

// counts6 is the size of a table.
type counts6 struct {
	ranges, pages, fans, steps int
	inside                     int // ranges that start inside the current /32
	parts                      int // /40s of the current /32 in which ranges start
}

// count6 checks ranges and returns the size of their table.
func count6[V Value](ranges iter.Seq[Range6[V]]) (n counts6) {
	before, page, block, part := uint64(0), uint64(1)<<16, uint64(1)<<32, uint64(1)<<40
	for r := range ranges {
		checkValue(r.Value)
		checkStart(n.ranges, r.Start, before, Bits6)
		n.ranges, before = n.ranges+1, r.Start
		if top := r.Start >> 32; r.Start&0xffff_ffff != 0 && top != page {
			n.pages, page = n.pages+1, top
		}
		if r.Start&0xffff == 0 {
			continue
		}
		if top := r.Start >> 16; top != block {
			n.endBlock()
			block = top
		}
		if top := r.Start >> 8; r.Start&0xff != 0 && top != part {
			n.parts, part = n.parts+1, top
		}
		n.inside++
	}
	checkCount(n.ranges)
	n.endBlock()
	return n
}

// endBlock adds the steps of a /32.
func (n *counts6) endBlock() {
	switch {
	case n.inside >= fanSteps:
		n.fans++
		n.steps += n.inside + n.parts
	case n.inside > 0:
		n.steps += n.inside + 1
	}
	n.inside, n.parts = 0, 0
}

// compiler6 compiles ranges in their order.
type compiler6[V Value] struct {
	t      *V6[V]
	at     uint64    // the first /32 without an entry
	block  uint64    // the /32 of the last range
	start  V         // the value at the start of block
	inside []step[V] // the ranges that start inside block
	value  V         // the value of the last range
}

// add continues with a range.
func (c *compiler6[V]) add(r Range6[V]) {
	if block := r.Start >> 16; block != c.block || r.Start == 0 {
		c.flush()
		c.fill(block)
		c.block, c.start = block, c.value
	}
	if c.value = r.Value; r.Start&0xffff == 0 {
		c.start = r.Value
	} else {
		c.inside = append(c.inside, step[V]{uint16(r.Start), r.Value})
	}
}

// flush writes the entry of block, unless the /32 has one value.
func (c *compiler6[V]) flush() {
	if len(c.inside) == 0 {
		return
	}
	c.openPage() // add has filled the table up to block
	c.t.pages = append(c.t.pages, c.entry())
	c.at++
	c.inside = c.inside[:0]
}

// entry adds the steps of block and returns its page entry.
func (c *compiler6[V]) entry() uint32 {
	if len(c.inside) < fanSteps {
		return c.t.addSteps(c.start, c.inside)
	}
	fan, v, rest := uint32(len(c.t.fans)>>8), c.start, c.inside
	for part := range uint16(1 << 8) {
		if len(rest) > 0 && rest[0].low == part<<8 {
			v, rest = rest[0].value, rest[1:]
		}
		n := 0
		for n < len(rest) && rest[n].low>>8 == part {
			n++
		}
		c.t.fans = append(c.t.fans, c.t.addSteps(v, rest[:n]))
		if n > 0 {
			v, rest = rest[n-1].value, rest[n:]
		}
	}
	return dense | fan
}

// addSteps adds a block with the value v at its start, and returns its entry.
func (t *V6[V]) addSteps(v V, inside []step[V]) uint32 {
	if len(inside) == 0 {
		return inline | uint32(v)
	}
	head := len(t.steps)
	t.steps = append(t.steps, step[V]{uint16(len(inside)), v})
	t.steps = append(t.steps, inside...)
	return uint32(head)
}

// fill gives all /32s below end that have no entry the value of the last range. For
// the /32 of that range this is its start too, because nothing starts inside.
func (c *compiler6[V]) fill(end uint64) {
	e := inline | uint32(c.value)
	for c.at < end {
		if c.at&0xffff == 0 && end-c.at >= 1<<16 {
			c.t.root[c.at>>16] = e
			c.at += 1 << 16
			continue
		}
		c.openPage()
		for stop := min(end, c.at|0xffff+1); c.at < stop; c.at++ {
			c.t.pages = append(c.t.pages, e)
		}
	}
}

// openPage starts a page when at is the first entry of one.
func (c *compiler6[V]) openPage() {
	if c.at&0xffff == 0 {
		c.t.root[c.at>>16] = uint32(len(c.t.pages) >> 16)
	}
}

// Lookup returns the value of an IPv6 address.
func (t *V6[V]) Lookup(a netip.Addr) V { return t.At(Key6(a)) }

// At returns the value of a /48, given as [Key6].
func (t *V6[V]) At(key uint64) V {
	e := t.root[uint16(key>>32)]
	if e >= inline {
		return V(e &^ inline)
	}
	e = t.pages[uint64(e)<<16|key>>16&0xffff]
	if e >= dense && e < inline {
		e = t.fans[uint64(e&^dense)<<8|key>>8&0xff]
	}
	if e >= inline {
		return V(e &^ inline)
	}
	return t.steps[t.search(e, uint16(key))].value
}

// search returns the index of the step for low in the block whose steps begin at head.
// It halves a window instead of moving two ends. The compiler turns this into a
// conditional move, so there is no branch to mispredict.
func (t *V6[V]) search(head uint32, low uint16) uint32 {
	at, n := head, uint32(t.steps[head].low)+1
	for n > 1 {
		half := n >> 1
		if t.steps[at+half].low <= low {
			at += half
		}
		n -= half
	}
	return at
}

// Run returns the first and the last /48 of the largest contiguous run of equal values
// around key. It is for explanations, not for each packet.
func (t *V6[V]) Run(key uint64) (first, last uint64) {
	v := t.At(key)
	first, last = t.piece(key)
	for first > 0 {
		f, _ := t.piece(first - 1)
		if t.At(f) != v {
			break
		}
		first = f
	}
	for last < 1<<Bits6-1 {
		_, l := t.piece(last + 1)
		if t.At(l) != v {
			break
		}
		last = l
	}
	return first, last
}

// piece returns the bounds of the stored piece with the value of key. It is a /16, a
// /32, a /40 or a part of one of the latter two.
func (t *V6[V]) piece(key uint64) (first, last uint64) {
	e, block := t.root[key>>32], uint64(0xffff_ffff)
	if e < inline {
		e, block = t.pages[uint64(e)<<16|key>>16&0xffff], 0xffff
		if e >= dense && e < inline {
			e, block = t.fans[uint64(e&^dense)<<8|key>>8&0xff], 0xff
		}
	}
	first, last = key&^block, key|block
	if e >= inline {
		return first, last
	}
	at := t.search(e, uint16(key))
	if at > e {
		first = key&^0xffff | uint64(t.steps[at].low)
	}
	if at < e+uint32(t.steps[e].low) {
		last = key&^0xffff | uint64(t.steps[at+1].low) - 1
	}
	return first, last
}

// NumRanges returns the number of ranges that the table was compiled from. Equal
// neighbours among them count, so [V6.Ranges] may be shorter.
func (t *V6[V]) NumRanges() int { return t.given }

// Ranges returns the table as the shortest list of ranges, to edit and compile again.
func (t *V6[V]) Ranges() []Range6[V] {
	return slices.AppendSeq(make([]Range6[V], 0, t.given), t.All())
}

// All yields the ranges of [V6.Ranges].
func (t *V6[V]) All() iter.Seq[Range6[V]] {
	return func(yield func(Range6[V]) bool) {
		w := walk6[V]{t: t, last: t.At(0), yield: yield}
		if !yield(Range6[V]{0, w.last}) {
			return
		}
		for r, e := range t.root {
			first := uint64(r) << 32
			if e >= inline {
				w.add(first, V(e&^inline))
				continue
			}
			for p, e := range t.pages[uint64(e)<<16 : uint64(e+1)<<16] {
				w.block32(first|uint64(p)<<16, e)
			}
			if w.ended {
				return
			}
		}
	}
}

// walk6 yields the ranges of a table in order.
type walk6[V Value] struct {
	t     *V6[V]
	last  V // the value of the last range
	yield func(Range6[V]) bool
	ended bool // the consumer wants no more
}

func (w *walk6[V]) add(start uint64, v V) {
	if v != w.last && !w.ended {
		w.last = v
		w.ended = !w.yield(Range6[V]{start, v})
	}
}

// block32 adds the /32 of a page's entry.
func (w *walk6[V]) block32(first uint64, e uint32) {
	switch {
	case e >= inline:
		w.add(first, V(e&^inline))
	case e >= dense:
		fan := uint64(e&^dense) << 8
		for i, e := range w.t.fans[fan : fan+256] {
			if block := first | uint64(i)<<8; e >= inline {
				w.add(block, V(e&^inline))
			} else {
				w.block(block, first, e)
			}
		}
	default:
		w.block(first, first, e)
	}
}

// block adds the steps of the block at start, which is inside the /32 at first.
func (w *walk6[V]) block(start, first uint64, head uint32) {
	n := uint32(w.t.steps[head].low)
	w.add(start, w.t.steps[head].value)
	for _, s := range w.t.steps[head+1 : head+1+n] {
		w.add(first|uint64(s.low), s.value)
	}
}

// Size returns the memory that the table holds, in bytes.
func (t *V6[V]) Size() int {
	return 4*(len(t.root)+len(t.pages)+len(t.fans)) + int(unsafe.Sizeof(step[V]{}))*len(t.steps)
}
