package rewrite

import (
	"errors"
	"fmt"
)

// reader reads values of the binary format (WebAssembly Core 2.0, section 5.2). After
// the first mistake it returns zeros, and err has the mistake.
type reader struct {
	b   []byte
	at  int
	err error
}

var (
	errShort = errors.New("it ends early")
	errLong  = errors.New("a number is too long")
)

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = fmt.Errorf("at byte %d: %w", r.at, err)
	}
	r.at = len(r.b)
}

func (r *reader) more() bool { return r.at < len(r.b) }

func (r *reader) byte() byte {
	if r.at >= len(r.b) {
		r.fail(errShort)
		return 0
	}
	r.at++
	return r.b[r.at-1]
}

// take returns the next n bytes. They share the reader's memory.
func (r *reader) take(n uint32) []byte {
	if uint64(n) > uint64(len(r.b)-r.at) {
		r.fail(errShort)
		return nil
	}
	p := r.b[r.at : r.at+int(n)]
	r.at += int(n)
	return p
}

// u32 reads an unsigned LEB128 number of at most 32 bits.
func (r *reader) u32() uint32 {
	var v uint64
	for shift := 0; shift < 35; shift += 7 {
		c := r.byte()
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			if v > 1<<32-1 {
				r.fail(errLong)
				return 0
			}
			return uint32(v)
		}
	}
	r.fail(errLong)
	return 0
}

// signed reads a signed LEB128 number with a length of at most most bytes.
func (r *reader) signed(most int) int64 {
	var v int64
	for i := range most {
		c := r.byte()
		if i < 9 || most > 9 {
			v |= int64(c&0x7f) << (7 * i)
		}
		if c < 0x80 {
			if shift := 7 * (i + 1); shift < 64 && c&0x40 != 0 {
				v |= -1 << shift
			}
			return v
		}
	}
	r.fail(errLong)
	return 0
}

// count reads the length of a vector with elements of at least one byte each.
func (r *reader) count() uint32 {
	n := r.u32()
	if uint64(n) > uint64(len(r.b)-r.at) {
		r.fail(errShort)
		return 0
	}
	return n
}

func (r *reader) name() string { return string(r.take(r.u32())) }

// secondOpcode reads the opcode after a prefix. It accepts only the shortest form.
func (r *reader) secondOpcode() uint32 {
	at := r.at
	op := r.u32()
	if n := r.at - at; r.err == nil && (n > 2 || n == 2 && op < 0x80) {
		r.fail(errors.New("an opcode is not in its shortest form"))
	}
	return op
}

// memory reads the index of a memory. It accepts only the shortest form of 0.
func (r *reader) memory() {
	if r.byte() != 0 {
		r.fail(errors.New("only memory 0 exists"))
	}
}

// valueType reads a value type (5.3.4).
func (r *reader) valueType() byte {
	t := r.byte()
	if !isValue(t) {
		r.fail(fmt.Errorf("%#x is not a value type of WebAssembly 2.0", t))
	}
	return t
}

// refType reads a reference type (5.3.3).
func (r *reader) refType() {
	if t := r.byte(); !isReference(t) {
		r.fail(fmt.Errorf("%#x is not a reference type of WebAssembly 2.0", t))
	}
}

// blockType reads a block type: empty, a value type, or a type index (5.4.1).
func (r *reader) blockType() {
	if r.more() && (r.b[r.at] == blockEmpty || isValue(r.b[r.at])) {
		r.at++
		return
	}
	if r.signed(5) < 0 {
		r.fail(errors.New("not a block type of WebAssembly 2.0"))
	}
}

func isReference(t byte) bool { return t == typeFuncref || t == typeExternref }
func isValue(t byte) bool     { return t >= typeV128 && t <= typeI32 || isReference(t) }

// since returns the bytes that were read since position at.
func (r *reader) since(at int) []byte {
	if r.err != nil {
		return nil
	}
	return r.b[at:r.at]
}

func appendU32(b []byte, v uint32) []byte {
	for v >= 0x80 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}

func appendS32(b []byte, v int32) []byte {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

func appendName(b []byte, s string) []byte { return append(appendU32(b, uint32(len(s))), s...) }
