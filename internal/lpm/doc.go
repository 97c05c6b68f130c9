// Package lpm holds read-only tables from networks to small integers, made for
// one lookup per packet: a few dependent memory reads, no lock, no allocation.
//
// A table is compiled once from sorted ranges and never changes; a new version
// is built aside and swapped in by the owner. Its granularity is fixed: a
// [V4] distinguishes /24 networks and a [V6] /48 networks, the longest that
// ECS and the global routing table use. What is finer than that belongs in a
// small table of exceptions in front of it.
//
//	ranges:  [0 →7) [7 →9) [9 → ...        what compilers write and merge
//	table:   pages by the top 16 bits       what packets read
//	blocks:  10.0.0.0/8, 11.0.0.0/9, ...    what DNS answers as ECS scope
//
// Tables are safe for any number of concurrent readers.
package lpm

import (
	"fmt"
	"net/netip"
)

// Value is what a table may hold. Values of 32 bits must stay below 1<<31: the
// top bit marks, inside a table, a page that holds only one value.
type Value interface{ ~uint16 | ~uint32 }

// Bits4 and Bits6 are the granularity of the tables: the length, in bits, of
// the longest prefix that they distinguish (the longest ECS source prefix for
// IPv4 in RFC 7871, section 11.1; the shortest site prefix in BCP 157).
const (
	Bits4 = 24
	Bits6 = 48
)

// Range4 gives Value to all /24 networks from Start up to the Start of the next
// range. Start is the network's address shifted right by 8 bits, below 1<<24.
type Range4[V Value] struct {
	Start uint32
	Value V
}

// Range6 gives Value to all /48 networks from Start up to the Start of the next
// range. Start is the top 48 bits of the network's address, below 1<<48.
type Range6[V Value] struct {
	Start uint64
	Value V
}

// inline marks an entry of a page directory that is a value, not a page.
const inline = 1 << 31

// Key4 returns the /24 of an IPv4 address (or an IPv4 address inside IPv6) as
// tables and ranges count it. It panics for other addresses, as As4 does.
func Key4(a netip.Addr) uint32 {
	b := a.As4()
	return uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2])
}

// Key6 returns the /48 of an address as tables and ranges count it.
func Key6(a netip.Addr) uint64 {
	b := a.As16()
	return uint64(b[0])<<40 | uint64(b[1])<<32 | uint64(b[2])<<24 |
		uint64(b[3])<<16 | uint64(b[4])<<8 | uint64(b[5])
}

// Prefix4 returns the network of the given length that starts at a /24.
func Prefix4(key uint32, bits int) netip.Prefix {
	a := netip.AddrFrom4([4]byte{byte(key >> 16), byte(key >> 8), byte(key)})
	return netip.PrefixFrom(a, bits)
}

// Prefix6 returns the network of the given length that starts at a /48.
func Prefix6(key uint64, bits int) netip.Prefix {
	a := netip.AddrFrom16([16]byte{byte(key >> 40), byte(key >> 32), byte(key >> 24), byte(key >> 16), byte(key >> 8), byte(key)})
	return netip.PrefixFrom(a, bits)
}

// checkValue keeps an oversized value from being taken for a page.
func checkValue[V Value](v V) {
	if uint32(v) >= inline {
		panic(fmt.Sprintf("lpm: value %d does not fit in 31 bits", v))
	}
}
