package cache

import (
	"os"
	"sync"
	"sync/atomic"
	"syscall"
)

// Large bodies that are hit often get a second form: a file in memory. The kernel
// sends its pages to a socket without copying them (sendfile). At 100 KiB the copy is
// a third of the cost of a hit. The chunks stay too: they serve connections that are
// not sockets, and requests that come after the file was closed.

const (
	// fileMinBytes is the smallest body that gets a file, in bytes. At 16 KiB one
	// gathered write costs as much as two calls without the copy (measured).
	fileMinBytes = 32 << 10
	// fileShare is the part of the memory for files: a quarter.
	fileShare = 4
	// maxFiles bounds the file descriptors, because connections need some too.
	maxFiles = 2048
)

// File has the bytes of a body in a file without a name. The cache may close it at
// any time: see [File.Use].
type File struct {
	file *os.File
	raw  syscall.RawConn
}

// Use calls f with the descriptor, which stays open during the call. When the file
// was closed, Use returns an error and does not call f.
func (m *File) Use(f func(fd uintptr)) error { return m.raw.Control(f) }

// filed is the file of a body and the state that decides whether it exists.
type filed struct {
	mu     sync.Mutex
	file   atomic.Pointer[File]
	stored int  // objects in the index that have the body
	failed bool // the file could not be made; there is no second attempt
}

// File returns the file of the object's body, or nil when it has none. The first hit
// on an object with enough hits makes the file.
func (o *Object) File() *File {
	b := o.Body
	if m := b.filed.file.Load(); m != nil || b.size < fileMinBytes || o.freq.Load() < maxFreq {
		return m
	}
	if c := b.cache; c.files.Load() >= maxFiles || c.fileBytes.Load()+b.size > c.maxBytes.Load()/fileShare {
		return nil
	}
	return b.makeFile()
}

func (b *Body) makeFile() *File {
	f, c := &b.filed, b.cache
	f.mu.Lock()
	m := f.file.Load()
	if m != nil || f.stored == 0 || f.failed {
		f.mu.Unlock()
		return m
	}
	m, err := newFile(b.chunks)
	if err != nil {
		f.failed = true
		f.mu.Unlock()
		return nil
	}
	f.file.Store(m)
	c.files.Add(1)
	c.fileBytes.Add(b.size)
	f.mu.Unlock()
	c.mu.Lock()
	c.evict()
	c.mu.Unlock()
	return m
}

func newFile(chunks [][]byte) (*File, error) {
	file, err := memoryFile()
	if err != nil {
		return nil, err
	}
	for _, p := range chunks {
		if _, err := file.Write(p); err != nil {
			file.Close()
			return nil, err
		}
	}
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, err
	}
	return &File{file, raw}, nil
}

// retain counts an object with the body that entered the index.
func (b *Body) retain() {
	b.filed.mu.Lock()
	defer b.filed.mu.Unlock()
	b.filed.stored++
}

// release counts an object with the body that left the index. After the last one it
// closes the file, because the garbage collector does not count the file's memory
// and would free it only at its next run.
func (b *Body) release() {
	f := &b.filed
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stored--
	if m := f.file.Load(); m != nil && f.stored == 0 {
		f.file.Store(nil)
		m.file.Close()
		b.cache.files.Add(-1)
		b.cache.fileBytes.Add(-b.size)
	}
}
