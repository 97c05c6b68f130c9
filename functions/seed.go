package functions

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
)

// Go's runtime draws its random seed at start, before the image of an instance is
// taken. Without a change, math/rand and the order of maps would be the same in all
// copies. So each copy gets a seed of its own, written to the runtime's memory.
//
// The address is found without symbols. The runtime asks the host for 32 random bytes,
// the key of a ChaCha8 stream. Four of the stream's first numbers are the key of the
// generator that programs use. The next four are the new key of the stream itself
// (runtime: randinit, alginit, mrandinit). Package math/rand/v2 has the same algorithm,
// so the keys can be computed here and searched in the guest's memory. The seed of a
// runtime that works in another way is not found and stays the same.

// seedBytes is the size of a ChaCha8 key.
const seedBytes = 32

// seedRecorder returns random bytes and records the first ChaCha8 key that was read.
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

// Layout of the generator's state in memory: 32 buffered numbers, the key, how many of
// the numbers are used (u32), and how many there are (u32).
const (
	seedAhead = 32 * 8
	seedUsed  = seedBytes
	seedHave  = seedBytes + 4
	seedState = seedBytes + 8

	// perKey is the count of numbers that the generator draws with one key.
	perKey = 4*32 - 4
	// maxSkipped is the most numbers of the first stream that the runtime may use before
	// the key. Four of them are the seeds of its hash function.
	maxSkipped = 8
	// maxKeys is the most successive keys that are searched. A program may draw many
	// numbers while it initialises itself.
	maxKeys = 200
)

// goSeeds returns the addresses of generator keys in a guest's memory.
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

// scatter gives a copy of the image new seeds, and drops the buffered numbers.
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
