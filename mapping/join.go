package mapping

import (
	"iter"

	"perto/geodata"
	"perto/internal/lpm"
)

// joined4 turns ranges of cells into ranges of (class, scope). It joins neighbours of
// one class and divides the results into the largest aligned blocks. The block lengths
// are the scopes. Two scopes never overlap (RFC 7871, section 7.2.1), because each
// address is in exactly one block.
func joined4(ranges iter.Seq[lpm.Range4[geodata.Cell]], ofCell []uint16) iter.Seq[lpm.Range4[uint32]] {
	var classes []lpm.Range4[uint16]
	for r := range ranges {
		c := ofCell[r.Value]
		if n := len(classes); n == 0 || classes[n-1].Value != c {
			classes = append(classes, lpm.Range4[uint16]{Start: r.Start, Value: c})
		}
	}
	return func(yield func(lpm.Range4[uint32]) bool) {
		for block, c := range lpm.Blocks4(classes) {
			if !yield(lpm.Range4[uint32]{Start: lpm.Key4(block.Addr()), Value: entry(c, block.Bits())}) {
				return
			}
		}
	}
}

func joined6(ranges iter.Seq[lpm.Range6[geodata.Cell]], ofCell []uint16) iter.Seq[lpm.Range6[uint32]] {
	var classes []lpm.Range6[uint16]
	for r := range ranges {
		c := ofCell[r.Value]
		if n := len(classes); n == 0 || classes[n-1].Value != c {
			classes = append(classes, lpm.Range6[uint16]{Start: r.Start, Value: c})
		}
	}
	return func(yield func(lpm.Range6[uint32]) bool) {
		for block, c := range lpm.Blocks6(classes) {
			if !yield(lpm.Range6[uint32]{Start: lpm.Key6(block.Addr()), Value: entry(c, block.Bits())}) {
				return
			}
		}
	}
}
