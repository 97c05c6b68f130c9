package geodata

import (
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"time"

	"github.com/gaissmai/bart"

	"perto"
	"perto/internal/lpm"
)

// Cell is the number of an area of one country, valid inside one [Map]. Cell 0 means an
// unknown place: reserved and unallocated addresses.
type Cell uint16

// maxCells is how many cells a Map can have, cell 0 included.
const maxCells = 1 << 16

// Map is an immutable table from addresses to cells. [World], [Open], [Compile], [Read]
// and [Map.WithOverrides] make maps.
type Map struct {
	v4     *lpm.V4[Cell]
	v6     *lpm.V6[Cell]
	places []perto.Place // by cell; places[0] is the zero Place

	// fine holds networks longer than a /24 or a /48. It is nil in most maps, and then
	// costs a lookup one comparison.
	fine       *bart.Table[Cell]
	exceptions []Exception // the content of fine, by address

	info Info

	anycast    []netip.Prefix // of overrides
	overridden Cell           // the first cell of an override; 0: there is none
}

// Info describes the source of a map.
type Info struct {
	Source   string    `json:"source"`    // database types, or Options.Source
	Built    time.Time `json:"built"`     // build time of the newest source database, UTC
	RadiusKm float64   `json:"radius_km"` // points closer than this may share a cell
}

// Exception is a network with a cell of its own that is longer than the tables'
// granularity (/24 for IPv4, /48 for IPv6). It overrides the ranges.
type Exception struct {
	Prefix netip.Prefix
	Cell   Cell
}

// Lookup returns the cell of an address, or 0 when its place is unknown. An IPv6
// address with an IPv4 address inside has the cell of the latter (see [Embedded]).
// Zones are ignored, and the zero Addr has cell 0. Lookup does not allocate.
func (m *Map) Lookup(a netip.Addr) Cell {
	a, _ = Embedded(a)
	if m.fine != nil {
		if c, ok := m.fine.Lookup(a); ok {
			return c
		}
	}
	switch {
	case a.Is4():
		return m.v4.Lookup(a)
	case a.IsValid():
		return m.v6.Lookup(a)
	}
	return 0
}

// Place returns the representative point of a cell: the coordinates of its heaviest
// location and the country. It has the name and region of the country's nearest city,
// if that is within about the width of a cell. The place of cell 0, and of a number
// that the map does not have, is the zero Place.
func (m *Map) Place(c Cell) perto.Place {
	if int(c) >= len(m.places) {
		return perto.Place{}
	}
	return m.places[c]
}

// LookupPlace returns the place of the cell of an address.
func (m *Map) LookupPlace(a netip.Addr) perto.Place { return m.Place(m.Lookup(a)) }

// NumCells returns how many cells the map has, cell 0 included. Cells are the numbers
// below it.
func (m *Map) NumCells() int { return len(m.places) }

// Overridden reports whether a cell is the place of an [Override]. It is not stored in
// files.
func (m *Map) Overridden(c Cell) bool { return m.overridden > 0 && c >= m.overridden }

// Info returns the source of the map.
func (m *Map) Info() Info { return m.info }

// Ranges4 returns the IPv4 ranges in order, without the exceptions. Each call makes a
// new slice.
func (m *Map) Ranges4() []lpm.Range4[Cell] { return m.v4.Ranges() }

// Ranges6 returns the IPv6 ranges in order, without the exceptions. Each call makes a
// new slice.
func (m *Map) Ranges6() []lpm.Range6[Cell] { return m.v6.Ranges() }

// All4 yields the ranges of [Map.Ranges4].
func (m *Map) All4() iter.Seq[lpm.Range4[Cell]] { return m.v4.All() }

// All6 yields the ranges of [Map.Ranges6].
func (m *Map) All6() iter.Seq[lpm.Range6[Cell]] { return m.v6.All() }

// NumRanges returns at least the number of ranges of each family.
func (m *Map) NumRanges() (v4, v6 int) { return m.v4.NumRanges(), m.v6.NumRanges() }

// Exceptions returns the networks that are too long for the ranges, by address and then
// by length. The caller must not change the slice.
func (m *Map) Exceptions() []Exception { return m.exceptions }

