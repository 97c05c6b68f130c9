package cache

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
)

const (
	// maxChunk is the size of the chunks of long bodies in bytes. It is large
	// enough that one writev carries a lot. It is small enough that a false
	// Content-Length costs little memory.
	maxChunk = 256 << 10
	// firstChunk is the size of the first chunk of a body of unknown length, in
	// bytes. Each next chunk doubles.
	firstChunk = 4 << 10
	// window is how many bytes are kept for readers of a body too large to store.
	// It is more than one chunk, because a reader at the end of the last chunk still
	// holds that chunk.
	window = 2 * maxChunk
	// fillShare is the part of the memory for bodies that fill: a half. Beyond it,
	// bodies longer than a window are not stored. Without this limit, many large
	// replies to slow clients would take all memory.
	fillShare = 2
)

// ErrAbandoned ends the filling of a body that cannot be stored and has no readers
// left.
var ErrAbandoned = errors.New("body has no readers left")

// Body is the bytes of one reply, which may still be arriving.
type Body struct {
	cache *Cache
	whole atomic.Bool // once set, chunks, size and capacity never change

	mu       sync.Mutex
	moved    sync.Cond // more bytes, the end, or a reader moved in a window
	chunks   [][]byte  // chunks[:dropped] are nil
	dropped  int       // number of chunks that all readers have passed
	size     int64
	capacity int64 // memory held by the chunks in bytes
	length   int64 // as promised, or -1
	limit    int64 // greatest size that may be stored
	windowed bool
	done     bool
	err      error // why it ended early
	readers  map[*Reader]struct{}

	filed filed
}

// NewBody returns an empty body that one goroutine will fill. length is the
// Content-Length of the origin's reply, or -1.
func (c *Cache) NewBody(length int64) *Body {
	b := &Body{cache: c, length: length, limit: c.maxObject.Load(), readers: make(map[*Reader]struct{})}
	b.moved.L = &b.mu
	return b
}

// BodyOf returns a whole body made of p. The body keeps p.
func (c *Cache) BodyOf(p []byte) *Body {
	b := c.NewBody(int64(len(p)))
	if len(p) > 0 {
		b.chunks = [][]byte{p}
	}
	b.size, b.capacity, b.done = int64(len(p)), int64(cap(p)), true
	b.whole.Store(true)
	return b
}

// Fill appends all bytes of src until its end or until the promised length, and
// ends the body. It returns nil when the body is whole and may be stored. It returns
// [ErrAbandoned] when the body outgrew the cache and its readers left. Other errors
// are the reason why the body is not whole. A body shorter than its promised length is
// not whole.
func (b *Body) Fill(src io.Reader) error {
	for b.length < 0 || b.size < b.length {
		free, err := b.free()
		if err != nil {
			return b.end(err)
		}
		n, err := src.Read(free)
		if n > 0 {
			b.extend(n)
		}
		if err == io.EOF {
			return b.end(nil)
		}
		if err != nil {
			return b.end(err)
		}
	}
	return b.end(nil)
}

// free returns unused space after the last byte: at least one byte.
func (b *Body) free() ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.size > b.limit || b.size >= window && b.cache.filling.Load() > b.cache.maxBytes.Load()/fillShare {
		b.windowed = true
		b.moved.Broadcast() // a caller of Await that reads nothing must start to read
	}
	for b.windowed {
		if len(b.readers) == 0 {
			return nil, ErrAbandoned
		}
		if b.drop(); b.kept() < window {
			break
		}
		b.moved.Wait()
	}
	if k := len(b.chunks); k > 0 {
		if last := b.chunks[k-1]; len(last) < cap(last) {
			return last[len(last):cap(last)], nil
		}
	}
	next := make([]byte, 0, b.nextChunk())
	b.chunks = append(b.chunks, next)
	b.capacity += int64(cap(next))
	b.cache.grow(int64(cap(next)))
	return next[:cap(next)], nil
}

// nextChunk returns the size of the next chunk in bytes.
func (b *Body) nextChunk() int64 {
	if b.length >= 0 {
		return min(b.length-b.size, maxChunk)
	}
	return min(max(firstChunk, b.size), maxChunk)
}

func (b *Body) extend(n int) {
	b.mu.Lock()
	last := &b.chunks[len(b.chunks)-1]
	*last = (*last)[:len(*last)+n]
	b.size += int64(n)
	b.mu.Unlock()
	b.moved.Broadcast()
}

