package cache

import (
	"sync/atomic"

	"perto/edge/rfc9111"
	"perto/internal/fields"
)

// Object is one stored reply. Its exported fields do not change after Put.
type Object struct {
	Key      string
	Selector rfc9111.Selector
	Policy   rfc9111.Policy
	Status   int
	Reason   string        // as the origin wrote it; may be empty
	Header   fields.Header // the end-to-end fields as received, in the object's memory
	// Head is the part of the head that is the same for every hit, in wire form. It
	// reaches from the status line to the last field that does not depend on the
	// request, without the empty line. The cache does not read it.
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

// objectOverhead is roughly the cost of an object beside its bytes, in bytes: the
// structs, the entry in the index and unused space of the allocator.
const objectOverhead = 512

// memory returns the size of the object in memory, in bytes.
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

// maxFreq is the maximum of an object's hit counter (S3-FIFO: two bits).
const maxFreq = 3

func (o *Object) touch() {
	if f := o.freq.Load(); f < maxFreq {
		o.freq.CompareAndSwap(f, f+1)
	}
}
