// Package rewrite changes WebAssembly modules in two ways before package functions
// compiles them. The host can then end a module at any time, and can take an image of
// its state to copy instances from. Start with [Rewrite], a pure function.
//
// The first change is a counter. Compiled guest code is opaque to Go. While it loops,
// the garbage collector waits for it. When every thread is in such a loop, no timer
// runs. So the guest counts loops and calls. At least every [Interval] counts it calls
// an imported function of the host, which can end the guest with a panic.
//
// The second change is for images, which hold memory and mutable globals. The globals
// are exported. Data segments and the start function are taken out of the module, so
// that the host runs them once, before it takes the image.
//
// This package does not validate modules. The compiler validates the result. Section
// numbers in comments are those of the WebAssembly Core Specification 2.0.
package rewrite

import (
	"errors"
	"fmt"
	"slices"
)

// Module is a rewritten module, with the parts that the host has to run.
type Module struct {
	Wasm    []byte    // the module to compile
	Globals []Global  // its mutable globals, in order of their index
	Data    []Segment // its active data segments, in order; instantiating Wasm writes none of them
	Start   string    // the export with its start function; "" when there is none
	Fixed   error     // why an image cannot capture its state; nil when memory and Globals are all of it
}

// Global is an exported mutable global.
type Global struct {
	Export string
	Type   byte // value type: 0x7f i32, 0x7e i64, 0x7d f32, 0x7c f64
}

// Segment is an active data segment.
type Segment struct {
	Offset uint32
	Bytes  []byte
}

// YieldModule and YieldName name the import that Rewrite adds, of type [] -> []. The
// module calls it at least once every Interval loops and calls.
const (
	YieldModule = "perto"
	YieldName   = "yield"
	Interval    = 1 << 14
)

// prefix begins the names of the exports that Rewrite adds.
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

// sectionOrder is the order of sections in a module.
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

// rewriter is the state of one Rewrite.
type rewriter struct {
	in  [len(sectionNames)][]byte // nil: the module has no such section
	out [len(sectionNames)][]byte
	m   Module

	params    []uint32 // number of parameters, by type
	yieldType uint32
	imported  uint32   // number of imported functions
	functions []uint32 // types of the defined functions
	memories  int
	least     uint32 // least size of the memory, in pages
	globals   []global
	fuel      uint32 // index of the counter
	start     int64  // index of the start function; -1: none
}

type global struct {
	imported bool
	mutable  bool
	kind     byte
	constant *int64 // value, when it is a known i32
}

// Rewrite rewrites a module. Errors name the part that cannot be read.
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
			r.fail(errors.New("it has more bytes than its content"))
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

// split finds the sections. It drops custom sections, because their offsets would be
// wrong after the rewrite.
func (w *rewriter) split(wasm []byte) error {
	if len(wasm) < 8 || string(wasm[:8]) != "\x00asm\x01\x00\x00\x00" {
		return errors.New("it is not a WebAssembly module")
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
			return fmt.Errorf("it has an unknown section %d", id)
		}
		if place <= last {
			return fmt.Errorf("its %s section is repeated or out of order", sectionNames[id])
		}
		last = place
		w.in[id] = append(make([]byte, 0, len(body)), body...)
	}
	return nil
}

// fixed sets the reason why no image can be taken. The first reason stays.
func (w *rewriter) fixed(format string, args ...any) {
	if w.m.Fixed == nil {
		w.m.Fixed = fmt.Errorf(format, args...)
	}
}

// moved returns the new index of a function. The import of yield comes before all
// defined functions, so their indexes grow by one.
func (w *rewriter) moved(function uint32) uint32 {
	if function < w.imported {
		return function
	}
	return function + 1
}
