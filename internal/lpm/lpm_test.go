package lpm

import (
	"net/netip"
	"slices"
	"sort"
	"testing"

	"pgregory.net/rapid"
)

// drawKeys draws sorted distinct starts with 0 first. Half of them are aligned to a
// large block and many are close together, so that all kinds of pages occur.
func drawKeys(t *rapid.T, width int) []uint64 {
	top := uint64(1)<<width - 1
	near := rapid.Uint64Range(0, top).Draw(t, "near")
	keys := []uint64{0}
	for _, k := range rapid.SliceOfN(rapid.Uint64Range(0, top), 0, 60).Draw(t, "keys") {
		switch k % 4 {
		case 0:
			keys = append(keys, k&^(1<<(width/3)-1))
		case 1:
			keys = append(keys, k&^(1<<(2*width/3)-1))
		case 2:
			keys = append(keys, (near+k%512)&top)
		default:
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

func draw4(t *rapid.T) []Range4[uint16] {
	var ranges []Range4[uint16]
	for _, k := range drawKeys(t, Bits4) {
		ranges = append(ranges, Range4[uint16]{uint32(k), rapid.Uint16Range(0, 3).Draw(t, "value")})
	}
	return ranges
}

func draw6(t *rapid.T) []Range6[uint32] {
	var ranges []Range6[uint32]
	for _, k := range drawKeys(t, Bits6) {
		ranges = append(ranges, Range6[uint32]{k, rapid.Uint32Range(0, 3).Draw(t, "value")})
	}
	return ranges
}

// naive4 and naive6 are the specification: the last range at or before key.
func naive4(ranges []Range4[uint16], key uint32) uint16 {
	return ranges[sort.Search(len(ranges), func(i int) bool { return ranges[i].Start > key })-1].Value
}

func naive6(ranges []Range6[uint32], key uint64) uint32 {
	return ranges[sort.Search(len(ranges), func(i int) bool { return ranges[i].Start > key })-1].Value
}

// probes returns the keys at which mistakes are likely: around each start.
func probes(starts []uint64, width int) []uint64 {
	top := uint64(1)<<width - 1
	out := []uint64{top}
	for _, s := range starts {
		out = append(out, s, (s-1)&top, (s+1)&top, s|0xff, (s|0xffff)&top)
	}
	return out
}

func starts4(ranges []Range4[uint16]) (out []uint64) {
	for _, r := range ranges {
		out = append(out, uint64(r.Start))
	}
	return out
}

func starts6(ranges []Range6[uint32]) (out []uint64) {
	for _, r := range ranges {
		out = append(out, r.Start)
	}
	return out
}

func TestV4AgreesWithSearch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ranges := draw4(t)
		table := NewV4(ranges)
		for _, k := range probes(starts4(ranges), Bits4) {
			key := uint32(k)
			if got, want := table.At(key), naive4(ranges, key); got != want {
				t.Fatalf("At(%#x): got %d, want %d", key, got, want)
			}
			first, last := table.Run(key)
			if first > key || last < key {
				t.Fatalf("Run(%#x): got %#x..%#x without the key", key, first, last)
			}
			v := naive4(ranges, key)
			if first > 0 && naive4(ranges, first-1) == v || last < 1<<Bits4-1 && naive4(ranges, last+1) == v {
				t.Fatalf("Run(%#x): %#x..%#x could be longer", key, first, last)
			}
			for _, s := range starts4(ranges) {
				if s >= uint64(first) && s <= uint64(last) && naive4(ranges, uint32(s)) != v {
					t.Fatalf("Run(%#x): %#x..%#x holds another value at %#x", key, first, last, s)
				}
			}
		}
		again := NewV4(table.Ranges())
		if !slices.Equal(again.Ranges(), table.Ranges()) || len(table.Ranges()) > len(ranges) {
			t.Fatalf("Ranges: not the shortest list, or it changes when compiled again")
		}
	})
}

