package geodata

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"

	"perto"
	"perto/internal/lpm"
)

// Override sets the place of a network and takes precedence over the map. It is for the
// user's own networks and for errors of the source.
type Override struct {
	Prefix netip.Prefix
	Place  perto.Place
	// Anycast marks a network whose users may be anywhere. It has no place.
	Anycast bool
}

func (o *Override) target() string {
	if o.Anycast {
		return "anycast"
	}
	return o.Place.String()
}

// maxOverrides bounds the exceptions of a map.
const maxOverrides = 1 << 20

// WithOverrides returns a map in which the networks of overrides have the given places.
// Of several overrides, the most specific one applies, independent of their order. Each
// distinct place becomes a cell, so that its coordinates stay exact. The receiver does
// not change. Overrides of the receiver, even more specific ones, have less priority
// than the new ones.
//
// Networks up to /24 and /48 are written into the ranges and cost nothing later. Longer
// ones become [Map.Exceptions]. Errors are of KindInvalid, or of KindConflict when one
// network has two places.
func (m *Map) WithOverrides(overrides []Override) (*Map, error) {
	overrides, err := checkOverrides(overrides)
	if err != nil {
		return nil, err
	}
	next := &Map{v4: m.v4, v6: m.v6, info: m.info, places: slices.Clip(m.places), overridden: cmp.Or(m.overridden, Cell(len(m.places))), anycast: slices.Clip(m.anycast)}
	cells := make(map[perto.Place]Cell)
	var r4 []lpm.Range4[Cell]
	var r6 []lpm.Range6[Cell]
	exceptions := slices.Clone(m.exceptions)
	for _, o := range overrides { // in ascending order of length: later ones override
		c, ok := cells[o.Place]
		switch {
		case o.Anycast:
			c = 0
			next.anycast = append(next.anycast, o.Prefix)
		case !ok:
			if len(next.places) == maxCells {
				return nil, &perto.Error{Op: "override geodata", Path: o.Prefix.String(), Kind: perto.KindInvalid,
					Err: fmt.Errorf("more than %d cells", maxCells-1), Hint: "use fewer distinct places"}
			}
			c = Cell(len(next.places))
			cells[o.Place] = c
			next.places = append(next.places, o.Place)
		}
		exceptions = slices.DeleteFunc(exceptions, func(e Exception) bool {
			return o.Prefix.Bits() <= e.Prefix.Bits() && o.Prefix.Overlaps(e.Prefix)
		})
		switch {
		case tooFine(o.Prefix):
			exceptions = append(exceptions, Exception{o.Prefix, c})
		case o.Prefix.Addr().Is4():
			if r4 == nil {
				r4 = m.Ranges4()
			}
			r4 = paint4(r4, o.Prefix, c)
		default:
			if r6 == nil {
				r6 = m.Ranges6()
			}
			r6 = paint6(r6, o.Prefix, c)
		}
	}
	if r4 != nil {
		next.v4 = lpm.NewV4(r4)
	}
	if r6 != nil {
		if err := checkPages6(slices.Values(r6)); err != nil {
			return nil, &perto.Error{Op: "override geodata", Kind: perto.KindInvalid, Err: err, Hint: "use wider networks"}
		}
		next.v6 = lpm.NewV6(r6)
	}
	slices.SortFunc(exceptions, func(a, b Exception) int { return a.Prefix.Compare(b.Prefix) })
	next.setExceptions(exceptions)
	return next, nil
}

// tooFine reports whether a network is longer than the tables' granularity.
func tooFine(p netip.Prefix) bool {
	if p.Addr().Is4() {
		return p.Bits() > lpm.Bits4
	}
	return p.Bits() > lpm.Bits6
}

// setExceptions stores exceptions, which must be sorted and without duplicates.
func (m *Map) setExceptions(exceptions []Exception) {
	if len(exceptions) == 0 {
		return
	}
	m.exceptions, m.fine = exceptions, new(bart.Table[Cell])
	for _, e := range exceptions {
		m.fine.Insert(e.Prefix, e.Cell)
	}
}

