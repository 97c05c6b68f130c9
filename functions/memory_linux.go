package functions

import (
	"os"
	"sync"
	"unsafe"

	"github.com/tetratelabs/wazero/experimental"
	"golang.org/x/sys/unix"
)

// memories hands out the linear memories of instances: address space that is
// reserved once and used again, so that a new instance costs no allocation and a
// memory never moves when it grows. With an image a memory begins as that image:
// its pages are shared by all until somebody writes to them. A memory that comes
// back loses what was written to it before the next instance sees it.
type memories struct {
	reserve int      // bytes of address space for each
	image   int      // size of the image in bytes; 0: none
	file    *os.File // a memfd that holds it
	small   []byte   // the image itself where it is small enough to be copied

	mu     sync.Mutex
	free   [][]byte
	closed bool
}

const (
	// maxFree is how many memories are kept for later.
	maxFree = 256
	// smallImage is up to which size of memory an image is copied: to write so
	// much costs less than to drop pages and to fault them in again.
	smallImage = 256 << 10
)

// newMemories returns memories that begin as an image; nil: empty.
func newMemories(reserve int, image *Image) (*memories, error) {
	p := &memories{reserve: reserve}
	if image == nil || image.Pages == 0 {
		return p, nil
	}
	p.image = int(image.Pages) * pageBytes
	if p.image <= smallImage {
		p.small = make([]byte, p.image)
		image.writeTo(p.small)
		return p, nil
	}
	file, err := unix.MemfdCreate("perto-image", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	p.file = os.NewFile(uintptr(file), "perto-image")
	if err := p.file.Truncate(int64(p.image)); err != nil {
		return nil, err
	}
	for _, r := range image.Runs {
		if _, err := p.file.WriteAt(r.Bytes, int64(r.First)*imagePage); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// Allocate implements experimental.MemoryAllocator.
func (p *memories) Allocate(_, _ uint64) experimental.LinearMemory {
	p.mu.Lock()
	n := len(p.free)
	if n > 0 {
		b := p.free[n-1]
		p.free = p.free[:n-1]
		p.mu.Unlock()
		return &memory{all: b, of: p}
	}
	p.mu.Unlock()
	b, err := unix.Mmap(-1, 0, p.reserve, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_NORESERVE)
	if err != nil {
		return &memory{of: p} // growing it fails, and with it the instance
	}
	if p.small != nil {
		copy(b, p.small)
	} else if p.image > 0 {
		// The standard binding cannot map at a given address: to be sure that nothing
		// else lies there is what the mapping above is for.
		_, _, errno := unix.Syscall6(unix.SYS_MMAP, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(p.image),
			unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_FIXED, p.file.Fd(), 0)
		if errno != 0 {
			unix.Munmap(b)
			return &memory{of: p}
		}
	}
	return &memory{all: b, of: p}
}

// reset makes a memory in use what it was at first; used is as much of it as was
// handed out.
func (p *memories) reset(used []byte) bool {
	if len(used) > 0 && len(used) > len(p.small) {
		if unix.Madvise(used[len(p.small):], unix.MADV_DONTNEED) != nil {
			return false
		}
	}
	copy(used, p.small)
	return true
}

// close gives the address space back that is not in use, and the rest when it is
// freed. The file goes when nobody holds the memories any more.
func (p *memories) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, b := range p.free {
		unix.Munmap(b)
	}
	p.free = nil
}

type memory struct {
	all  []byte
	used int // bytes that were handed out
	of   *memories
}

// Reallocate returns the first size bytes, or nil when there are not so many.
func (m *memory) Reallocate(size uint64) []byte {
	if size > uint64(len(m.all)) {
		return nil
	}
	m.used = int(size)
	return m.all[:size:len(m.all)]
}

// Free takes what was written from the memory and keeps it for the next instance.
func (m *memory) Free() {
	b := m.all
	m.all = nil
	if b == nil {
		return
	}
	p := m.of
	p.mu.Lock()
	room := len(p.free) < maxFree && !p.closed
	p.mu.Unlock()
	if !room || !p.reset(b[:m.used]) {
		unix.Munmap(b)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		unix.Munmap(b)
		return
	}
	p.free = append(p.free, b)
}
