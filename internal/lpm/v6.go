package lpm

import (
	"fmt"
	"net/netip"
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
func NewV6[V Value](ranges []Range6[V]) *V6[V] {
	checkRanges6(ranges)
	split16, split32 := splits6(ranges)
	t := &V6[V]{
		given: len(ranges),
		root:  make([]uint32, 1<<16),
		pages: make([]uint32, 0, split16<<16),
		steps: make([]step[V], 0, split32+len(ranges)),
	}
	next := 0 // the range that starts after the current key
	for r := range t.root {
		first := uint64(r) << 32
		if next < len(ranges) && ranges[next].Start == first {
			next++
		}
		if next == len(ranges) || ranges[next].Start > first|0xffff_ffff {
			t.root[r] = inline | uint32(ranges[next-1].Value)
			continue
		}
		t.root[r] = uint32(len(t.pages) >> 16)
		for p := range uint64(1 << 16) {
			var e uint32
			e, next = t.compile32(ranges, next, first|p<<16)
			t.pages = append(t.pages, e)
		}
	}
	return t
}

// splits6 returns how many /16s and /32s have more than one range. The table needs
// memory for them.
func splits6[V Value](ranges []Range6[V]) (split16, split32 int) {
	last16, last32 := uint64(1)<<16, uint64(1)<<32
	for _, r := range ranges {
		if top := r.Start >> 32; r.Start&0xffff_ffff != 0 && top != last16 {
			split16, last16 = split16+1, top
		}
		if top := r.Start >> 16; r.Start&0xffff != 0 && top != last32 {
			split32, last32 = split32+1, top
		}
	}
	return split16, split32
}

// compile32 adds the /32 that starts at first. It returns its page entry and the number
// of the first range that starts after it.
func (t *V6[V]) compile32(ranges []Range6[V], next int, first uint64) (entry uint32, after int) {
	after = next
	for after < len(ranges) && ranges[after].Start <= first|0xffff {
		after++
	}
	if after-next < fanSteps {
		return t.compileSteps(ranges[:after], next, first), after
	}
	fan := uint32(len(t.fans) >> 8)
	for block := uint64(0); block < 1<<16; block += 1 << 8 {
		end := next
		for end < after && ranges[end].Start <= first|block|0xff {
			end++
		}
		t.fans = append(t.fans, t.compileSteps(ranges[:end], next, first|block))
		next = end
	}
	return dense | fan, after
}

// compileSteps adds the block that starts at first and returns its entry. ranges[next:]
// belong to the block.
func (t *V6[V]) compileSteps(ranges []Range6[V], next int, first uint64) (entry uint32) {
	if next < len(ranges) && ranges[next].Start == first {
		next++
	}
	if next == len(ranges) {
		return inline | uint32(ranges[next-1].Value)
	}
	head := len(t.steps)
	t.steps = append(t.steps, step[V]{uint16(len(ranges) - next), ranges[next-1].Value})
	for _, r := range ranges[next:] {
		t.steps = append(t.steps, step[V]{uint16(r.Start), r.Value})
	}
	return uint32(head)
}

func checkRanges6[V Value](ranges []Range6[V]) {
	if len(ranges) == 0 || ranges[0].Start != 0 {
		panic("lpm: ranges must start at 0")
	}
	for i, r := range ranges {
		checkValue(r.Value)
		if r.Start >= 1<<Bits6 || i > 0 && r.Start <= ranges[i-1].Start {
			panic(fmt.Sprintf("lpm: range %d starts at %#x, out of order or of the address space", i, r.Start))
		}
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

// Ranges returns the table as the shortest list of ranges, to edit and compile again.
func (t *V6[V]) Ranges() []Range6[V] {
	w := walk6[V]{t: t, ranges: append(make([]Range6[V], 0, t.given), Range6[V]{0, t.At(0)})}
	for r, e := range t.root {
		first := uint64(r) << 32
		if e >= inline {
			w.add(first, V(e&^inline))
			continue
		}
		for p, e := range t.pages[uint64(e)<<16 : uint64(e+1)<<16] {
			w.block32(first|uint64(p)<<16, e)
		}
	}
	return w.ranges
}

// walk6 collects the ranges of a table in order.
type walk6[V Value] struct {
	t      *V6[V]
	ranges []Range6[V]
}

func (w *walk6[V]) add(start uint64, v V) {
	if v != w.ranges[len(w.ranges)-1].Value {
		w.ranges = append(w.ranges, Range6[V]{start, v})
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
