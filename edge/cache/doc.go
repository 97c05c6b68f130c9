// Package cache keeps replies in memory, bounded in bytes.
//
//	          Lookup(key, request)            Put(object)
//	                 |                             |
//	shard of 64-bit hashes -> group (one key) -> variants (objects)
//	                                               |        \
//	                                  S3-FIFO queues        Body: chunks
//	                                  small | main | ghost
//
// The edge looks up each request here, and package fetch puts the replies that it
// fetched. Start with [New], [Cache.Lookup] and [Cache.Put].
//
// The objects of a group share one key. They are the variants that Vary makes (RFC
// 9111, section 4.1), each with the Selector of the requests it fits. An [Object] does
// not change after Put. A reply freshened by a 304 is a new object with the old
// [Body]. The index holds whole bodies only: [Cache.Put] refuses all others, so a
// truncated body is never served as a whole one.
//
// A [Body] is readable while it fills. One writer appends. Any number of readers
// follow at their own pace, and the writer does not wait for them. A body stops being
// storable when it grows beyond the maximum object size. The same happens to a body
// longer than a window while the bodies that fill hold more than half of the memory.
// From then on only a window of the body is kept, and the writer waits for the
// slowest reader.
//
// A large body that is hit often has a second form, a [File] in memory. The kernel
// sends from it without copying. The file is closed when the last object with the
// body leaves the index.
//
// Lookup takes one read lock, allocates nothing and updates one atomic counter. Put,
// Purge and eviction take one lock for the whole cache, on the miss path. All methods
// may be called from any goroutine. The garbage collector frees the memory of bodies,
// so a reader may hold chunks of an evicted object.
package cache
