package lpm

import (
	"fmt"
	"net/netip"
	"slices"
	"unsafe"
)

// V4 maps IPv4 addresses to values, with one value for each /24.
//
//	root[top 16 bits] = inline | value             all 256 /24s are equal
//	                  = page ──► pages[page*256 + next 8 bits] = value
//
// Equal pages are stored once. The two reads are the whole lookup.
type V4[V Value] struct {
	root  []uint32 // 65,536 entries
	pages []V      // pages of 256 values each
	given int      // ranges that were given to NewV4
}

// NewV4 compiles ranges into a table. They must be in strictly increasing order, and
// the first must start at 0. Unknown networks need a value for "unknown". NewV4 panics
// when the order is wrong or a Start is beyond the address space. Callers must check
// ranges from outside first.
func NewV4[V Value](ranges []Range4[V]) *V4[V] {
	checkRanges4(ranges)
	// Growing the table page by page would copy it several times.
	split, last := 0, uint32(1)<<16
	for _, r := range ranges {
		if top := r.Start >> 8; r.Start&0xff != 0 && top != last {
			split, last = split+1, top
		}
	}
	t := &V4[V]{given: len(ranges), root: make([]uint32, 1<<16), pages: make([]V, 0, split<<8)}
	seen := make(map[uint64][]uint32, split) // hash of a page -> pages with that hash
	var page [256]V
	next := 0 // the range that starts after the current /24
	for r := range t.root {
		first := uint32(r) << 8
		if next < len(ranges) && ranges[next].Start == first {
			next++
		}
		if next == len(ranges) || ranges[next].Start > first|0xff {
			t.root[r] = inline | uint32(ranges[next-1].Value)
			continue
		}
		// Fill from range to range. The last range reaches to the end of the page.
		for at := uint32(0); at < 256; {
			v, end := ranges[next-1].Value, uint32(256)
			if next < len(ranges) {
				end = min(end, ranges[next].Start-first)
			}
			for ; at < end; at++ {
				page[at] = v
			}
			if at < 256 {
				next++
			}
		}
		t.root[r] = t.intern(&page, seen)
	}
	if len(t.pages) < cap(t.pages)/8*7 { // many pages were equal
		t.pages = slices.Clone(t.pages)
	}
	return t
}

// intern returns the root entry for a page: its value if it has only one, else the
// number of an equal page. It stores a new page.
func (t *V4[V]) intern(page *[256]V, seen map[uint64][]uint32) uint32 {
	uniform, hash := true, uint64(14695981039346656037)
	for _, v := range page {
		uniform = uniform && v == page[0]
		hash = (hash ^ uint64(v)) * 1099511628211
	}
	if uniform {
		return inline | uint32(page[0])
	}
	for _, p := range seen[hash] {
		if slices.Equal(t.pages[p<<8:p<<8+256], page[:]) {
			return p
		}
	}
	p := uint32(len(t.pages) >> 8)
	t.pages = append(t.pages, page[:]...)
	seen[hash] = append(seen[hash], p)
	return p
}

func checkRanges4[V Value](ranges []Range4[V]) {
	if len(ranges) == 0 || ranges[0].Start != 0 {
		panic("lpm: ranges must start at 0")
	}
	for i, r := range ranges {
		checkValue(r.Value)
		if r.Start >= 1<<Bits4 || i > 0 && r.Start <= ranges[i-1].Start {
			panic(fmt.Sprintf("lpm: range %d starts at %#x, out of order or of the address space", i, r.Start))
		}
	}
}

// Lookup returns the value of an IPv4 address, also in its IPv4-mapped form. It
// panics for IPv6 addresses.
func (t *V4[V]) Lookup(a netip.Addr) V { return t.At(Key4(a)) }

// At returns the value of a /24, given as [Key4].
func (t *V4[V]) At(key uint32) V {
	e := t.root[uint16(key>>8)]
	if e >= inline {
		return V(e &^ inline)
	}
	return t.pages[e<<8|key&0xff]
}

// Run returns the first and the last /24 of the largest contiguous run of equal values
// around key. It is for explanations, not for each packet.
func (t *V4[V]) Run(key uint32) (first, last uint32) {
	v := t.At(key)
	first, last = key, key
	for first > 0 {
		if e := t.root[(first-1)>>8]; e >= inline && V(e&^inline) == v {
			first = (first - 1) &^ 0xff
		} else if t.At(first-1) == v {
			first--
		} else {
			break
		}
	}
	for last < 1<<Bits4-1 {
		if e := t.root[(last+1)>>8]; e >= inline && V(e&^inline) == v {
			last = (last + 1) | 0xff
		} else if t.At(last+1) == v {
			last++
		} else {
			break
		}
	}
	return first, last
}

// Ranges returns the table as the shortest list of ranges, to edit and compile again.
func (t *V4[V]) Ranges() []Range4[V] {
	ranges := append(make([]Range4[V], 0, t.given), Range4[V]{0, t.At(0)})
	add := func(start uint32, v V) {
		if v != ranges[len(ranges)-1].Value {
			ranges = append(ranges, Range4[V]{start, v})
		}
	}
	for r, e := range t.root {
		first := uint32(r) << 8
		if e >= inline {
			add(first, V(e&^inline))
			continue
		}
		for i, v := range t.pages[e<<8 : e<<8+256] {
			add(first+uint32(i), v)
		}
	}
	return ranges
}

// Size returns the memory that the table holds, in bytes.
func (t *V4[V]) Size() int {
	var v V
	return 4*len(t.root) + int(unsafe.Sizeof(v))*len(t.pages)
}
