package functions

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"math/rand/v2"
	"reflect"
	"testing"
)

func imageKey() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)) }

func someImage() *Image {
	memory := make([]byte, 3*pageBytes)
	memory[1], memory[5*imagePage], memory[6*imagePage+17], memory[len(memory)-1] = 1, 2, 3, 4
	i := newImage(memory, []uint64{7, 1<<63 + 1})
	i.Module[0], i.ABI, i.Epoch = 9, HTTPHandler, 42
	return i
}

// TestImageRoundTrip: an encoded image is read back, and restores the memory.
func TestImageRoundTrip(t *testing.T) {
	want := someImage()
	if len(want.Runs) != 3 || want.Size() != 4*imagePage {
		t.Fatalf("%d runs of %d bytes", len(want.Runs), want.Size())
	}
	data := want.Append([]byte("before"), imageKey())[len("before"):]
	got, signer, err := ParseImage(data)
	if err != nil || !reflect.DeepEqual(got, want) || !signer.Equal(imageKey().Public()) {
		t.Fatalf("got %+v by %x, %v", got, signer, err)
	}
	memory := make([]byte, int(got.Pages)*pageBytes)
	got.writeTo(memory)
	if memory[1] != 1 || memory[5*imagePage] != 2 || memory[6*imagePage+17] != 3 || memory[len(memory)-1] != 4 || bytes.Count(memory, []byte{0}) != len(memory)-4 {
		t.Error("the memory differs")
	}
}

// TestParseImageRejects: images that were changed, cut or lengthened.
func TestParseImageRejects(t *testing.T) {
	data := someImage().Append(nil, imageKey())
	rng := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		bad := bytes.Clone(data)
		bad[rng.IntN(len(bad))] ^= 1 << rng.IntN(8)
		if _, _, err := ParseImage(bad); err == nil {
			t.Fatal("a changed image was accepted")
		}
	}
	for n := range data[:200] {
		if _, _, err := ParseImage(data[:n]); err == nil {
			t.Fatalf("%d bytes of it were accepted", n)
		}
	}
	if _, _, err := ParseImage(append(bytes.Clone(data), 0)); !errors.Is(err, errImageSignature) {
		t.Errorf("with a byte more: %v", err)
	}
	// A valid signature, but runs out of order.
	i := someImage()
	i.Runs[0], i.Runs[1] = i.Runs[1], i.Runs[0]
	if _, _, err := ParseImage(i.Append(nil, imageKey())); err == nil {
		t.Error("runs out of order were accepted")
	}
	i = someImage()
	i.Pages = 2
	if _, _, err := ParseImage(i.Append(nil, imageKey())); err == nil {
		t.Error("a run beyond the memory was accepted")
	}
}

// FuzzParseImage: with a valid signature, any bytes are rejected, or are read and
// encoded again to the same bytes.
func FuzzParseImage(f *testing.F) {
	tail := ed25519.PublicKeySize + ed25519.SignatureSize
	whole := someImage().Append(nil, imageKey())
	f.Add(whole[:len(whole)-tail])
	empty := (&Image{}).Append(nil, imageKey())
	f.Add(empty[:len(empty)-tail])
	f.Fuzz(func(t *testing.T, body []byte) {
		data := append(bytes.Clone(body), imageKey().Public().(ed25519.PublicKey)...)
		data = append(data, ed25519.Sign(imageKey(), append([]byte(imageContext), data...))...)
		i, _, err := ParseImage(data)
		if err != nil {
			return
		}
		if again := i.Append(nil, imageKey()); !bytes.Equal(again, data) {
			t.Errorf("read and written again it is another image")
		}
	})
}