// TestV6Fans covers a case that few random ranges produce: a /32 with enough values for
// a fan, beside one just below that.
func TestV6Fans(t *testing.T) {
	for _, n := range []uint64{fanSteps - 1, fanSteps, fanSteps + 1, 1000, 1 << 16} {
		const first = 0x2001_0db8_0000
		ranges := []Range6[uint32]{{0, 1}}
		for i := range n {
			ranges = append(ranges, Range6[uint32]{first + i*(1<<16/n), uint32(i*2654435761>>20) % 3})
		}
		ranges = append(ranges, Range6[uint32]{first + 1<<16, 7})
		table := NewV6(ranges)
		for key := uint64(first - 2); key < first+1<<16+2; key++ {
			if got, want := table.At(key), naive6(ranges, key); got != want {
				t.Fatalf("%d values: At(%#x): got %d, want %d", n, key, got, want)
			}
		}
		again := NewV6(table.Ranges())
		for key := uint64(first - 2); key < first+1<<16+2; key += 7 {
			lo, hi := again.Run(key)
			if v := naive6(ranges, key); lo > key || hi < key || naive6(ranges, lo) != v || naive6(ranges, hi) != v ||
				lo > 0 && naive6(ranges, lo-1) == v || naive6(ranges, hi+1) == v && hi < 1<<Bits6-1 {
				t.Fatalf("%d values: Run(%#x): got %#x..%#x", n, key, lo, hi)
			}
		}
	}
}

func TestV6AgreesWithSearch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ranges := draw6(t)
		table := NewV6(ranges)
		for _, key := range probes(starts6(ranges), Bits6) {
			if got, want := table.At(key), naive6(ranges, key); got != want {
				t.Fatalf("At(%#x): got %d, want %d", key, got, want)
			}
			first, last := table.Run(key)
			v := naive6(ranges, key)
			if first > key || last < key ||
				first > 0 && naive6(ranges, first-1) == v || last < 1<<Bits6-1 && naive6(ranges, last+1) == v {
				t.Fatalf("Run(%#x): got %#x..%#x", key, first, last)
			}
			for _, s := range starts6(ranges) {
				if s >= first && s <= last && naive6(ranges, s) != v {
					t.Fatalf("Run(%#x): %#x..%#x holds another value at %#x", key, first, last, s)
				}
			}
		}
		again := NewV6(table.Ranges())
		if !slices.Equal(again.Ranges(), table.Ranges()) || len(table.Ranges()) > len(ranges) {
			t.Fatalf("Ranges: not the shortest list, or it changes when compiled again")
		}
	})
}

// TestBlocks4 checks that blocks cover the address space and have the right value.
// Siblings must differ, so that no two blocks could be joined.
func TestBlocks4(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ranges := draw4(t)
		table := NewV4(ranges)
		next := uint64(0)
		type block struct {
			p netip.Prefix
			v uint16
		}
		var prev block
		for p, v := range Blocks4(ranges) {
			key := uint64(Key4(p.Addr()))
			if key != next || p != p.Masked() {
				t.Fatalf("%v: want an aligned block at %#x", p, next)
			}
			next = key + 1<<(Bits4-p.Bits())
			first, last := table.Run(uint32(key))
			if table.At(uint32(key)) != v || uint64(first) > key || uint64(last)+1 < next {
				t.Fatalf("%v: has more than the value %d", p, v)
			}
			if got := Around(key, uint64(first), uint64(last), Bits4); got != p.Bits() {
				t.Fatalf("%v: Around finds a block of %d bits", p, got)
			}
			if prev.p.IsValid() && prev.v == v && prev.p.Bits() == p.Bits() &&
				netip.PrefixFrom(p.Addr(), p.Bits()-1).Masked().Addr() == prev.p.Addr() {
				t.Fatalf("%v and %v could be one block", prev.p, p)
			}
			prev = block{p, v}
		}
		if next != 1<<Bits4 {
			t.Fatalf("blocks end at %#x", next)
		}
	})
}

