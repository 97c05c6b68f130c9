package cache

import (
	"cmp"
	"hash/maphash"
	"sync"
	"sync/atomic"

	"perto/internal/fields"
)

// Config has the limits of a cache.
type Config struct {
	// MaxBytes bounds the memory of all objects and of bodies that fill.
	MaxBytes int64
	// MaxObjectBytes bounds one body. 0 means a quarter of MaxBytes.
	MaxObjectBytes int64
	// MaxVariants bounds the objects under one key. 0 means 64. Without it, an origin
	// that varies by an unbounded field (User-Agent, Cookie) could fill the cache with
	// one page. The oldest object is removed first.
	MaxVariants int
}

const (
	shardCount      = 64 // a power of two, well above the number of cores
	defaultVariants = 64
)

// Cache is a memory cache of replies. Use [New].
type Cache struct {
	maxBytes  atomic.Int64
	maxObject atomic.Int64
	variants  atomic.Int64 // under one key
	seed      maphash.Seed
	shards    [shardCount]shard
	filling   atomic.Int64 // bytes held by bodies that fill
	files     atomic.Int64 // bodies that have a file
	fileBytes atomic.Int64 // size of these files
	evictions atomic.Uint64

	mu          sync.Mutex // guards the fields below; locked before a shard's
	small, main queue
	ghost       ghost
	tags        map[string]map[*Object]struct{}
}

type shard struct {
	mu     sync.RWMutex
	groups map[uint64]*group
	_      [32]byte // padding: no two shards share a cache line
}

// group holds the objects of one key, newest first.
type group struct {
	key      string
	variants []*Object // replaced, never changed
	next     *group    // another key with the same hash
}

// New returns an empty cache.
func New(cfg Config) *Cache {
	c := &Cache{seed: maphash.MakeSeed(), tags: make(map[string]map[*Object]struct{})}
	c.limit(cfg)
	for i := range c.shards {
		c.shards[i].groups = make(map[uint64]*group)
	}
	c.ghost.seen = make(map[uint64]int64)
	return c
}

func (c *Cache) limit(cfg Config) {
	if cfg.MaxObjectBytes == 0 {
		cfg.MaxObjectBytes = cfg.MaxBytes / 4
	}
	c.maxBytes.Store(cfg.MaxBytes)
	c.maxObject.Store(cfg.MaxObjectBytes)
	c.variants.Store(int64(cmp.Or(cfg.MaxVariants, defaultVariants)))
}

// Resize replaces the limits. A smaller cache evicts at once. Bodies that already
// fill keep the limit that they started with. Stored objects above a smaller
// MaxObjectBytes stay. A key with more objects than MaxVariants loses the oldest when
// the next object is stored under it.
func (c *Cache) Resize(cfg Config) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.limit(cfg)
	c.evict()
}

// MaxObjectBytes returns the greatest size of a body that is stored.
func (c *Cache) MaxObjectBytes() int64 { return c.maxObject.Load() }

// Lookup returns the newest object under key that fits the request. When none fits,
// near is another object under that key, or nil. A caller finds in near the fields
// that the resource varies by.
func (c *Cache) Lookup(key []byte, request fields.Header) (hit, near *Object) {
	variants := c.Variants(key)
	if len(variants) == 0 {
		return nil, nil
	}
	for _, o := range variants {
		if o.Selector.Match(request) {
			o.touch()
			return o, nil
		}
	}
	return nil, variants[0]
}

// Variants returns the objects under a key, newest first. The caller must not change
// the slice.
func (c *Cache) Variants(key []byte) []*Object {
	h := maphash.Bytes(c.seed, key)
	s := &c.shards[h%shardCount]
	s.mu.RLock()
	defer s.mu.RUnlock()
	for g := s.groups[h]; g != nil; g = g.next {
		if g.key == string(key) {
			return g.variants
		}
	}
	return nil
}

