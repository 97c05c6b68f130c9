package cache

import (
	"os"
	"sync"
	"sync/atomic"
	"syscall"
)

// Large bodies that are hit often get a second form: a file in memory, from which
// the kernel sends pages to a socket without copying them (sendfile). At 100 KiB
// the copy is a third of what a hit costs. The bytes in chunks stay: they serve
// connections that are no sockets, and whoever comes when the file is gone.

const (
	// fileMinBytes is the smallest body that gets a file. At 16 KiB one gathered
	// write costs as much as two calls without the copy (measured).
	fileMinBytes = 32 << 10
	// fileShare is the part of the memory for files: a quarter.
	fileShare = 4
	// maxFiles bounds the descriptors: connections need some too.
	maxFiles = 2048
)

// File is a body's bytes in a file without name. It may be closed at any time:
// see [File.Use].
type File struct {
	file *os.File
	raw  syscall.RawConn
}

// Use calls f with the descriptor, which stays open meanwhile. It returns an
// error, and does not call f, when the file was closed.
func (m *File) Use(f func(fd uintptr)) error { return m.raw.Control(f) }

// filed is the file of a body and what decides about it.
type filed struct {
	mu     sync.Mutex
	file   atomic.Pointer[File]
	stored int  // objects in the index that have the body
	failed bool // it could not be made, and is not tried again
}

// File returns the file of the object's body; nil when it has none. The hit that
// finds the object hot enough makes it.
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

// retain counts an object that has come into the index with the body.
func (b *Body) retain() {
	b.filed.mu.Lock()
	defer b.filed.mu.Unlock()
	b.filed.stored++
}

// release counts one that has left. With the last one the file goes: its memory
// is not the collector's, and would not be free before it next runs.
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