func TestBlocks6(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ranges := draw6(t)
		table := NewV6(ranges)
		next := uint64(0)
		for p, v := range Blocks6(ranges) {
			key := Key6(p.Addr())
			if key != next || p != p.Masked() {
				t.Fatalf("%v: want an aligned block at %#x", p, next)
			}
			next = key + 1<<(Bits6-p.Bits())
			first, last := table.Run(key)
			if table.At(key) != v || first > key || last+1 < next {
				t.Fatalf("%v: has more than the value %d", p, v)
			}
			if got := Around(key, first, last, Bits6); got != p.Bits() {
				t.Fatalf("%v: Around finds a block of %d bits", p, got)
			}
		}
		if next != 1<<Bits6 {
			t.Fatalf("blocks end at %#x", next)
		}
	})
}

func TestBlocksStopEarly(t *testing.T) {
	n := 0
	for range Blocks4([]Range4[uint16]{{0, 1}, {5, 2}}) {
		if n++; n == 2 {
			break
		}
	}
	for range Blocks6([]Range6[uint16]{{0, 1}, {5, 2}}) {
		break
	}
}

func TestV4SharesPages(t *testing.T) {
	// Every /16 has the same two halves: one page is enough.
	var ranges []Range4[uint16]
	for r := range uint32(1 << 16) {
		ranges = append(ranges, Range4[uint16]{r << 8, 1}, Range4[uint16]{r<<8 | 0x80, 2})
	}
	table := NewV4(ranges)
	if got, want := table.Size(), 4<<16+2*256; got != want {
		t.Errorf("got %d bytes, want %d", got, want)
	}
}

func TestNewPanicsOnBrokenRanges(t *testing.T) {
	tests := []struct {
		name  string
		build func()
	}{
		{"no range", func() { NewV4[uint16](nil) }},
		{"not from 0", func() { NewV4([]Range4[uint16]{{1, 1}}) }},
		{"out of order", func() { NewV4([]Range4[uint16]{{0, 1}, {9, 1}, {9, 2}}) }},
		{"beyond IPv4", func() { NewV4([]Range4[uint16]{{0, 1}, {1 << 24, 2}}) }},
		{"value too large", func() { NewV4([]Range4[uint32]{{0, 1 << 31}}) }},
		{"no range, IPv6", func() { NewV6[uint16](nil) }},
		{"out of order, IPv6", func() { NewV6([]Range6[uint16]{{0, 1}, {9, 1}, {8, 2}}) }},
		{"beyond IPv6", func() { NewV6([]Range6[uint16]{{0, 1}, {1 << 48, 2}}) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			tt.build()
		})
	}
}

func TestLookupAddresses(t *testing.T) {
	v4 := NewV4([]Range4[uint16]{{0, 0}, {0xc00002, 7}, {0xc00003, 0}})
	v6 := NewV6([]Range6[uint16]{{0, 0}, {0x2001_0db8_0000, 8}, {0x2001_0db8_0001, 9}, {0x2001_0db9_0000, 0}})
	for addr, want := range map[string]uint16{"192.0.2.255": 7, "::ffff:192.0.2.1": 7, "192.0.3.0": 0, "192.0.1.255": 0} {
		if got := v4.Lookup(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: got %d, want %d", addr, got, want)
		}
	}
	for addr, want := range map[string]uint16{"2001:db8::1": 8, "2001:db8:1::": 9, "2001:db8:ffff:ffff::": 9, "2001:db9::": 0, "ffff::": 0} {
		if got := v6.Lookup(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: got %d, want %d", addr, got, want)
		}
	}
}

func TestLookupAllocatesNothing(t *testing.T) {
	v4 := NewV4([]Range4[uint16]{{0, 0}, {0xc00002, 7}, {0xc00003, 0}})
	v6 := NewV6([]Range6[uint16]{{0, 0}, {0x2001_0db8_0000, 8}, {0x2001_0db8_0001, 9}})
	a4, a6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	var sum uint16
	if n := testing.AllocsPerRun(100, func() { sum += v4.Lookup(a4) + v6.Lookup(a6) }); n != 0 {
		t.Errorf("got %v allocations a lookup, want 0", n)
	}
}
