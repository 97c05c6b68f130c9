package cache

import (
	"sync/atomic"

	"perto/edge/rfc9111"
	"perto/internal/fields"
)

// Object is one stored reply. Its exported fields are set before it is put and
// never changed after.
type Object struct {
	Key      string
	Selector rfc9111.Selector
	Policy   rfc9111.Policy
	Status   int
	Reason   string        // as the origin wrote it; may be empty
	Header   fields.Header // the end-to-end fields as they came, in memory of their own
	// Head is the head in wire form as far as it is the same for every hit: from
	// the status line to the last neutral field, without the empty line. The cache
	// does not look into it.
	Head []byte
	Tags []string // surrogate keys, for purges
	Body *Body

	hash  uint64
	freq  atomic.Uint32 // hits since it entered its queue, at most maxFreq
	queue *queue        // nil when not in the cache; guarded by Cache.mu
	prev  *Object
	next  *Object
	size  int64
}

// objectOverhead is what an object costs beside its bytes: the structs, the
// place in the index, allocator slack. In bytes, roughly.
const objectOverhead = 512

// memory returns what the object occupies in bytes.
func (o *Object) memory() int64 {
	n := objectOverhead + len(o.Key) + len(o.Head) + len(o.Reason)
	for i := range o.Header {
		n += len(o.Header[i].Name) + len(o.Header[i].Value) + 48 // two slice headers
	}
	for _, t := range o.Tags {
		n += 2 * len(t)
	}
	return int64(n) + o.Body.memory()
}

// maxFreq is where the hit counter of an object stops (S3-FIFO: two bits).
const maxFreq = 3

func (o *Object) touch() {
	if f := o.freq.Load(); f < maxFreq {
		o.freq.CompareAndSwap(f, f+1)
	}
}
