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
//	       └► steps[first...]                        search 16 bits inside the /32
//
// About 64 of the 65,536 /16s are in use, and a /32 is what a provider gets:
// the search runs over the few values of one provider. Its steps lie together,
// mostly in one or two cache lines: [n-1 value] [low value] [low value] ...
type V6[V Value] struct {
	root  []uint32 // 65,536 entries
	pages []uint32 // pages of 65,536 entries each
	steps []step[V]
}

// step says that value begins at low, which is bits 32-47 of the address, and
// holds up to the next step. The first step of a /32 always begins at 0: there
// low is the number of steps that follow it.
type step[V Value] struct {
	low   uint16
	value V
}

// NewV6 compiles ranges into a table; the rules are those of [NewV4].
func NewV6[V Value](ranges []Range6[V]) *V6[V] {
	checkRanges6(ranges)
	split16, split32 := splits6(ranges)
	t := &V6[V]{
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
		for p := uint64(0); p < 1<<16; p++ {
			var e uint32
			e, next = t.compile32(ranges, next, first|p<<16)
			t.pages = append(t.pages, e)
		}
	}
	return t
}

// splits6 returns how many /16s and /32s have more than one range: what the
// table needs room for.
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

// compile32 adds the /32 that starts at first and returns its page entry, and
// the number of the first range that starts after it.
func (t *V6[V]) compile32(ranges []Range6[V], next int, first uint64) (entry uint32, after int) {
	if next < len(ranges) && ranges[next].Start == first {
		next++
	}
	if next == len(ranges) || ranges[next].Start > first|0xffff {
		return inline | uint32(ranges[next-1].Value), next
	}
	head := len(t.steps)
	t.steps = append(t.steps, step[V]{0, ranges[next-1].Value})
	for ; next < len(ranges) && ranges[next].Start <= first|0xffff; next++ {
		t.steps = append(t.steps, step[V]{uint16(ranges[next].Start), ranges[next].Value})
	}
	t.steps[head].low = uint16(len(t.steps) - head - 1)
	return uint32(head), next
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

// At returns the value of a /48, given as [Key6] counts it.
func (t *V6[V]) At(key uint64) V {
	e := t.root[uint16(key>>32)]
	if e >= inline {
		return V(e &^ inline)
	}
	e = t.pages[uint64(e)<<16|key>>16&0xffff]
	if e >= inline {
		return V(e &^ inline)
	}
	return t.steps[t.search(e, uint16(key))].value
}

// search returns the index of the step that holds low in the /32 whose steps
// begin at head. It halves a window instead of moving two ends: the compiler
// makes the step a conditional move, and there is no branch to mispredict.
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

// Run returns the first and the last /48 of the largest contiguous run of equal
// values around key. It is for explanations, not for each packet.
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

// piece returns the bounds of the stored piece that decides key: a /16, a /32
// or a part of a /32.
func (t *V6[V]) piece(key uint64) (first, last uint64) {
	e := t.root[key>>32]
	if e >= inline {
		return key &^ 0xffff_ffff, key | 0xffff_ffff
	}
	e = t.pages[uint64(e)<<16|key>>16&0xffff]
	if e >= inline {
		return key &^ 0xffff, key | 0xffff
	}
	at := t.search(e, uint16(key))
	first, last = key&^0xffff, key|0xffff
	if at > e {
		first |= uint64(t.steps[at].low)
	}
	if at < e+uint32(t.steps[e].low) {
		last = key&^0xffff | uint64(t.steps[at+1].low) - 1
	}
	return first, last
}

// Ranges returns the table as the shortest list of ranges: the form to edit and
// to compile again.
func (t *V6[V]) Ranges() []Range6[V] {
	ranges := []Range6[V]{{0, t.At(0)}}
	for key := uint64(0); key < 1<<Bits6; {
		if v := t.At(key); v != ranges[len(ranges)-1].Value {
			ranges = append(ranges, Range6[V]{key, v})
		}
		_, last := t.piece(key)
		key = last + 1
	}
	return ranges
}

// Size returns the memory that the table holds, in bytes.
func (t *V6[V]) Size() int {
	return 4*len(t.root) + 4*len(t.pages) + int(unsafe.Sizeof(step[V]{}))*len(t.steps)
}
