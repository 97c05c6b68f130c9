package lpm

import (
	"math/rand/v2"
	"testing"
)

// The benchmark tables have the size and the shape of the world map: 2.4 million ranges
// of 11,000 values, spread over the allocated space. Keys are random, which misses the
// CPU cache more often than queries of real clients.
const (
	benchRanges = 2_400_000
	benchValues = 11_000
	benchKeys   = 1 << 18
)

func bench4() (*V4[uint16], []uint32) {
	rng := rand.New(rand.NewPCG(1, 2))
	at, ranges := uint32(0), []Range4[uint16]{{0, 0}}
	for len(ranges) < benchRanges {
		at += 1 + rng.Uint32N(2*(14_600_000/benchRanges)-1)
		ranges = append(ranges, Range4[uint16]{at, uint16(rng.Uint32N(benchValues))})
	}
	keys := make([]uint32, benchKeys)
	for i := range keys {
		keys[i] = rng.Uint32N(at)
	}
	return NewV4(ranges), keys
}

func bench6() (*V6[uint16], []uint64) {
	rng := rand.New(rand.NewPCG(1, 2))
	ranges := []Range6[uint16]{{0, 0}}
	var keys []uint64
	// 60 /16s with 1,000 providers each, a provider with 40 ranges.
	for r := range uint64(60) {
		for p := range uint64(1000) {
			at := (0x2000+r)<<32 | p*60<<16
			for range benchRanges / 60_000 {
				at += 1 + rng.Uint64N(1600)
				ranges = append(ranges, Range6[uint16]{at, uint16(rng.Uint32N(benchValues))})
				if len(keys) < benchKeys && rng.Uint32N(9) == 0 {
					keys = append(keys, at)
				}
			}
		}
	}
	rng.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	return NewV6(ranges), keys
}

func BenchmarkV4(b *testing.B) {
	table, keys := bench4()
	b.ReportAllocs()
	var sum uint32
	i := 0
	for b.Loop() {
		sum += uint32(table.At(keys[i&(len(keys)-1)]))
		i++
	}
	b.ReportMetric(float64(table.Size())/1e6, "MB")
	_ = sum
}

func BenchmarkV6(b *testing.B) {
	table, keys := bench6()
	b.ReportAllocs()
	var sum uint32
	i := 0
	for b.Loop() {
		sum += uint32(table.At(keys[i]))
		if i++; i == len(keys) {
			i = 0
		}
	}
	b.ReportMetric(float64(table.Size())/1e6, "MB")
	_ = sum
}

func BenchmarkNewV4(b *testing.B) {
	table, _ := bench4()
	ranges := table.Ranges()
	for b.Loop() {
		NewV4(ranges)
	}
}

func BenchmarkNewV6(b *testing.B) {
	table, _ := bench6()
	ranges := table.Ranges()
	for b.Loop() {
		NewV6(ranges)
	}
}