// drop releases the chunks that every reader has passed.
func (b *Body) drop() {
	first := len(b.chunks) - 1
	for r := range b.readers {
		first = min(first, r.chunk)
	}
	for ; b.dropped < first; b.dropped++ {
		n := int64(cap(b.chunks[b.dropped]))
		b.capacity -= n
		b.cache.filling.Add(-n)
		b.chunks[b.dropped] = nil
	}
}

func (b *Body) kept() (n int64) {
	for _, c := range b.chunks[b.dropped:] {
		n += int64(len(c))
	}
	return n
}

// end closes the body. It returns the memory that the filling took from the cache's
// budget. A Put that follows takes that memory again.
func (b *Body) end(err error) error {
	b.mu.Lock()
	if err == nil && b.length >= 0 && b.size != b.length {
		err = io.ErrUnexpectedEOF
	}
	b.cache.filling.Add(-b.capacity)
	b.trim()
	b.err, b.done = err, true
	stored := err == nil && !b.windowed
	if err == nil && b.windowed {
		err = ErrAbandoned
	}
	b.whole.Store(stored)
	b.mu.Unlock()
	b.moved.Broadcast()
	return err
}

// trim moves the last chunk to a smaller one when a large part of it is unused.
// Readers may still hold views of the old memory, with the same bytes.
func (b *Body) trim() {
	k := len(b.chunks)
	if k == 0 || b.windowed {
		return
	}
	last := b.chunks[k-1]
	if cap(last)-len(last) <= cap(last)/8 {
		return
	}
	b.capacity -= int64(cap(last) - len(last))
	if len(last) == 0 {
		b.chunks = b.chunks[:k-1]
		return
	}
	b.chunks[k-1] = append(make([]byte, 0, len(last)), last...)
}

// Whole returns the chunks and the size of a complete body. ok is false when the
// body is not complete yet or ended early. The caller must not change the chunks.
func (b *Body) Whole() (chunks [][]byte, size int64, ok bool) {
	if !b.whole.Load() {
		return nil, 0, false
	}
	return b.chunks, b.size, true
}

// Length returns the size of a whole body, in bytes. Before the body is whole, it
// returns the length that the origin promised, or -1.
func (b *Body) Length() int64 {
	if b.whole.Load() {
		return b.size
	}
	return b.length
}

// Filled returns how many bytes have arrived.
func (b *Body) Filled() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.size
}

// Await waits until n bytes have arrived or the body has ended. It returns the number
// of bytes that arrived, and whether the body is whole with them. ok is false when
// the caller must not wait: the body ended early, or is too large to store and its
// writer waits for readers.
func (b *Body) Await(n int64) (size int64, whole, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.size < n && !b.done && !b.windowed {
		b.moved.Wait()
	}
	return b.size, b.done && b.err == nil, b.size >= n || b.done && b.err == nil
}

func (b *Body) memory() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.capacity
}

// Reader follows a body from its first byte. It belongs to one goroutine and
// must be closed.
type Reader struct {
	b     *Body
	chunk int
	at    int // offset in the chunk
}

// Follow returns a reader. It returns false when the first bytes of the body may
// have been dropped.
func (b *Body) Follow() (*Reader, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.windowed {
		return nil, false
	}
	r := &Reader{b: b}
	b.readers[r] = struct{}{}
	return r, true
}

// Next returns the next bytes, and waits for them if necessary. After the last byte
// of a whole body it returns io.EOF. When the body ended early, it returns the
// reason. The caller must not change the bytes.
func (r *Reader) Next() ([]byte, error) {
	b := r.b
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		for r.chunk < len(b.chunks) {
			c := b.chunks[r.chunk]
			if r.at < len(c) {
				p := c[r.at:]
				r.at = len(c)
				return p, nil
			}
			if r.chunk == len(b.chunks)-1 {
				break // it may still grow
			}
			r.chunk, r.at = r.chunk+1, 0
			if b.windowed {
				b.moved.Broadcast()
			}
		}
		if b.done {
			if b.err != nil {
				return nil, b.err
			}
			return nil, io.EOF
		}
		b.moved.Wait()
	}
}

// Close ends the reader, so that a windowed body no longer waits for it.
func (r *Reader) Close() {
	r.b.mu.Lock()
	delete(r.b.readers, r)
	r.b.mu.Unlock()
	r.b.moved.Broadcast()
}
