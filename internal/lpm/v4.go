package lpm

import (
	"fmt"
	"iter"
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
func NewV4[V Value](ranges []Range4[V]) *V4[V] { return CompileV4(slices.Values(ranges)) }

// CompileV4 is [NewV4] for ranges that are never in memory together. It reads the
// sequence twice: the first time to learn the size of the table. Growing the table page
// by page would copy it several times.
func CompileV4[V Value](ranges iter.Seq[Range4[V]]) *V4[V] {
	split, last := 0, uint32(1)<<16
	count, before := 0, uint32(0)
	for r := range ranges {
		checkValue(r.Value)
		checkStart(count, uint64(r.Start), uint64(before), Bits4)
		if top := r.Start >> 8; r.Start&0xff != 0 && top != last {
			split, last = split+1, top
		}
		count, before = count+1, r.Start
	}
	checkCount(count)
	t := &V4[V]{given: count, root: make([]uint32, 1<<16), pages: make([]V, 0, split<<8)}
	c := compiler4[V]{t: t, seen: make(map[uint64]uint32, split)}
	for r := range ranges {
		c.fill(r.Start)
		c.value = r.Value
	}
	c.fill(1 << Bits4)
	if len(t.pages) < cap(t.pages)/8*7 { // many pages were equal
		t.pages = slices.Clone(t.pages)
	}
	return t
}

// compiler4 compiles ranges in their order.
type compiler4[V Value] struct {
	t     *V4[V]
	seen  map[uint64]uint32 // hash of a page -> the first page with that hash
	page  [256]V            // the current page, if at is inside one
	at    uint32            // the first /24 without a value
	value V                 // the value of at
}

// fill gives all /24s below end the current value.
func (c *compiler4[V]) fill(end uint32) {
	for c.at < end {
		first := c.at &^ 0xff
		if c.at == first && end-first >= 256 {
			c.t.root[first>>8] = inline | uint32(c.value)
			c.at += 256
			continue
		}
		stop := min(end, first+256)
		for ; c.at < stop; c.at++ {
			c.page[c.at-first] = c.value
		}
		if c.at == first+256 {
			c.t.root[first>>8] = c.intern()
		}
	}
}

// intern returns the root entry for the page: its value if it has only one, else the
// number of an equal page. It stores a new page. It also stores a page with the hash of
// a different one, because that is rare.
func (c *compiler4[V]) intern() uint32 {
	uniform, hash := true, uint64(14695981039346656037)
	for _, v := range c.page {
		uniform = uniform && v == c.page[0]
		hash = (hash ^ uint64(v)) * 1099511628211
	}
	if uniform {
		return inline | uint32(c.page[0])
	}
	p, ok := c.seen[hash]
	if ok && slices.Equal(c.t.pages[p<<8:p<<8+256], c.page[:]) {
		return p
	}
	p = uint32(len(c.t.pages) >> 8)
	c.t.pages = append(c.t.pages, c.page[:]...)
	if !ok {
		c.seen[hash] = p
	}
	return p
}

// checkStart panics unless range number i, which starts at start, may follow a range
// that starts at before.
func checkStart(i int, start, before uint64, width int) {
	if i == 0 && start != 0 {
		panic("lpm: ranges must start at 0")
	}
	if start >= 1<<width || i > 0 && start <= before {
		panic(fmt.Sprintf("lpm: range %d starts at %#x, out of order or of the address space", i, start))
	}
}

func checkCount(n int) {
	if n == 0 {
		panic("lpm: ranges must start at 0")
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

// NumRanges returns the number of ranges that the table was compiled from. Equal
// neighbours among them count, so [V4.Ranges] may be shorter.
func (t *V4[V]) NumRanges() int { return t.given }

// Ranges returns the table as the shortest list of ranges, to edit and compile again.
func (t *V4[V]) Ranges() []Range4[V] {
	return slices.AppendSeq(make([]Range4[V], 0, t.given), t.All())
}

// All yields the ranges of [V4.Ranges].
func (t *V4[V]) All() iter.Seq[Range4[V]] {
	return func(yield func(Range4[V]) bool) {
		last := t.At(0)
		if !yield(Range4[V]{0, last}) {
			return
		}
		for r, e := range t.root {
			first := uint32(r) << 8
			if e >= inline {
				if v := V(e &^ inline); v != last {
					last = v
					if !yield(Range4[V]{first, v}) {
						return
					}
				}
				continue
			}
			for i, v := range t.pages[e<<8 : e<<8+256] {
				if v != last {
					last = v
					if !yield(Range4[V]{first + uint32(i), v}) {
						return
					}
				}
			}
		}
	}
}

// Size returns the memory that the table holds, in bytes.
func (t *V4[V]) Size() int {
	var v V
	return 4*len(t.root) + int(unsafe.Sizeof(v))*len(t.pages)
}
