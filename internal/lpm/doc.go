// Package lpm holds read-only tables from networks to small integers, for one lookup
// per packet. A lookup takes a few dependent memory reads, no lock and no allocation.
//
// A table is compiled once from sorted ranges and never changes. Its owner builds a new
// version and replaces the old one. The granularity is fixed: a [V4] distinguishes /24
// networks and a [V6] /48 networks, the longest that ECS and the global routing table
// use. Longer networks belong in a small table of exceptions that callers search first.
//
//	ranges:  [0 →7) [7 →9) [9 → ...        compilers write and merge these
//	table:   pages by the top 16 bits       lookups read these
//	blocks:  10.0.0.0/8, 11.0.0.0/9, ...    DNS answers use these as ECS scope
//
// Tables are safe for any number of concurrent readers. Start with [NewV4] and [NewV6].
package lpm

import (
	"fmt"
	"net/netip"
)

// Value is the type of table values. Values of 32 bits must be below 1<<31, because the
// top bit marks a page with only one value.
type Value interface{ ~uint16 | ~uint32 }

// Bits4 and Bits6 are the granularity of the tables: the length, in bits, of the
// longest prefix that they distinguish. This is the longest ECS source prefix for IPv4
// (RFC 7871, section 11.1) and the shortest site prefix (BCP 157).
const (
	Bits4 = 24
	Bits6 = 48
)

// Range4 assigns Value to all /24 networks from Start up to the Start of the next
// range. Start is the network's address shifted right by 8 bits, below 1<<24.
type Range4[V Value] struct {
	Start uint32
	Value V
}

// Range6 assigns Value to all /48 networks from Start up to the Start of the next
// range. Start is the top 48 bits of the network's address, below 1<<48.
type Range6[V Value] struct {
	Start uint64
	Value V
}

// inline marks an entry of a page directory that is a value, not a page.
const inline = 1 << 31

// Key4 returns the /24 of an IPv4 address (or an IPv4-mapped address) as a key of
// tables and ranges. It panics for other addresses, as As4 does.
func Key4(a netip.Addr) uint32 {
	b := a.As4()
	return uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2])
}

// Key6 returns the /48 of an address as a key of tables and ranges.
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

// checkValue panics when a value is so large that it looks like a page.
func checkValue[V Value](v V) {
	if uint32(v) >= inline {
		panic(fmt.Sprintf("lpm: value %d does not fit in 31 bits", v))
	}
}
