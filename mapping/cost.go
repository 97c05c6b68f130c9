package mapping

import (
	"math"
	"time"
)

// Cost is a round-trip time in units of 1/64 ms, which is 2 bytes in a table. A longer
// time than [MaxCost] counts as MaxCost.
type Cost uint16

// CostUnit is the resolution of a Cost.
const CostUnit = time.Millisecond / 64

// MaxCost is 1.02 s, three times the round trip to the other side of the earth.
const MaxCost Cost = math.MaxUint16

// CostOf rounds a time to a Cost.
func CostOf(d time.Duration) Cost {
	return Cost(min(max(0, (d+CostUnit/2)/CostUnit), time.Duration(MaxCost)))
}

// Duration returns the cost as a time.
func (c Cost) Duration() time.Duration { return time.Duration(c) * CostUnit }

// Costs is a table of costs. It has a row for each group of clients and a column for
// each site.
type Costs struct {
	sites int
	table []Cost
}

// NewCosts returns a table of zeros.
func NewCosts(rows, sites int) *Costs {
	return &Costs{sites: sites, table: make([]Cost, rows*sites)}
}

// Row returns a row. It is a part of the table, not a copy.
func (c *Costs) Row(i int) []Cost { return c.table[i*c.sites : (i+1)*c.sites] }

// Nearest returns the head of a ranking: the site of lowest cost, the first of several
// equal ones. It panics when sites is empty.
func Nearest(row []Cost, sites []uint16) uint16 {
	best := sites[0]
	for _, s := range sites[1:] {
		if row[s] < row[best] {
			best = s
		}
	}
	return best
}

// Sample is a row of Costs and its weight in a mean.
type Sample struct {
	Row    int
	Weight float64
}

// Mean writes the weighted mean of rows into row, for the given sites. It is the score of
// these sites for a group of clients that must get one answer.
func (c *Costs) Mean(row []Cost, samples []Sample, sites []uint16) {
	total := 0.0
	sum := make([]float64, len(sites))
	for _, s := range samples {
		from := c.Row(s.Row)
		total += s.Weight
		for i, site := range sites {
			sum[i] += s.Weight * float64(from[site])
		}
	}
	for i, site := range sites {
		row[site] = Cost(math.Round(sum[i] / total))
	}
}

// Rows returns the number of rows.
func (c *Costs) Rows() int { return len(c.table) / max(1, c.sites) }
