package lpm

import (
	"iter"
	"math/bits"
	"net/netip"
)

// Blocks4 divides ranges into the fewest aligned networks that each have one value, and
// yields them in address order. It first joins neighbouring ranges with equal values,
// so that every network is as wide as alignment allows. The network is the ECS scope
// for all addresses in it. The rules for ranges are those of [NewV4].
func Blocks4[V Value](ranges []Range4[V]) iter.Seq2[netip.Prefix, V] {
	return func(yield func(netip.Prefix, V) bool) {
		for i := 0; i < len(ranges); {
			v, start := ranges[i].Value, uint64(ranges[i].Start)
			for i++; i < len(ranges) && ranges[i].Value == v; i++ {
			}
			end := uint64(1) << Bits4
			if i < len(ranges) {
				end = uint64(ranges[i].Start)
			}
			for start < end {
				n := Widest(start, end, Bits4)
				if !yield(Prefix4(uint32(start), Bits4-n), v) {
					return
				}
				start += 1 << n
			}
		}
	}
}

// Blocks6 is [Blocks4] for IPv6.
func Blocks6[V Value](ranges []Range6[V]) iter.Seq2[netip.Prefix, V] {
	return func(yield func(netip.Prefix, V) bool) {
		for i := 0; i < len(ranges); {
			v, start := ranges[i].Value, ranges[i].Start
			for i++; i < len(ranges) && ranges[i].Value == v; i++ {
			}
			end := uint64(1) << Bits6
			if i < len(ranges) {
				end = ranges[i].Start
			}
			for start < end {
				n := Widest(start, end, Bits6)
				if !yield(Prefix6(start, Bits6-n), v) {
					return
				}
				start += 1 << n
			}
		}
	}
}

// Widest returns the logarithm of the size of the widest aligned block that starts at
// start and does not pass end (exclusive). The result is at most width.
func Widest(start, end uint64, width int) int {
	n := width
	if start != 0 {
		n = min(n, bits.TrailingZeros64(start))
	}
	return min(n, bits.Len64(end-start)-1)
}

// Around returns the length in bits of the widest aligned block that contains key and
// is inside first..last (inclusive), for keys of the given width. It reduces a [V4.Run]
// or [V6.Run] to one network.
func Around(key, first, last uint64, width int) int {
	n := 0
	for n < width {
		size := uint64(1) << (n + 1)
		if lo := key &^ (size - 1); lo < first || lo|(size-1) > last {
			break
		}
		n++
	}
	return width - n
}
