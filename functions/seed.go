package functions

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
)

// Go's runtime draws its random seed when it begins, which is before the image of an
// instance is taken: math/rand and the order of maps would be the same in all copies.
// So each copy gets a seed of its own, written to where the runtime keeps it.
//
// The place is found without symbols. The runtime asks for 32 random bytes, which are
// the key of a ChaCha8 stream; four of its first numbers are the key of the generator
// that programs draw from, and the next four are the new key of the stream itself
// (runtime: randinit, alginit, mrandinit). Package math/rand/v2 has the same algorithm,
// so that the keys are known here and can be looked for in the guest's memory. A runtime
// that works in another way is not found, and stays as it is.

// seedBytes is the size of a ChaCha8 key.
const seedBytes = 32

// seedRecorder gives random bytes and remembers the first key that was asked for.
type seedRecorder struct {
	randomSource
	key  [seedBytes]byte
	seen bool
}

func (s *seedRecorder) Read(p []byte) (int, error) {
	n, err := s.randomSource.Read(p)
	if len(p) == seedBytes && !s.seen {
		s.seen = copy(s.key[:], p) == seedBytes
	}
	return n, err
}

// The generator's state in memory is 32 numbers that wait, the key, how many of the
// numbers are used (u32), and how many there are (u32).
const (
	seedAhead = 32 * 8
	seedUsed  = seedBytes
	seedHave  = seedBytes + 4
	seedState = seedBytes + 8

	// perKey is how many numbers the generator draws before it changes its key.
	perKey = 4*32 - 4
	// maxSkipped is how many numbers of the first stream the runtime may use for
	// something else: four are the seeds of its hash function.
	maxSkipped = 8
	// maxKeys is how many keys are looked for: a program may draw a lot while it
	// initialises itself.
	maxKeys = 200
)

// goSeeds returns where in a guest's memory Go's runtime keeps keys of generators.
func (s *seedRecorder) goSeeds(memory []byte) (found []uint32) {
	if !s.seen {
		return nil
	}
	var numbers []byte // the beginning of the first stream
	first := rand.NewChaCha8(s.key)
	for range maxSkipped + 4 {
		numbers = binary.LittleEndian.AppendUint64(numbers, first.Uint64())
	}
	keys := make(map[uint64][seedBytes]byte, maxKeys*(maxSkipped+1)) // by their first word
	for skipped := range maxSkipped + 1 {
		key := [seedBytes]byte(numbers[8*skipped:])
		stream, draws := rand.NewChaCha8(key), perKey+1
		for range maxKeys {
			keys[binary.LittleEndian.Uint64(key[:])] = key
			for range draws {
				stream.Uint64()
			}
			text, err := stream.MarshalBinary()
			if err != nil {
				return nil
			}
			key, draws = [seedBytes]byte(text[len(text)-seedBytes:]), perKey
		}
	}
	for at := seedAhead; at+seedState <= len(memory); at += 8 {
		k, ok := keys[binary.LittleEndian.Uint64(memory[at:])]
		if !ok || !bytes.Equal(memory[at:at+seedBytes], k[:]) {
			continue
		}
		used, have := binary.LittleEndian.Uint32(memory[at+seedUsed:]), binary.LittleEndian.Uint32(memory[at+seedHave:])
		if 0 < have && have <= 32 && used <= have { // else it is a copy of a key without a generator
			found = append(found, uint32(at))
		}
	}
	return found
}

// scatter gives a copy of the image seeds of its own, and none of the numbers that
// waited.
func (m *Module) scatter(in *instance) {
	for _, at := range m.goSeeds {
		var key [seedBytes]byte
		for i := range 4 {
			binary.LittleEndian.PutUint64(key[8*i:], rand.Uint64())
		}
		have, _ := in.memory.ReadUint32Le(at + seedHave)
		in.memory.Write(at, key[:])
		in.memory.WriteUint32Le(at+seedUsed, have)
	}
}
