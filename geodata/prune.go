package geodata

import (
	"sort"

	"perto"
)

// gapBits is the longest prefix of an empty block that stays unknown. Longer blocks
// take the cell of a neighbour, which is a good guess and costs no range. An empty /16,
// or /28 of IPv6, is reserved or not allocated.
var gapBits = [numFamilies]int{16, 28}

// leaf gives a cell to the networks from key up to the next leaf.
type leaf struct {
	key  uint64 // as in network
	cell int32  // index into cellSet.centre, or unknownLocation
}

// Labels of a subtree beside the cells. Unknown must stay unknown, and empty takes the
// label of its neighbour.
const (
	labelUnknown = unknownLocation
	labelEmpty   = -2
)

// Country values of nodes that must not be joined by label.
const (
	countryNone  = -1 // of unknown and empty networks
	countryMixed = -2
)

// node is a pruned subtree of the binary tree of networks.
//
// The error of giving it one cell c is the sum over its networks of w*d², where d is
// the chord from the network to c. With unit vectors that is 2*(W - S.c), so a node
// needs only W and S, not its networks.
type node struct {
	weight  float64
	sum     vec     // of the unit vectors, weighted
	label   int32   // the best single cell
	country int32   // of all its networks, or countryMixed
	cost    float64 // error in km² times weight, plus lambda for each leaf
}

// pruner walks a family's networks as a binary tree, bottom up. It joins two halves
// when the added error costs less than a leaf (Lagrangian rate-distortion pruning).
// Halves of different countries are never joined.
type pruner struct {
	s        *source
	cells    cellSet
	family   int
	networks []network
	lambda   float64 // price of a leaf, in km² of one unit of weight
	leaves   []leaf
}

// prune returns the leaves of a family in order. The first has key 0.
func prune(s *source, cells cellSet, family int, lambdaKm float64) []leaf {
	p := &pruner{s: s, cells: cells, family: family, networks: s.networks[family], lambda: lambdaKm * lambdaKm}
	p.walk(0, len(p.networks), 0, 0)
	// Merge equal neighbours, and give empty blocks the cell of their neighbour.
	merged := []leaf{{0, unknownLocation}}
	for _, l := range p.leaves {
		switch last := &merged[len(merged)-1]; {
		case l.cell == last.cell:
		case l.key == last.key:
			last.cell = l.cell
		default:
			merged = append(merged, l)
		}
	}
	return merged
}

// walk prunes the networks i..j-1, which belong to the block key/depth.
func (p *pruner) walk(i, j int, key uint64, depth int) node {
	if i == j {
		if depth > gapBits[p.family] {
			return node{label: labelEmpty, country: countryNone}
		}
		p.leaves = append(p.leaves, leaf{key, labelUnknown})
		return node{label: labelUnknown, country: countryNone, cost: p.lambda}
	}
	if depth >= granularity[p.family] || j-i == 1 && int(p.networks[i].bits) <= depth {
		return p.leaf(p.networks[i:j], key)
	}
	mid := key | 1<<(63-depth)
	m := i + sort.Search(j-i, func(k int) bool { return p.networks[i+k].key >= mid })
	before := len(p.leaves)
	a := p.walk(i, m, key, depth+1)
	b := p.walk(m, j, mid, depth+1)
	switch {
	case a.label == labelEmpty:
		return b
	case b.label == labelEmpty:
		return a
	}
	return p.join(a, b, key, before)
}

// join makes a node of two halves. Their leaves begin at before.
func (p *pruner) join(a, b node, key uint64, before int) node {
	n := node{weight: a.weight + b.weight, label: a.label, country: a.country, cost: a.cost + b.cost}
	for q := range n.sum {
		n.sum[q] = a.sum[q] + b.sum[q]
	}
	if a.country != b.country || a.country == countryMixed {
		n.country = countryMixed
		return n
	}
	if a.country == countryNone {
		n.cost = p.lambda
		p.leaves = append(p.leaves[:before], leaf{key, labelUnknown})
		return n
	}
	err := p.errorOf(n, a.label)
	if e := p.errorOf(n, b.label); e < err {
		n.label, err = b.label, e
	}
	// Two leaves with the same cell become one range at the end.
	if leaves := p.leaves[before:]; len(leaves) == 2 && leaves[0].cell == leaves[1].cell {
		n.cost -= p.lambda
	}
	if err+p.lambda <= n.cost {
		n.cost = err + p.lambda
		p.leaves = append(p.leaves[:before], leaf{key, n.label})
	}
	return n
}

// leaf makes a node of networks that the map does not distinguish. This is mostly one
// network, or the networks inside one /24 or /48. The country with the most weight is
// chosen, and in it the cell with the least error.
func (p *pruner) leaf(networks []network, key uint64) node {
	n := node{label: labelUnknown, country: countryNone, cost: p.lambda}
	byCountry := make(map[int32]float64, 1)
	for _, m := range networks {
		if m.loc == unknownLocation {
			continue
		}
		l := &p.s.locations[m.loc]
		w := m.weight(p.family)
		n.weight += w
		for q := range n.sum {
			n.sum[q] += w * l.at[q]
		}
		c := int32(l.country)
		byCountry[c] += w
		if n.country < 0 || byCountry[c] > byCountry[n.country] {
			n.country = c
		}
	}
	best := -1.0
	for _, m := range networks {
		if m.loc == unknownLocation || int32(p.s.locations[m.loc].country) != n.country {
			continue
		}
		cell := p.cells.of[m.loc]
		if e := p.errorOf(n, cell); best < 0 || e < best {
			best, n.label = e, cell
		}
	}
	n.cost += max(0, best)
	p.leaves = append(p.leaves, leaf{key, n.label})
	return n
}

// errorOf returns the squared error, in km² times weight, of giving all of n to
// one cell.
func (p *pruner) errorOf(n node, cell int32) float64 {
	c := p.s.locations[p.cells.centre[cell]].at
	const r2 = perto.EarthRadiusKm * perto.EarthRadiusKm
	return r2 * max(0, 2*(n.weight-n.sum.dot(c)))
}
