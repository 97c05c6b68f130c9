package wan

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"perto"
)

// Region is a set of networks at one place. Only packets between two regions pass
// through the wan.
type Region struct {
	Name     string
	Prefixes []netip.Prefix // IPv4 or IPv6; prefixes of all regions must not overlap
	Place    perto.Place
}

// ParseRegion reads "NAME=PREFIX[,PREFIX...]@PLACE". place finds a place by its name.
// Errors are of KindInvalid, or those of place.
func ParseRegion(text string, place func(query string) (perto.Place, error)) (Region, error) {
	fail := func(err error) error {
		return &perto.Error{Op: "read region", Path: text, Kind: perto.KindInvalid, Err: err,
			Hint: `it takes NAME=PREFIX@PLACE, such as "gru=198.18.1.0/24@São Paulo, BR"`}
	}
	name, rest, ok := strings.Cut(text, "=")
	prefixes, where, ok2 := strings.Cut(rest, "@")
	if !ok || !ok2 || name == "" {
		return Region{}, fail(errors.New("the name, the prefix or the place is missing"))
	}
	r := Region{Name: name}
	for p := range strings.SplitSeq(prefixes, ",") {
		prefix, err := netip.ParsePrefix(strings.TrimSpace(p))
		if err != nil {
			return Region{}, fail(fmt.Errorf("%q is no prefix", p))
		}
		r.Prefixes = append(r.Prefixes, prefix)
	}
	var err error
	if r.Place, err = place(where); err != nil {
		return Region{}, err
	}
	return r, nil
}

// regionNet is one network of a region.
type regionNet struct {
	prefix netip.Prefix
	region int
}

// table finds the region of an address.
//
// Invariant: the networks are sorted by address and do not overlap. So only the last
// network that starts at or before an address can contain it.
type table []regionNet

func newTable(regions []Region) (table, error) {
	var t table
	names := make(map[string]bool)
	for i, r := range regions {
		fail := func(format string, args ...any) (table, error) {
			return nil, &perto.Error{Op: "set up region", Path: r.Name, Kind: perto.KindInvalid, Err: fmt.Errorf(format, args...)}
		}
		switch {
		case r.Name == "":
			return fail("the region has no name")
		case names[r.Name]:
			return fail("two regions have this name")
		case len(r.Prefixes) == 0:
			return fail("the region has no network")
		}
		names[r.Name] = true
		for _, p := range r.Prefixes {
			if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() {
				return fail("%s is not a network: bits are set beyond its length, or it is IPv4 in IPv6", p)
			}
			for _, other := range t {
				if other.prefix.Overlaps(p) {
					return fail("%s overlaps %s of %s", p, other.prefix, regions[other.region].Name)
				}
			}
			t = append(t, regionNet{p, i})
		}
	}
	slices.SortFunc(t, func(a, b regionNet) int { return a.prefix.Addr().Compare(b.prefix.Addr()) })
	return t, nil
}

// find returns the index of an address's region, or -1.
func (t table) find(a netip.Addr) int {
	i, exact := slices.BinarySearchFunc(t, a, func(n regionNet, a netip.Addr) int { return n.prefix.Addr().Compare(a) })
	if !exact {
		i--
	}
	if i < 0 || !t[i].prefix.Contains(a) {
		return -1
	}
	return t[i].region
}
