//go:build unix

package functions

import (
	"sync"

	"github.com/tetratelabs/wazero/experimental"
	"golang.org/x/sys/unix"
)

// memories hands out the linear memories of instances: address space that is
// reserved once and used again, so that a new instance costs no allocation and a
// memory never moves when it grows. A memory that comes back is emptied by the
// kernel before the next one sees it.
type memories struct {
	reserve int // bytes of address space for each

	mu   sync.Mutex
	free [][]byte
}

// maxFree is how many memories are kept for later.
const maxFree = 256

// Allocate implements experimental.MemoryAllocator. The reserve is what the runtime
// lets a memory grow to.
func (p *memories) Allocate(_, _ uint64) experimental.LinearMemory {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n > 0 {
		b := p.free[n-1]
		p.free = p.free[:n-1]
		return &memory{b, p}
	}
	b, err := unix.Mmap(-1, 0, p.reserve, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_NORESERVE)
	if err != nil {
		return &memory{nil, p} // growing it fails, and with it the instance
	}
	return &memory{b, p}
}

// close gives the address space back.
func (p *memories) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.free {
		unix.Munmap(b)
	}
	p.free = nil
}

type memory struct {
	all []byte
	of  *memories
}

// Reallocate returns the first size bytes, or nil when there are not so many.
func (m *memory) Reallocate(size uint64) []byte {
	if size > uint64(len(m.all)) {
		return nil
	}
	return m.all[:size:len(m.all)]
}

// Free empties the memory and keeps it for the next instance.
func (m *memory) Free() {
	b := m.all
	m.all = nil
	if b == nil {
		return
	}
	if unix.Madvise(b, unix.MADV_DONTNEED) != nil {
		unix.Munmap(b)
		return
	}
	m.of.mu.Lock()
	defer m.of.mu.Unlock()
	if len(m.of.free) < maxFree {
		m.of.free = append(m.of.free, b)
		return
	}
	unix.Munmap(b)
}
