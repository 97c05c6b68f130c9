package mapping

import (
	"hash/maphash"
	"math"
	"net/netip"
	"sync"
	"time"

	"perto/geodata"
)

// Learner collects where the clients of resolver groups are. It is told pairs of a
// resolver and a client, and keeps for each group how often its clients were in which
// cells. It keeps no client address: a keyed hash of the client's block lives until its
// hour, or its half-life, ends. Its methods may be called from any goroutine.
//
// The estimate follows the clusters of clients ("CANS") of F. Chen, R. Sitaraman,
// M. Torres, "End-User Mapping" (SIGCOMM 2015), section 5.
type Learner struct {
	halfLife time.Duration
	most     int

	mu     sync.Mutex
	seed   maphash.Seed
	groups map[Group]*groupClients
	start  time.Time // landmark of the forward decay
	hour   time.Time // of votes
	votes  bloom
	full   uint64 // groups evicted
}

// LearnerConfig has the limits of a Learner.
type LearnerConfig struct {
	// HalfLife is the time after which a vote counts half; 0 means 3 days.
	HalfLife time.Duration
	// Groups is the largest number of groups; 0 means 100,000.
	Groups int
}

const (
	defaultHalfLife = 72 * time.Hour
	defaultGroups   = 100_000
	// cellsKept is the number of cells that are kept of a group. A group with clients in
	// more cells keeps the frequent ones (SpaceSaving).
	cellsKept = 64
	// blocksKept is the size of the sample of client blocks, by which their number is
	// estimated. Up to this number it is exact.
	blocksKept = 12
	// rescaleAfter is the number of half-lives after which all weights are divided, so
	// that they stay in the range of a float32.
	rescaleAfter = 30
)

// groupClients are the clients of one group.
type groupClients struct {
	cells   [cellsKept]geodata.Cell
	weights [cellsKept]float32 // in units of the landmark
	used    uint8
	total   float32

	blocks, before distinct // client blocks of this half-life, and of the one before
	since          int64    // start of this half-life, Unix time in ns
}

// NewLearner returns an empty Learner.
func NewLearner(cfg LearnerConfig) *Learner {
	l := &Learner{halfLife: cfg.HalfLife, most: cfg.Groups, seed: maphash.MakeSeed(), groups: make(map[Group]*groupClients)}
	if l.halfLife <= 0 {
		l.halfLife = defaultHalfLife
	}
	if l.most <= 0 {
		l.most = defaultGroups
	}
	return l
}

// Add records that a client, which is in a cell, used a resolver. A client block (/24 or
// /48) has one vote for each group and hour. Add reports whether the vote counted.
func (l *Learner) Add(now time.Time, resolver, client netip.Addr, cell geodata.Cell) bool {
	g := GroupOf(resolver)
	if g == 0 || cell == 0 {
		return false
	}
	block := GroupOf(client) // the same lengths as a group's
	l.mu.Lock()
	defer l.mu.Unlock()
	if hour := now.Truncate(time.Hour); !hour.Equal(l.hour) {
		l.hour = hour
		l.votes.reset()
	}
	if !l.votes.add(maphash.Comparable(l.seed, [2]Group{g, block})) {
		return false
	}
	if l.start.IsZero() {
		l.start = now
	}
	age := float64(now.Sub(l.start)) / float64(l.halfLife)
	if age > rescaleAfter {
		l.rescale(age)
		l.start, age = now, 0
	}
	c := l.groups[g]
	if c == nil {
		if len(l.groups) >= l.most {
			l.evict()
		}
		c = &groupClients{since: now.UnixNano()}
		l.groups[g] = c
	}
	if now.UnixNano()-c.since >= int64(l.halfLife) {
		c.before, c.blocks, c.since = c.blocks, distinct{}, now.UnixNano()
	}
	c.blocks.add(uint32(maphash.Comparable(l.seed, block)))
	c.add(cell, float32(math.Exp2(age)))
	return true
}

// add counts a cell. When no place is left, the cell with the least weight gives its place
// and its weight (SpaceSaving; Metwally, Agrawal, El Abbadi, ICDT 2005).
func (c *groupClients) add(cell geodata.Cell, w float32) {
	c.total += w
	least := 0
	for i := range c.used {
		if c.cells[i] == cell {
			c.weights[i] += w
			return
		}
		if c.weights[i] < c.weights[least] {
			least = int(i)
		}
	}
	if c.used < cellsKept {
		c.cells[c.used], c.weights[c.used] = cell, w
		c.used++
		return
	}
	c.cells[least] = cell
	c.weights[least] += w
}

// rescale divides all weights by 2^age.
func (l *Learner) rescale(age float64) {
	f := float32(math.Exp2(-age))
	for _, c := range l.groups {
		c.total *= f
		for i := range c.used {
			c.weights[i] *= f
		}
	}
}

// evictSample is the number of groups of which the one with the least weight is evicted.
const evictSample = 8

// evict removes the least of some groups. Map iteration starts at a random group.
func (l *Learner) evict() {
	var worst Group
	least, seen := float32(math.Inf(1)), 0
	for g, c := range l.groups {
		if c.total < least {
			worst, least = g, c.total
		}
		if seen++; seen == evictSample {
			break
		}
	}
	delete(l.groups, worst)
	l.full++
}

// Groups returns the number of groups.
func (l *Learner) Groups() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.groups)
}

// each calls f for every group with its distinct client blocks. f must not keep c.
func (l *Learner) each(f func(g Group, blocks int, c *groupClients)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for g, c := range l.groups {
		f(g, max(c.blocks.count(), c.before.count()), c)
	}
}

// distinct estimates a number of distinct values by the least of their hashes (k minimum
// values; Bar-Yossef et al., RANDOM 2002). It is exact up to blocksKept.
type distinct struct {
	least [blocksKept]uint32 // ascending
	n     uint8
	more  bool // there were more values than n
}

func (d *distinct) add(h uint32) {
	i := int(d.n)
	for i > 0 && d.least[i-1] >= h {
		if d.least[i-1] == h {
			return
		}
		i--
	}
	if d.n == blocksKept {
		d.more = true
	} else {
		d.n++
	}
	if i == blocksKept {
		return
	}
	copy(d.least[i+1:d.n], d.least[i:])
	d.least[i] = h
}

func (d *distinct) count() int {
	if !d.more {
		return int(d.n)
	}
	return int(float64(blocksKept-1) / (float64(d.least[blocksKept-1]) + 1) * (1 << 32))
}

// bloom is a set that may say that a new value is old. It holds a million values with an
// error of one in fifty.
type bloom struct {
	bits []uint64
	used int
}

const (
	bloomBits   = 1 << 23
	bloomHashes = 4
	bloomMost   = 1 << 20
)

// add reports whether the value is new. A full set accepts nothing: its hour has had
// enough votes.
func (b *bloom) add(h uint64) bool {
	if b.used >= bloomMost {
		return false
	}
	if b.bits == nil {
		b.bits = make([]uint64, bloomBits/64)
	}
	isNew := false
	for i := range uint64(bloomHashes) {
		at := (h + i*(h>>32|1)) % bloomBits
		if b.bits[at/64]&(1<<(at%64)) == 0 {
			isNew = true
			b.bits[at/64] |= 1 << (at % 64)
		}
	}
	if isNew {
		b.used++
	}
	return isNew
}

func (b *bloom) reset() {
	clear(b.bits)
	b.used = 0
}
