package functions

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Image is the state of an instance between two calls: its memory and its mutable
// globals. New instances are copies of an image that was taken after initialisation.
// docs/formats/image.md describes the format.
type Image struct {
	Module  [sha256.Size]byte // digest of the module that it belongs to
	ABI     ABI
	Epoch   uint64   // of two images of one module, the one with the lower epoch is stale and must not be resumed
	Pages   uint32   // size of the memory, in pages of 64 KiB
	Globals []uint64 // the module's mutable globals, in order of their index
	Runs    []Run    // the parts of memory that are not zero, in order
}

// Run is a part of memory in whole pages of imagePage bytes.
type Run struct {
	First uint32 // its first page
	Bytes []byte
}

const (
	imagePage  = 4096
	imageMagic = "PERTOIMG"
	// imageContext is signed together with an image, so that the signature cannot be used
	// for other data.
	imageContext = "perto image 1\n"
)

// newImage takes an image of memory and globals. It copies the memory.
func newImage(memory []byte, globals []uint64) *Image {
	i := &Image{Pages: uint32(len(memory) / pageBytes), Globals: globals}
	zero := make([]byte, imagePage)
	for at := 0; at < len(memory); {
		start := at
		for at < len(memory) && !bytes.Equal(memory[at:at+imagePage], zero) {
			at += imagePage
		}
		if at > start {
			i.Runs = append(i.Runs, Run{uint32(start / imagePage), bytes.Clone(memory[start:at])})
			continue
		}
		at += imagePage
	}
	return i
}

// Size returns the number of memory bytes in the image.
func (i *Image) Size() int {
	n := 0
	for _, r := range i.Runs {
		n += len(r.Bytes)
	}
	return n
}

// writeTo writes the runs to a memory that is zero elsewhere.
func (i *Image) writeTo(memory []byte) {
	for _, r := range i.Runs {
		copy(memory[int(r.First)*imagePage:], r.Bytes)
	}
}

// Append appends the encoded image, signed with an ed25519 key.
func (i *Image) Append(dst []byte, key crypto.Signer) []byte {
	base := len(dst)
	dst = append(append(dst, imageMagic...), 1)
	dst = append(dst, i.Module[:]...)
	dst = append(append(dst, byte(len(i.ABI))), i.ABI...)
	dst = binary.BigEndian.AppendUint64(dst, i.Epoch)
	dst = binary.BigEndian.AppendUint32(dst, i.Pages)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(i.Globals)))
	for _, g := range i.Globals {
		dst = binary.BigEndian.AppendUint64(dst, g)
	}
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(i.Runs)))
	for _, r := range i.Runs {
		dst = binary.BigEndian.AppendUint32(dst, r.First)
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(r.Bytes)/imagePage))
		dst = append(dst, r.Bytes...)
	}
	dst = append(dst, key.Public().(ed25519.PublicKey)...)
	signature, err := key.Sign(nil, append([]byte(imageContext), dst[base:]...), crypto.Hash(0))
	if err != nil {
		panic(err) // signing with ed25519 does not fail
	}
	return append(dst, signature...)
}

// IsImage reports whether data begins like an image.
func IsImage(data []byte) bool { return bytes.HasPrefix(data, []byte(imageMagic)) }

// Errors of damaged images.
var (
	errImageShort     = errors.New("image: it ends early")
	errImageSignature = errors.New("image: its signature is invalid")
)

// ParseImage reads an image and returns it with the key that signed it. The caller
// decides whether that key is trusted. The image keeps references into data.
func ParseImage(data []byte) (*Image, ed25519.PublicKey, error) {
	tail := ed25519.PublicKeySize + ed25519.SignatureSize
	if len(data) < len(imageMagic)+1+tail || string(data[:len(imageMagic)]) != imageMagic {
		return nil, nil, errors.New("image: not an image")
	}
	if v := data[len(imageMagic)]; v != 1 {
		return nil, nil, fmt.Errorf("image: its format is %d; this version reads 1", v)
	}
	signed, signature := data[:len(data)-ed25519.SignatureSize], data[len(data)-ed25519.SignatureSize:]
	signer := ed25519.PublicKey(signed[len(signed)-ed25519.PublicKeySize:])
	if !ed25519.Verify(signer, append([]byte(imageContext), signed...), signature) {
		return nil, nil, errImageSignature
	}
	r := imageReader{data: signed[len(imageMagic)+1 : len(signed)-ed25519.PublicKeySize]}
	i := new(Image)
	copy(i.Module[:], r.take(sha256.Size))
	i.ABI = ABI(r.take(int(r.uint(1))))
	i.Epoch, i.Pages = r.uint(8), uint32(r.uint(4))
	for range r.count(8) {
		i.Globals = append(i.Globals, r.uint(8))
	}
	end := uint64(0) // of the previous run, in pages
	for range r.count(8) {
		run := Run{First: uint32(r.uint(4))}
		n := r.uint(4)
		if uint64(run.First) < end || n == 0 || uint64(run.First)+n > uint64(i.Pages)*(pageBytes/imagePage) {
			return nil, nil, errors.New("image: its runs are out of order or outside of its memory")
		}
		end = uint64(run.First) + n
		run.Bytes = r.take(int(min(n*imagePage, math.MaxInt32)))
		i.Runs = append(i.Runs, run)
	}
	switch {
	case r.short:
		return nil, nil, errImageShort
	case len(r.data) > 0:
		return nil, nil, errors.New("image: it has bytes after its end")
	}
	return i, signer, nil
}

// imageReader reads bytes from the front. At the end it sets short and returns zeros.
type imageReader struct {
	data  []byte
	short bool
}

func (r *imageReader) take(n int) []byte {
	if n > len(r.data) {
		r.short, r.data = true, nil
		return nil
	}
	b := r.data[:n]
	r.data = r.data[n:]
	return b
}

func (r *imageReader) uint(n int) uint64 {
	v := uint64(0)
	for _, b := range r.take(n) {
		v = v<<8 | uint64(b)
	}
	return v
}

// count reads a number of elements, each of at least size bytes.
func (r *imageReader) count(size int) int {
	n := r.uint(4)
	if n > uint64(len(r.data)/size) {
		r.short, r.data = true, nil
		return 0
	}
	return int(n)
}
