package cache

// Eviction is S3-FIFO (Yang et al., SOSP 2023), counted in bytes. New objects enter a
// small queue. Objects that are hit again in that queue move to the main queue. The
// others are evicted, and their hashes enter the ghost queue. An object with its hash
// in the ghost queue enters the main queue directly. Hits change a counter and no
// queue, so they need no lock. In our simulation on a web trace it had the best hit
// ratio of LRU, SIEVE and S3-FIFO at every size
// (docs/rationale.md#eviction-is-s3-fifo).

const (
	// smallShare is the part of the memory for the small queue: a tenth, as in the
	// paper.
	smallShare = 10
	// moveAbove is the number of hits that an object must exceed in the small queue to
	// move to the main queue (the paper's Algorithm 1: more than one).
	moveAbove = 1
)

// queue is a first-in first-out list of objects, linked by their prev and next.
//
//	oldest -> next -> ... -> newest
type queue struct {
	oldest, newest *Object
	bytes          int64
	count          int
}

func (q *queue) push(o *Object) {
	o.queue, o.prev, o.next = q, q.newest, nil
	if q.newest != nil {
		q.newest.next = o
	} else {
		q.oldest = o
	}
	q.newest = o
	q.bytes += o.size
	q.count++
}

func (q *queue) unlink(o *Object) {
	if o.prev != nil {
		o.prev.next = o.next
	} else {
		q.oldest = o.next
	}
	if o.next != nil {
		o.next.prev = o.prev
	} else {
		q.newest = o.prev
	}
	o.queue, o.prev, o.next = nil, nil, nil
	q.bytes -= o.size
	q.count--
}

// ghost holds the hashes of objects that were evicted from the small queue. Together
// these objects had at most the size of the cache.
type ghost struct {
	seen  map[uint64]int64 // hash -> size
	fifo  []ghostEntry
	bytes int64
}

type ghostEntry struct {
	hash uint64
	size int64
}

// maxGhosts bounds the number of hashes, also when the objects were small. Each costs
// 24 bytes and an entry of the map.
const maxGhosts = 1 << 18

func (g *ghost) add(hash uint64, size, limit int64) {
	if _, ok := g.seen[hash]; ok {
		return
	}
	g.seen[hash] = size
	g.fifo = append(g.fifo, ghostEntry{hash, size})
	g.bytes += size
	for len(g.fifo) > maxGhosts || g.bytes > limit && len(g.fifo) > 1 {
		e := g.fifo[0]
		g.fifo = g.fifo[1:]
		g.bytes -= e.size
		delete(g.seen, e.hash)
	}
}

// take removes the hash and reports whether it was there. Its entry in the list stays
// until it is the oldest.
func (g *ghost) take(hash uint64) bool {
	_, ok := g.seen[hash]
	delete(g.seen, hash)
	return ok
}

// grow counts n more bytes of a body that fills, and evicts objects if necessary.
func (c *Cache) grow(n int64) {
	if c.filling.Add(n) > c.maxBytes.Load()/smallShare {
		c.mu.Lock()
		c.evict()
		c.mu.Unlock()
	}
}

// evict removes objects until everything fits. The caller holds mu.
func (c *Cache) evict() {
	for c.small.count+c.main.count > 0 && c.small.bytes+c.main.bytes+c.filling.Load()+c.fileBytes.Load() > c.maxBytes.Load() {
		if c.small.bytes > c.maxBytes.Load()/smallShare || c.main.count == 0 {
			c.evictSmall()
		} else {
			c.evictMain()
		}
	}
}

func (c *Cache) evictSmall() {
	o := c.small.oldest
	if o == nil {
		return
	}
	if o.freq.Load() > moveAbove {
		c.small.unlink(o)
		o.freq.Store(0)
		c.main.push(o)
		return
	}
	c.ghost.add(o.hash, o.size, c.maxBytes.Load())
	c.drop(o)
}

func (c *Cache) evictMain() {
	for o := c.main.oldest; o != nil; o = c.main.oldest {
		if f := o.freq.Load(); f > 0 {
			o.freq.Store(f - 1)
			c.main.unlink(o)
			c.main.push(o)
			continue
		}
		c.drop(o)
		return
	}
}

func (c *Cache) drop(o *Object) {
	c.remove(o)
	c.forget(o)
	c.evictions.Add(1)
}
