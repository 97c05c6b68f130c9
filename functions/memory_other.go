//go:build !linux

package functions

import "github.com/tetratelabs/wazero/experimental"

// memories allocates the linear memories of instances, which start as an image. Here
// they are on Go's heap. On Linux their pages are shared.
type memories struct {
	reserve int
	image   []byte
}

func newMemories(reserve int, image *Image) (*memories, error) {
	p := &memories{reserve: reserve}
	if image != nil {
		p.image = make([]byte, int(image.Pages)*pageBytes)
		image.writeTo(p.image)
	}
	return p, nil
}

// Allocate implements experimental.MemoryAllocator.
func (p *memories) Allocate(_, _ uint64) experimental.LinearMemory {
	return &memory{reserve: p.reserve, all: append([]byte(nil), p.image...)}
}

// reset makes a memory equal to the image again.
func (p *memories) reset(used []byte) bool {
	clear(used[copy(used, p.image):])
	return true
}

func (*memories) close() {}

type memory struct {
	reserve int
	all     []byte
}

// Reallocate returns the first size bytes, or nil when size is above the limit.
func (m *memory) Reallocate(size uint64) []byte {
	if size > uint64(m.reserve) {
		return nil
	}
	if n := int(size) - len(m.all); n > 0 {
		m.all = append(m.all, make([]byte, n)...)
	}
	return m.all[:size]
}

// Free drops the memory.
func (m *memory) Free() { m.all = nil }
