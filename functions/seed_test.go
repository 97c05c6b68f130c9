package functions

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestCopiesDrawTheirOwnRandomNumbers: Go's math/rand and the order of its maps differ
// in each instance, also in one that was reset to the image.
func TestCopiesDrawTheirOwnRandomNumbers(t *testing.T) {
	for _, activation := range []Activation{PerRequest, Pooled} {
		m := load(t, "handler", HostConfig{}, ModuleOptions{Activation: activation})
		if !m.About().Seeded {
			t.Fatal("the seed of Go's runtime was not found")
		}
		numbers, orders := make(map[string]bool), make(map[string]bool)
		for range 50 {
			r, err := m.Handle(t.Context(), get("/mathrand"), nil)
			if err != nil {
				t.Fatal(err)
			}
			number, order, _ := strings.Cut(string(r.Body), " ")
			numbers[number], orders[order] = true, true
			if activation == Pooled { // another instance each time
				m.pool.mu.Lock()
				for _, in := range m.pool.idle {
					m.end(in)
				}
				m.pool.idle = nil
				m.pool.mu.Unlock()
			}
		}
		if len(numbers) != 50 || len(orders) < 40 {
			t.Errorf("%s: 50 requests drew %d numbers, in %d orders of a map", activation, len(numbers), len(orders))
		}
	}
}

// TestSeedIsFoundAfterKeyChanges: the generator has changed its key several times.
func TestSeedIsFoundAfterKeyChanges(t *testing.T) {
	s := &seedRecorder{seen: true, key: [seedBytes]byte{1, 2, 3}}
	first := chacha(s.key[:], 8)[4*8:] // the first four belong to the hash function
	for _, draws := range []int{0, 1, 123, 124, 125, 248, 249, 5000} {
		g := rand.NewChaCha8([seedBytes]byte(first))
		for range draws {
			g.Uint64()
		}
		text, err := g.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		memory := make([]byte, 4096)
		copy(memory[1024:], text[len(text)-seedBytes:])
		memory[1024+seedHave] = 32
		copy(memory[3000:], first) // a copy without a generator
		if got := s.goSeeds(memory); !slices.Equal(got, []uint32{1024}) {
			t.Errorf("after %d draws: found at %d", draws, got)
		}
	}
	if got := new(seedRecorder).goSeeds(make([]byte, 4096)); got != nil {
		t.Errorf("without a key: found at %d", got)
	}
}

// chacha returns the first numbers of a key's stream.
func chacha(key []byte, n int) (out []byte) {
	g := rand.NewChaCha8([seedBytes]byte(key))
	for range n {
		out = binary.LittleEndian.AppendUint64(out, g.Uint64())
	}
	return out
}