// Prefix returns the largest aligned network around an address in which every address
// has the same cell. For 6to4, Teredo and NAT64 it is a network of that form. It takes
// microseconds and is for explanations. The result for the zero Addr is the zero
// Prefix.
func (m *Map) Prefix(a netip.Addr) netip.Prefix {
	inner, form := Embedded(a)
	p := m.prefix(inner)
	if form == Native || form == Mapped {
		return p
	}
	return netip.PrefixFrom(a.WithZone(""), int(form.Bits())+p.Bits()).Masked()
}

// prefix is Prefix for an address without an IPv4 address inside.
func (m *Map) prefix(a netip.Addr) netip.Prefix {
	var bits int
	var value Cell // from the table, without exceptions
	switch {
	case a.Is4():
		key := lpm.Key4(a)
		first, last := m.v4.Run(key)
		bits = lpm.Around(uint64(key), uint64(first), uint64(last), lpm.Bits4)
		value = m.v4.At(key)
	case a.IsValid():
		key := lpm.Key6(a)
		first, last := m.v6.Run(key)
		bits = lpm.Around(key, first, last, lpm.Bits6)
		value = m.v6.At(key)
	default:
		return netip.Prefix{}
	}
	p := netip.PrefixFrom(a, bits)
	if m.fine != nil {
		p = m.prefixAmongExceptions(a, bits, value)
	}
	return p.Masked()
}

// prefixAmongExceptions shortens the prefix bit by bit while its network has one cell,
// at most to the prefix length that the table gives.
func (m *Map) prefixAmongExceptions(a netip.Addr, bits int, value Cell) netip.Prefix {
	want := m.Lookup(a)
	p := netip.PrefixFrom(a, a.BitLen())
	for p.Bits() > bits {
		wider, err := a.Prefix(p.Bits() - 1)
		if err != nil || !m.uniform(wider, value, want) {
			break
		}
		p = wider
	}
	return p
}

// uniform reports whether every address of p has the cell want. value is the cell of p
// in the table.
func (m *Map) uniform(p netip.Prefix, value, want Cell) bool {
	base, baseBits := value, -1 // the longest exception that contains all of p
	for _, e := range m.exceptions {
		switch {
		case !e.Prefix.Overlaps(p):
		case e.Prefix.Bits() > p.Bits():
			if e.Cell != want {
				return false
			}
		case e.Prefix.Bits() > baseBits:
			base, baseBits = e.Cell, e.Prefix.Bits()
		}
	}
	return base == want
}

// Size returns the approximate memory of the map, in bytes.
func (m *Map) Size() int {
	const perPlace = 80 // the struct, and its share of the strings
	return m.v4.Size() + m.v6.Size() + perPlace*len(m.places)
}

// maxPages6 bounds the memory of the IPv6 table. The table has a page of 256 KiB for
// each /16 that is not uniform. 64 are in use in 2026, and a hostile or damaged file
// must not make it 65,536.
const maxPages6 = 1024

// newMap builds the tables. ranges must satisfy [lpm.NewV4] and [lpm.NewV6], and every
// cell must be below len(places).
func newMap(info Info, places []perto.Place, r4 []lpm.Range4[Cell], r6 []lpm.Range6[Cell]) (*Map, error) {
	if err := checkPages6(slices.Values(r6)); err != nil {
		return nil, err
	}
	for _, p := range publicResolvers {
		if p.Addr().Is4() {
			r4 = paint4(r4, p, 0)
		} else {
			r6 = paint6(r6, p, 0)
		}
	}
	m := &Map{places: places, info: info}
	done := make(chan struct{})
	go func() { // each takes tens of milliseconds, which delays the start
		defer close(done)
		m.v6 = lpm.NewV6(r6)
	}()
	m.v4 = lpm.NewV4(r4)
	<-done
	return m, nil
}

func checkPages6(ranges iter.Seq[lpm.Range6[Cell]]) error {
	pages, last := 0, uint64(1)<<16
	for r := range ranges {
		if top := r.Start >> 32; r.Start&0xffff_ffff != 0 && top != last {
			last = top
			pages++
		}
	}
	if pages > maxPages6 {
		return fmt.Errorf("networks in %d different IPv6 /16s, more than %d", pages, maxPages6)
	}
	return nil
}
