// Package rewrite prepares WebAssembly modules for a host that must be able to end
// them at any time, and to take an image of their state from which copies go on.
//
// Compiled guest code is opaque to Go: while it loops, the garbage collector waits
// for it, and with every thread in such a loop not even a timer runs. So the guest
// counts loops and calls, and every now and then comes back to Go by calling an
// imported function, where it can be ended by a panic.
//
// An image is what memory and mutable globals hold. For that the globals are
// exported, and what a module does when it is instantiated (data segments, start
// function) is taken out, for the host to do once.
//
// Nothing here validates: whoever compiles the result does. Section numbers in
// comments are those of the WebAssembly Core Specification 2.0.
package rewrite

import (
	"errors"
	"fmt"
	"slices"
)

// Module is a rewritten module and what a host must know of it.
type Module struct {
	Wasm    []byte    // the module to compile
	Globals []Global  // its mutable globals, in order of their index: what an image holds beside memory
	Data    []Segment // what its active data segments write, in order; instantiating Wasm writes nothing
	Start   string    // the export under which its start function is called; "" when it has none
	Fixed   error     // nil: all its state is in memory and Globals. Else why an image cannot capture it
}

// Global is an exported mutable global.
type Global struct {
	Export string
	Type   byte // value type: 0x7f i32, 0x7e i64, 0x7d f32, 0x7c f64
}

// Segment is what an active data segment writes.
type Segment struct {
	Offset uint32
	Bytes  []byte
}

// The function that a rewritten module imports, of type [] -> [], and calls at the
// latest after Interval loops and calls.
const (
	YieldModule = "perto"
	YieldName   = "yield"
	Interval    = 1 << 14
)

// prefix begins the names of exports that are ours.
const prefix = "perto."

// Sections (5.5.2).
const (
	secCustom = iota
	secType
	secImport
	secFunction
	secTable
	secMemory
	secGlobal
	secExport
	secStart
	secElement
	secCode
	secData
	secDataCount
)

var sectionNames = [...]string{"custom", "type", "import", "function", "table", "memory", "global", "export", "start", "element", "code", "data", "data count"}

// sectionOrder is the order in which sections stand.
var sectionOrder = [...]byte{secType, secImport, secFunction, secTable, secMemory, secGlobal, secExport, secStart, secElement, secDataCount, secCode, secData}

// Kinds of imports and exports (5.5.5).
const (
	kindFunction = iota
	kindTable
	kindMemory
	kindGlobal
)

// Value types (5.3).
const (
	typeI32       = 0x7f
	typeF64       = 0x7c
	typeV128      = 0x7b
	typeFuncref   = 0x70
	typeExternref = 0x6f
)

// rewriter is a module on its way.
type rewriter struct {
	in  [len(sectionNames)][]byte // nil: the module has no such section
	out [len(sectionNames)][]byte
	m   Module

	params    []uint32 // number of parameters, by type
	yieldType uint32
	imported  uint32   // functions
	functions []uint32 // types of those defined
	memories  int
	least     uint32 // pages of the memory
	globals   []global
	fuel      uint32 // index of the counter
	start     int64  // function index; -1: none
}

type global struct {
	imported bool
	mutable  bool
	kind     byte
	constant *int64 // value of an i32 that is known
}

// Rewrite prepares a module. Errors say what of it is not understood, and where.
func Rewrite(wasm []byte) (*Module, error) {
	w := &rewriter{start: -1}
	if err := w.split(wasm); err != nil {
		return nil, err
	}
	for _, step := range []struct {
		section byte
		do      func(r *reader) []byte
	}{
		{secType, w.types}, {secImport, w.imports}, {secFunction, w.functionTypes}, {secTable, w.tables}, {secMemory, w.memory}, {secGlobal, w.global},
		{secStart, w.starts}, {secExport, w.exports}, {secElement, w.elements}, {secCode, w.code}, {secData, w.data},
	} {
		in := w.in[step.section]
		r := &reader{b: in}
		out := step.do(r)
		if r.err == nil && r.more() {
			r.fail(errors.New("there is more than it says"))
		}
		if r.err != nil {
			return nil, fmt.Errorf("its %s section cannot be read: %w", sectionNames[step.section], r.err)
		}
		w.out[step.section] = out
	}
	w.out[secDataCount] = w.in[secDataCount]
	out := append([]byte(nil), wasm[:8]...)
	for _, id := range sectionOrder {
		if b := w.out[id]; b != nil {
			out = append(appendU32(append(out, id), uint32(len(b))), b...)
		}
	}
	w.m.Wasm = out
	return &w.m, nil
}

// split finds the sections. Custom ones are left out: what they say of offsets would
// not be true any more.
func (w *rewriter) split(wasm []byte) error {
	if len(wasm) < 8 || string(wasm[:8]) != "\x00asm\x01\x00\x00\x00" {
		return errors.New("it is no WebAssembly module")
	}
	r := &reader{b: wasm, at: 8}
	last := -1
	for r.more() {
		id := r.byte()
		body := r.take(r.u32())
		if r.err != nil {
			return r.err
		}
		if id == secCustom {
			continue
		}
		place := slices.Index(sectionOrder[:], id)
		if place < 0 {
			return fmt.Errorf("it has a section %d, which this host does not know", id)
		}
		if place <= last {
			return fmt.Errorf("its %s section stands twice, or not where it should", sectionNames[id])
		}
		last = place
		w.in[id] = append(make([]byte, 0, len(body)), body...)
	}
	return nil
}

// fixed notes why no image can be taken; the first reason counts.
func (w *rewriter) fixed(format string, args ...any) {
	if w.m.Fixed == nil {
		w.m.Fixed = fmt.Errorf(format, args...)
	}
}

// moved returns the index of a function now: the imported yield has pushed in.
func (w *rewriter) moved(function uint32) uint32 {
	if function < w.imported {
		return function
	}
	return function + 1
}
