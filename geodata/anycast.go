package geodata

import (
	"math"
	"net/netip"
	"slices"

	"perto/internal/lpm"
)

// publicResolvers are the anycast networks of large public resolvers. Each has one
// record in a database, and users everywhere. They normally query name servers from
// other addresses, which do have places.
var publicResolvers = []netip.Prefix{
	netip.MustParsePrefix("8.8.8.0/24"), netip.MustParsePrefix("8.8.4.0/24"), netip.MustParsePrefix("2001:4860:4860::/48"), // Google
	netip.MustParsePrefix("1.1.1.0/24"), netip.MustParsePrefix("1.0.0.0/24"), netip.MustParsePrefix("2606:4700:4700::/48"), // Cloudflare
	netip.MustParsePrefix("9.9.9.0/24"), netip.MustParsePrefix("149.112.112.0/24"), netip.MustParsePrefix("2620:fe::/48"), // Quad9
	netip.MustParsePrefix("208.67.222.0/24"), netip.MustParsePrefix("208.67.220.0/24"), // OpenDNS
	netip.MustParsePrefix("2620:119:35::/48"), netip.MustParsePrefix("2620:119:53::/48"),
}

// Anycast reports whether an address is in an anycast network: that of a public
// resolver, or an override with Anycast. Such an address has no place.
func (m *Map) Anycast(a netip.Addr) bool {
	if m.Lookup(a) != 0 {
		return false // an override gives it a place
	}
	a, _ = Embedded(a)
	contains := func(p netip.Prefix) bool { return p.Contains(a) }
	return slices.ContainsFunc(publicResolvers, contains) || slices.ContainsFunc(m.anycast, contains)
}

// publicKeys returns the sorted keys of the public resolvers of one family. Each network
// is one key long.
func publicKeys(width int) []uint64 {
	var keys []uint64
	for _, p := range publicResolvers {
		switch {
		case p.Addr().Is4() && width == lpm.Bits4:
			keys = append(keys, uint64(lpm.Key4(p.Addr())))
		case p.Addr().Is6() && width == lpm.Bits6:
			keys = append(keys, lpm.Key6(p.Addr()))
		}
	}
	slices.Sort(keys)
	return keys
}

// eraser changes a sequence of ranges such that the networks of some keys have no place.
type eraser struct {
	keys []uint64 // still to come, sorted
	next uint64   // the first of keys, or 1<<64 - 1
	last Cell     // the cell of the last range
}

func newEraser(keys []uint64) eraser {
	e := eraser{keys: keys}
	e.advance(0)
	return e
}

// advance drops the first n keys.
func (e *eraser) advance(n int) {
	e.keys, e.next = e.keys[n:], math.MaxUint64
	if len(e.keys) > 0 {
		e.next = e.keys[0]
	}
}

// add yields the keys before the start of a range, the continuations of the last range
// behind them, and the range. While start is below next, callers may yield the range
// themselves and only set last.
func (e *eraser) add(start uint64, c Cell, yield func(uint64, Cell) bool) bool {
	if !e.upTo(start, yield) {
		return false
	}
	e.last = c
	return start == e.next || yield(start, c) // the key takes the place of its range's start
}

// upTo yields the keys before end.
func (e *eraser) upTo(end uint64, yield func(uint64, Cell) bool) bool {
	for e.next < end {
		behind := e.next + 1
		if !yield(e.next, 0) {
			return false
		}
		if e.advance(1); behind < end && behind != e.next && !yield(behind, e.last) {
			return false
		}
	}
	return true
}