// Put stores an object, removes the objects that it replaces, and evicts others if
// necessary. It returns false and stores nothing when the body is not whole or too
// large.
func (c *Cache) Put(o *Object) bool {
	if _, n, whole := o.Body.Whole(); !whole || n > c.maxObject.Load() {
		return false
	}
	o.size = o.memory()
	if o.size > c.maxBytes.Load() {
		return false
	}
	o.hash = maphash.String(c.seed, o.Key)
	c.mu.Lock()
	defer c.mu.Unlock()
	target := &c.small
	if c.ghost.take(o.hash) {
		target = &c.main
	}
	o.Body.retain() // before it replaces one with the same body
	for _, old := range c.insert(o) {
		// A freshened reply gets the queue and the hits of the reply it replaces.
		if old.queue == &c.main {
			target = &c.main
		}
		o.freq.Store(old.freq.Load())
		c.forget(old)
	}
	target.push(o)
	for _, t := range o.Tags {
		if c.tags[t] == nil {
			c.tags[t] = make(map[*Object]struct{})
		}
		c.tags[t][o] = struct{}{}
	}
	c.evict()
	return true
}

// insert puts o in front of its group and returns the variants that it displaces.
// These are the variant for the same requests and the oldest ones above the limit.
func (c *Cache) insert(o *Object) (displaced []*Object) {
	s := &c.shards[o.hash%shardCount]
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.groups[o.hash]
	for g != nil && g.key != o.Key {
		g = g.next
	}
	if g == nil {
		g = &group{key: o.Key, next: s.groups[o.hash]}
		s.groups[o.hash] = g
	}
	variants, most := []*Object{o}, int(c.variants.Load())
	for _, v := range g.variants {
		if len(variants) == most || v.Selector.Same(&o.Selector) {
			displaced = append(displaced, v)
		} else {
			variants = append(variants, v)
		}
	}
	g.variants = variants
	return displaced
}

// remove takes o out of its group.
func (c *Cache) remove(o *Object) {
	s := &c.shards[o.hash%shardCount]
	s.mu.Lock()
	defer s.mu.Unlock()
	var before *group
	g := s.groups[o.hash]
	for g != nil && g.key != o.Key {
		before, g = g, g.next
	}
	if g == nil {
		return
	}
	var variants []*Object
	for _, v := range g.variants {
		if v != o {
			variants = append(variants, v)
		}
	}
	if g.variants = variants; len(variants) > 0 {
		return
	}
	switch {
	case before != nil:
		before.next = g.next
	case g.next != nil:
		s.groups[o.hash] = g.next
	default:
		delete(s.groups, o.hash)
	}
}

// forget removes o from queues and tags. The caller has removed it from the index.
func (c *Cache) forget(o *Object) {
	if o.queue == nil {
		return
	}
	o.queue.unlink(o)
	o.Body.release()
	for _, t := range o.Tags {
		delete(c.tags[t], o)
		if len(c.tags[t]) == 0 {
			delete(c.tags, t)
		}
	}
}

// Purge removes all objects under a key and returns their number.
func (c *Cache) Purge(key []byte) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	variants := c.Variants(key)
	for _, o := range variants {
		c.remove(o)
		c.forget(o)
	}
	return len(variants)
}

// PurgeTag removes all objects with the tag and returns their number.
func (c *Cache) PurgeTag(tag string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for o := range c.tags[tag] {
		c.remove(o)
		c.forget(o)
		n++
	}
	return n
}

// PurgeAll removes all objects and returns their number.
func (c *Cache) PurgeAll() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, q := range []*queue{&c.small, &c.main} {
		for o := q.oldest; o != nil; o = q.oldest {
			c.remove(o)
			c.forget(o)
			n++
		}
	}
	return n
}

// Stats has the counts and sizes of a cache.
type Stats struct {
	Objects   int
	Bytes     int64 // of stored objects
	Filling   int64 // bytes of bodies that fill
	Files     int64 // bytes of bodies in files, beside Bytes
	Evictions uint64
}

// Stats returns the present counts.
func (c *Cache) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Stats{Objects: c.small.count + c.main.count, Bytes: c.small.bytes + c.main.bytes,
		Filling: c.filling.Load(), Files: c.fileBytes.Load(), Evictions: c.evictions.Load()}
}
