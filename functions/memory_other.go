//go:build !unix

package functions

import "github.com/tetratelabs/wazero/experimental"

// memories makes each memory anew where there is no mmap.
type memories struct{ reserve int }

// Allocate implements experimental.MemoryAllocator.
func (p *memories) Allocate(capacity, _ uint64) experimental.LinearMemory {
	return &memory{make([]byte, 0, capacity), p.reserve}
}

func (p *memories) close() {}

type memory struct {
	all []byte
	max int
}

// Reallocate returns size bytes, or nil when there may not be so many.
func (m *memory) Reallocate(size uint64) []byte {
	if size > uint64(m.max) {
		return nil
	}
	if int(size) > len(m.all) {
		m.all = append(m.all, make([]byte, int(size)-len(m.all))...)
	}
	return m.all[:size]
}

// Free drops the memory.
func (m *memory) Free() { m.all = nil }
