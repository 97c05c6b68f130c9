package geodata

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"perto"
	"perto/internal/lpm"
)

// A section stores its entries in planes: the first field of all entries, then the next
// field. Gzip compresses this order better.

// plane reads numbers and never reads past the end. It keeps the first error.
type plane struct {
	b   []byte
	err error
}

func (p *plane) fail(what string) {
	if p.err == nil {
		p.err = fmt.Errorf("%w: %s", errDamaged, what)
	}
	p.b = nil
}

func (p *plane) uvarint() uint64 {
	if len(p.b) > 0 && p.b[0] < 0x80 { // most numbers
		v := p.b[0]
		p.b = p.b[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(p.b)
	if n <= 0 {
		p.fail("a number is cut off")
		return 0
	}
	p.b = p.b[n:]
	return v
}

func (p *plane) varint() int64 {
	v := p.uvarint()
	return int64(v>>1) ^ -int64(v&1)
}

func (p *plane) take(n uint64) []byte {
	if n > uint64(len(p.b)) {
		p.fail("text is cut off")
		return nil
	}
	out := p.b[:n]
	p.b = p.b[n:]
	return out
}

// count reads a number of entries. Each entry takes at least one byte.
func (p *plane) count(limit uint64) int {
	n := p.uvarint()
	if n > limit || n > uint64(len(p.b)) {
		p.fail("an impossible count")
		return 0
	}
	return int(n)
}

func (p *plane) end() error {
	if p.err == nil && len(p.b) > 0 {
		p.fail("a section is too long")
	}
	return p.err
}

// encodePlaces writes the places of the cells from 1.
func encodePlaces(places []perto.Place) []byte {
	places = places[1:]
	b := binary.AppendUvarint(nil, uint64(len(places)))
	texts := []func(perto.Place) string{
		func(p perto.Place) string { return p.Country },
		func(p perto.Place) string { return p.Region },
		func(p perto.Place) string { return p.Name },
	}
	for _, text := range texts {
		for _, p := range places {
			b = binary.AppendUvarint(b, uint64(len(text(p))))
		}
		for _, p := range places {
			b = append(b, text(p)...)
		}
	}
	for _, p := range places {
		b = binary.AppendVarint(b, int64(toUnits(p.Lat)))
	}
	for _, p := range places {
		b = binary.AppendVarint(b, int64(toUnits(p.Lon)))
	}
	return b
}

// maxNameBytes bounds a name; the longest city name of GeoNames has 60 or so.
const maxNameBytes = 256

func decodePlaces(raw []byte) ([]perto.Place, error) {
	p := &plane{b: raw}
	places := make([]perto.Place, 1+p.count(maxCells-1))
	texts := []func(*perto.Place) *string{
		func(p *perto.Place) *string { return &p.Country },
		func(p *perto.Place) *string { return &p.Region },
		func(p *perto.Place) *string { return &p.Name },
	}
	lengths := make([]uint64, len(places))
	for _, text := range texts {
		total := uint64(0)
		for i := range places[1:] {
			if lengths[i] = p.uvarint(); lengths[i] > maxNameBytes {
				p.fail("a name is too long")
			}
			total += lengths[i]
		}
		all := string(p.take(total)) // one allocation for the names of all cells
		if p.err != nil {
			return nil, p.err
		}
		for i := range places[1:] {
			*text(&places[1+i]), all = all[:lengths[i]], all[lengths[i]:]
		}
	}
	for i := range places[1:] {
		places[1+i].Lat = fromUnits(int32(p.varint()))
	}
	for i := range places[1:] {
		places[1+i].Lon = fromUnits(int32(p.varint()))
		if !validPoint(places[1+i].Lat, places[1+i].Lon) {
			p.fail("a place is not on the globe")
		}
	}
	return places, p.end()
}

func encodeRanges4(ranges []lpm.Range4[Cell]) []byte {
	b := binary.AppendUvarint(nil, uint64(len(ranges)))
	prev := uint32(0)
	for _, r := range ranges {
		b = binary.AppendUvarint(b, uint64(r.Start-prev))
		prev = r.Start
	}
	for _, r := range ranges {
		b = append(b, byte(r.Value))
	}
	for _, r := range ranges {
		b = append(b, byte(r.Value>>8))
	}
	return b
}

func encodeRanges6(ranges []lpm.Range6[Cell]) []byte {
	b := binary.AppendUvarint(nil, uint64(len(ranges)))
	prev := uint64(0)
	for _, r := range ranges {
		b = binary.AppendUvarint(b, r.Start-prev)
		prev = r.Start
	}
	for _, r := range ranges {
		b = append(b, byte(r.Value))
	}
	for _, r := range ranges {
		b = append(b, byte(r.Value>>8))
	}
	return b
}

// packedRanges are the planes of the ranges of one family. They are decoded while a
// table is compiled from them: a list of all ranges would be the largest allocation of
// the start.
type packedRanges struct {
	gaps, low, high []byte
	width, cells    int
	err             error // of the last all
}

func openRanges(raw []byte, width, cells int) (*packedRanges, error) {
	p := &plane{b: raw}
	n := p.count(1 << lpm.Bits4)
	if n == 0 || 2*n > len(p.b) {
		p.fail("an impossible number of ranges")
		return nil, p.err
	}
	r := &packedRanges{gaps: p.b[:len(p.b)-2*n], low: p.b[len(p.b)-2*n : len(p.b)-n], high: p.b[len(p.b)-n:], width: width, cells: cells}
	if len(r.gaps) == 0 || r.gaps[0] != 0 { // tables need a range at 0
		p.fail("the first range does not start at 0")
		return nil, p.err
	}
	return r, nil
}

// all yields the ranges in order, with public resolvers erased. The first range starts at 0, and all are below
// 1<<width. It ends at a mistake and sets err.
func (r *packedRanges) all(yield func(start uint64, c Cell) bool) {
	p := &plane{b: r.gaps}
	at := uint64(0)
	e := newEraser(publicKeys(r.width))
	for i := range r.low {
		gap := p.uvarint()
		if at += gap; (gap == 0) != (i == 0) || gap >= 1<<r.width || at >= 1<<r.width {
			p.fail("ranges are out of order or outside of the address space")
		}
		c := Cell(r.low[i]) | Cell(r.high[i])<<8
		if int(c) >= r.cells {
			p.fail("a range has a cell that does not exist")
		}
		if p.err != nil {
			r.err = p.err
			return
		}
		if at < e.next {
			e.last = c
			if !yield(at, c) {
				return
			}
		} else if !e.add(at, c, yield) {
			return
		}
	}
	if r.err = p.end(); r.err == nil {
		e.upTo(1<<r.width, yield)
	}
}

func decodeTable4(raw []byte, cells int) (*lpm.V4[Cell], error) {
	packed, err := openRanges(raw, lpm.Bits4, cells)
	if err != nil {
		return nil, err
	}
	// With a mistake, the table has the ranges before it and is not used.
	t := lpm.CompileV4(func(yield func(lpm.Range4[Cell]) bool) {
		packed.all(func(start uint64, c Cell) bool { return yield(lpm.Range4[Cell]{Start: uint32(start), Value: c}) })
	})
	return t, packed.err
}

func decodeTable6(raw []byte, cells int) (*lpm.V6[Cell], error) {
	packed, err := openRanges(raw, lpm.Bits6, cells)
	if err != nil {
		return nil, err
	}
	ranges := func(yield func(lpm.Range6[Cell]) bool) {
		packed.all(func(start uint64, c Cell) bool { return yield(lpm.Range6[Cell]{Start: start, Value: c}) })
	}
	if err := errors.Join(checkPages6(ranges), packed.err); err != nil { // before memory is used
		return nil, err
	}
	return lpm.CompileV6(ranges), nil
}

// encodeExceptions writes one entry after the other, because there are few.
func encodeExceptions(exceptions []Exception) []byte {
	b := binary.AppendUvarint(nil, uint64(len(exceptions)))
	for _, e := range exceptions {
		a := e.Prefix.Addr().AsSlice()
		b = append(b, byte(len(a)), byte(e.Prefix.Bits()))
		b = append(b, a...)
		b = binary.LittleEndian.AppendUint16(b, uint16(e.Cell))
	}
	return b
}

func decodeExceptions(raw []byte, cells int) ([]Exception, error) {
	p := &plane{b: raw}
	exceptions := make([]Exception, 0, p.count(maxOverrides))
	for range cap(exceptions) {
		head := p.take(2)
		if p.err != nil {
			return nil, p.err
		}
		addr, ok := netip.AddrFromSlice(p.take(uint64(head[0])))
		prefix := netip.PrefixFrom(addr, int(head[1]))
		cell := p.take(2)
		if p.err != nil {
			return nil, p.err
		}
		c := Cell(binary.LittleEndian.Uint16(cell))
		if !ok || !prefix.IsValid() || prefix != prefix.Masked() || addr.Is4In6() || int(c) >= cells || !tooFine(prefix) ||
			len(exceptions) > 0 && prefix.Compare(exceptions[len(exceptions)-1].Prefix) <= 0 {
			return nil, fmt.Errorf("%w: exception %v", errDamaged, prefix)
		}
		exceptions = append(exceptions, Exception{prefix, c})
	}
	return exceptions, p.end()
}
