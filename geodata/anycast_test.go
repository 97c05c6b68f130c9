package geodata

import (
	"net/netip"
	"slices"
	"testing"

	"perto"
	"perto/internal/lpm"
)

// TestPublicResolversHaveNoPlace: a record of an anycast network says nothing about the
// place of its users.
func TestPublicResolversHaveNoPlace(t *testing.T) {
	m := loadWorld(t)
	for _, p := range publicResolvers {
		a := p.Addr().Next()
		if m.Lookup(a) != 0 || !m.Anycast(a) || m.Prefix(a) != p {
			t.Errorf("%s: got cell %d, anycast %v, network %s", p, m.Lookup(a), m.Anycast(a), m.Prefix(a))
		}
		if bits := p.Bits(); bits != lpm.Bits4 && bits != lpm.Bits6 {
			t.Errorf("%s is not one key long", p)
		}
	}
	for _, s := range []string{"8.8.7.8", "8.8.9.8", "200.144.248.1", "10.0.0.1", "2001:4860:4861::1"} {
		if m.Anycast(netip.MustParseAddr(s)) {
			t.Errorf("%s is anycast", s)
		}
	}
	rio := perto.Place{Name: "Rio", Country: "BR", Lat: -22.9, Lon: -43.2}
	prefix := netip.MustParsePrefix
	n, err := m.WithOverrides([]Override{
		{Prefix: prefix("200.144.0.0/16"), Anycast: true}, {Prefix: prefix("200.144.248.7/32"), Place: rio},
		{Prefix: prefix("80.0.0.7/32"), Anycast: true}, {Prefix: prefix("8.8.8.0/24"), Place: rio}, {Prefix: prefix("2003:1c0::/32"), Anycast: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	for s, want := range map[string]bool{"200.144.1.1": true, "200.144.248.7": false, "80.0.0.7": true, "80.0.0.8": false, "8.8.8.8": false, "2003:1c0::1": true, "2002:c890:0101::": true} {
		a := netip.MustParseAddr(s)
		if got := n.Anycast(a); got != want || want && n.Lookup(a) != 0 {
			t.Errorf("%s: anycast %v in cell %d, want %v", s, got, n.Lookup(a), want)
		}
	}
	if n.LookupPlace(netip.MustParseAddr("8.8.8.8")) != rio || n.LookupPlace(netip.MustParseAddr("80.0.0.8")) != m.LookupPlace(netip.MustParseAddr("80.0.0.8")) {
		t.Error("another place changed, or an override has no effect")
	}
	if _, err := m.WithOverrides([]Override{{Prefix: prefix("80.0.0.0/24"), Anycast: true}, {Prefix: prefix("80.0.0.0/24"), Place: rio}}); err == nil {
		t.Error("a network with a place and without one was accepted")
	}
}

// TestEraser compares with a table of single keys, for all ranges of a small space.
func TestEraser(t *testing.T) {
	const width = 4
	for keys := range 1 << 15 { // bit i is key i+1
		var erased []uint64
		for i := range uint64(15) {
			if keys>>i&1 == 1 {
				erased = append(erased, i+1)
			}
		}
		if len(erased) > 4 {
			continue
		}
		starts := []uint64{0, 3, 4, 9, 15}
		e := newEraser(erased)
		all := func(yield func(uint64, Cell) bool) {
			for i, s := range starts {
				if !e.add(s, Cell(i+1), yield) {
					return
				}
			}
			e.upTo(1<<width, yield)
		}
		got := make([]Cell, 0, 1<<width)
		last, before, n := Cell(0), uint64(0), 0
		for start, c := range all {
			if n > 0 && start <= before {
				t.Fatalf("keys %v: start %d is out of order", erased, start)
			}
			for uint64(len(got)) < start {
				got = append(got, last)
			}
			last, before, n = c, start, n+1
		}
		for len(got) < 1<<width {
			got = append(got, last)
		}
		for key := range uint64(1 << width) {
			want := Cell(0)
			if !slices.Contains(erased, key) {
				for i, s := range starts {
					if s <= key {
						want = Cell(i + 1)
					}
				}
			}
			if got[key] != want {
				t.Fatalf("keys %v: key %d has cell %d, want %d", erased, key, got[key], want)
			}
		}
	}
}
