package functions

import (
	"os"
	"sync"
	"unsafe"

	"github.com/tetratelabs/wazero/experimental"
	"golang.org/x/sys/unix"
)

// memories allocates the linear memories of instances. Address space is reserved once
// and reused: a new instance allocates nothing, and a memory that grows does not move.
// With an image, each memory starts as that image. Memories share its pages until they
// write to them (copy on write). A memory that is freed is reset before it is reused.
type memories struct {
	reserve int      // bytes of address space for each memory
	image   int      // size of the image in bytes; 0: none
	file    *os.File // a memfd with the image
	small   []byte   // the image, when it is small enough to be copied

	mu     sync.Mutex
	free   [][]byte
	closed bool
}

const (
	// maxFree is the most free memories that are kept.
	maxFree = 256
	// smallImage is the largest image that is copied. Up to this size, copying costs
	// less than dropping pages and faulting them in again.
	smallImage = 256 << 10
)

// newMemories returns memories that start as an image, or empty when image is nil.
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
		return &memory{of: p} // growing it fails, and so does making the instance
	}
	if p.small != nil {
		copy(b, p.small)
	} else if p.image > 0 {
		// unix.Mmap cannot map at a fixed address. The mapping above has reserved the
		// address range, so MAP_FIXED replaces nothing else.
		_, _, errno := unix.Syscall6(unix.SYS_MMAP, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(p.image),
			unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_FIXED, p.file.Fd(), 0)
		if errno != 0 {
			unix.Munmap(b)
			return &memory{of: p}
		}
	}
	return &memory{all: b, of: p}
}

// reset makes a memory equal to the image again. used is the part of it that the
// instance had.
func (p *memories) reset(used []byte) bool {
	if len(used) > 0 && len(used) > len(p.small) {
		if unix.Madvise(used[len(p.small):], unix.MADV_DONTNEED) != nil {
			return false
		}
	}
	copy(used, p.small)
	return true
}

// close unmaps the free memories. Memories in use are unmapped when they are freed. The
// garbage collector closes the image file when nothing refers to it.
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
	used int // size that the instance has
	of   *memories
}

// Reallocate returns the first size bytes, or nil when size is above the limit.
func (m *memory) Reallocate(size uint64) []byte {
	if size > uint64(len(m.all)) {
		return nil
	}
	m.used = int(size)
	return m.all[:size:len(m.all)]
}

// Free resets the memory and keeps it for the next instance.
func (m *memory) Free() {
	b := m.all
	m.all = nil
	if b == nil {
		return
	}
	p := m.of
	p.mu.Lock()
	keep := len(p.free) < maxFree && !p.closed
	p.mu.Unlock()
	if !keep || !p.reset(b[:m.used]) {
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
