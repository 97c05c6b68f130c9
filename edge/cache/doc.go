// Package cache keeps replies in memory, bounded in bytes.
//
//	          Lookup(key, request)            Put(object)
//	                 |                             |
//	shard of 64-bit hashes -> group (one key) -> variants (objects)
//	                                               |        \
//	                                  S3-FIFO queues        Body: chunks
//	                                  small | main | ghost
//
// A group of objects shares one key; the objects are the variants that Vary
// makes (RFC 9111, section 4.1), each with the Selector of the requests it fits.
// An [Object] never changes once it was put; a reply freshened by a 304 is a new
// object with the old [Body]. The index holds whole bodies only: [Cache.Put]
// refuses others, so half a body cannot be taken for a whole one.
//
// A [Body] is readable while it fills: one writer appends, any number of readers
// follow at their own pace and never make it wait. A body that grows beyond the
// greatest object size, or while others that fill hold half of the memory, stops
// being storable: from then on only a window of it is kept, and the writer waits
// for the slowest reader.
//
// A large body that is hit often has a second form, a [File] in memory, from which
// the kernel sends without copying. It goes when its last object leaves the index.
//
// Lookup takes one read lock, allocates nothing and bumps one atomic counter.
// Put, Purge and eviction take one lock for the whole cache, on the miss path.
// All methods may be called from any goroutine. Memory of bodies is left to the
// collector, so a reader may hold chunks of an object that was evicted.
package cache