// checkOverrides returns the overrides in canonical form, in ascending order of length.
func checkOverrides(overrides []Override) ([]Override, error) {
	fail := func(p netip.Prefix, kind perto.Kind, hint, format string, args ...any) ([]Override, error) {
		return nil, &perto.Error{Op: "override geodata", Path: p.String(), Kind: kind, Err: fmt.Errorf(format, args...), Hint: hint}
	}
	if len(overrides) > maxOverrides {
		return fail(netip.Prefix{}, perto.KindInvalid, "compile an MMDB instead", "more than %d overrides", maxOverrides)
	}
	out := slices.Clone(overrides)
	for i := range out {
		o := &out[i]
		if o.Prefix.IsValid() && o.Prefix.Addr().Is4In6() && o.Prefix.Bits() >= 96 {
			o.Prefix = netip.PrefixFrom(o.Prefix.Addr().Unmap(), o.Prefix.Bits()-96)
		}
		p := o.Prefix
		form := Native
		if p.IsValid() {
			_, form = Embedded(p.Addr())
		}
		switch {
		case !p.IsValid():
			return fail(p, perto.KindInvalid, "write address/length", "not a network")
		case form != Native && p.Bits() >= form.Prefix().Bits():
			return fail(p, perto.KindInvalid, "override the network of that IPv4 address", "the IPv4 address inside a %s address decides its place", form)
		case p != p.Masked():
			return fail(p, perto.KindInvalid, "write "+p.Masked().String(), "bits are set beyond the length")
		case !validPoint(o.Place.Lat, o.Place.Lon) || math.IsNaN(o.Place.Lat+o.Place.Lon):
			return fail(p, perto.KindInvalid, "latitudes are -90..90, longitudes -180..180", "%g,%g is not on the globe", o.Place.Lat, o.Place.Lon)
		case o.Place.Country != "" && !validCountry(o.Place.Country):
			return fail(p, perto.KindInvalid, "write two upper-case letters (ISO 3166-1)", "country %q", o.Place.Country)
		case max(len(o.Place.Name), len(o.Place.Region)) > maxNameBytes:
			return fail(p, perto.KindInvalid, "", "a name of more than %d bytes", maxNameBytes)
		}
	}
	slices.SortStableFunc(out, func(a, b Override) int {
		return cmp.Or(cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()), a.Prefix.Compare(b.Prefix))
	})
	for i := 1; i < len(out); i++ {
		if a, b := out[i-1], out[i]; a.Prefix == b.Prefix && (a.Place != b.Place || a.Anycast != b.Anycast) {
			return fail(a.Prefix, perto.KindConflict, "keep one", "given both to %s and to %s", a.target(), b.target())
		}
	}
	return out, nil
}

// paint4 gives the /24s of p the cell c.
func paint4(ranges []lpm.Range4[Cell], p netip.Prefix, c Cell) []lpm.Range4[Cell] {
	first := lpm.Key4(p.Addr())
	end := first + 1<<(lpm.Bits4-p.Bits()) // exclusive
	search := func(start uint32) int {
		i, _ := slices.BinarySearchFunc(ranges, start, func(r lpm.Range4[Cell], s uint32) int { return cmp.Compare(r.Start, s) })
		return i
	}
	i, j := search(first), search(end)
	insert := []lpm.Range4[Cell]{{Start: first, Value: c}}
	if end < 1<<lpm.Bits4 && (j == len(ranges) || ranges[j].Start != end) {
		insert = append(insert, lpm.Range4[Cell]{Start: end, Value: ranges[j-1].Value})
	}
	return slices.Replace(ranges, i, j, insert...)
}

// paint6 gives the /48s of p the cell c.
func paint6(ranges []lpm.Range6[Cell], p netip.Prefix, c Cell) []lpm.Range6[Cell] {
	first := lpm.Key6(p.Addr())
	end := first + 1<<(lpm.Bits6-p.Bits()) // exclusive
	search := func(start uint64) int {
		i, _ := slices.BinarySearchFunc(ranges, start, func(r lpm.Range6[Cell], s uint64) int { return cmp.Compare(r.Start, s) })
		return i
	}
	i, j := search(first), search(end)
	insert := []lpm.Range6[Cell]{{Start: first, Value: c}}
	if end < 1<<lpm.Bits6 && (j == len(ranges) || ranges[j].Start != end) {
		insert = append(insert, lpm.Range6[Cell]{Start: end, Value: ranges[j-1].Value})
	}
	return slices.Replace(ranges, i, j, insert...)
}
