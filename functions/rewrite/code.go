package rewrite

import (
	"errors"
	"fmt"
)

// Opcodes that this package reads, writes, or that have operands (5.4).
const (
	opBlock          = 0x02
	opLoop           = 0x03
	opIf             = 0x04
	opEnd            = 0x0b
	opBr             = 0x0c
	opBrIf           = 0x0d
	opBrTable        = 0x0e
	opCall           = 0x10
	opCallIndirect   = 0x11
	opSelectTyped    = 0x1c
	opLocalGet       = 0x20
	opLocalTee       = 0x22
	opGlobalGet      = 0x23
	opGlobalSet      = 0x24
	opTableGet       = 0x25
	opTableSet       = 0x26
	opI32Load        = 0x28
	opI64Store32     = 0x3e
	opMemorySize     = 0x3f
	opMemoryGrow     = 0x40
	opI32Const       = 0x41
	opI64Const       = 0x42
	opF32Const       = 0x43
	opF64Const       = 0x44
	opI32Eqz         = 0x45
	opI32LeS         = 0x4c
	opI32Sub         = 0x6b
	opI32ShrU        = 0x76
	opI64Extend32S   = 0xc4
	opRefNull        = 0xd0
	opRefIsNull      = 0xd1
	opRefFunc        = 0xd2
	opBulk           = 0xfc
	opSIMD           = 0xfd
	blockEmpty       = 0x40
	bulkMemoryInit   = 8
	bulkDataDrop     = 9
	bulkMemoryCopy   = 10
	bulkMemoryFill   = 11
	bulkTableInit    = 12
	bulkElemDrop     = 13
	bulkTableCopy    = 14
	bulkTableGrow    = 15
	bulkTableSize    = 16
	bulkTableFill    = 17
	bytesPerUnit     = 64           // bytes of a function's code for which its entry takes one unit
	chargeImport     = Interval / 4 // units for a call of the host, which may take as long as many loops
	bulkBytesPerUnit = 10           // log2 of the bytes of a bulk operation that count as one loop
)

// maxLocals is the most locals that a function may have.
const maxLocals = 50_000

// code adds counting to every function (5.5.13).
func (w *rewriter) code(r *reader) []byte {
	if w.in[secCode] == nil {
		return nil
	}
	n := r.count()
	if int(n) != len(w.functions) {
		r.fail(fmt.Errorf("%d functions have a type, but %d have code", len(w.functions), n))
		return nil
	}
	out := appendU32(make([]byte, 0, len(r.b)+len(r.b)/4), n)
	for i := range n {
		body := r.take(r.u32())
		if r.err != nil {
			return nil
		}
		f := &function{rewriter: w, params: w.params[w.functions[i]]}
		b, err := f.rewrite(body)
		if err != nil {
			r.fail(fmt.Errorf("function %d: %w", w.imported+uint32(i), err))
			return nil
		}
		out = append(appendU32(out, uint32(len(b))), b...)
	}
	return out
}

// function is a function that is being rewritten.
type function struct {
	*rewriter
	params uint32
	left   uint32 // index of the local with the rest of the counter
	length uint32 // index of the local with the length of a bulk operation
	body   []byte
	calls  bool // it contains a call
	counts bool // it contains code that takes units
}

func (f *function) rewrite(body []byte) ([]byte, error) {
	r := &reader{b: body}
	groups := r.count()
	begin, locals := r.at, uint64(f.params)
	for range groups {
		locals += uint64(r.u32())
		r.valueType()
	}
	declared := r.since(begin)
	if locals > maxLocals {
		r.fail(fmt.Errorf("it has %d locals", locals))
	}
	if len(body) == 0 || body[len(body)-1] != opEnd || !r.more() {
		r.fail(errors.New("it has no end"))
	}
	f.left, f.length = uint32(locals), uint32(locals)+1
	f.body = make([]byte, 0, len(body)+len(body)/4)
	for r.more() {
		f.instruction(r)
	}
	if r.err != nil {
		return nil, r.err
	}
	units := int32(min(len(body)/bytesPerUnit, Interval))
	if !f.counts && !f.calls && units == 0 {
		return append(append(appendU32(nil, groups), declared...), f.body...), nil
	}
	out := append(appendU32(nil, groups+1), declared...)
	out = append(out, 2, typeI32)
	if f.calls || units > 0 {
		code := f.body
		f.body = out
		f.charge(1 + units)
		return append(f.body, code...), nil
	}
	return append(out, f.body...), nil
}

// charge emits code that takes units from the counter, and yields when none are left.
func (f *function) charge(units int32) {
	f.counts = true
	f.body = appendS32(append(appendU32(append(f.body, opGlobalGet), f.fuel), opI32Const), units)
	f.settle()
}

// chargeLength emits a charge for the length that is on the stack. The length stays on
// the stack.
func (f *function) chargeLength() {
	f.counts = true
	b := appendU32(append(f.body, opLocalTee), f.length)
	b = append(appendU32(append(b, opGlobalGet), f.fuel), opI32Const, 1, opI32Sub)
	b = append(appendU32(append(b, opLocalGet), f.length), opI32Const, bulkBytesPerUnit, opI32ShrU)
	f.body = b
	f.settle()
}

// settle emits the subtraction of the top of the stack from the counter below it, the
// store, and the call of yield.
func (f *function) settle() {
	b := appendU32(append(f.body, opI32Sub, opLocalTee), f.left)
	b = appendU32(append(b, opGlobalSet), f.fuel)
	b = appendU32(append(b, opLocalGet), f.left)
	b = append(b, opI32Const, 0, opI32LeS, opIf, blockEmpty)
	b = appendU32(append(appendS32(append(b, opI32Const), Interval), opGlobalSet), f.fuel)
	b = appendU32(append(b, opCall), f.imported) // yield is the last imported function
	f.body = append(b, opEnd)
}

// instruction copies one instruction, with the charges it needs. It must decode exactly
// as the runtime does, or a loop could be hidden in an operand. The runtime reads some
// numbers as single bytes and some types as two bytes. So instruction accepts only the
// shortest form of these numbers, and only the types of WebAssembly 2.0.
func (f *function) instruction(r *reader) {
	at := r.at
	op := r.byte()
	switch {
	case op == opLoop:
		r.blockType()
		f.body = append(f.body, r.since(at)...)
		f.charge(1)
		return
	case op == opBlock, op == opIf:
		r.blockType()
	case op == opCall:
		callee := r.u32()
		if f.calls = true; callee < f.imported {
			f.charge(chargeImport)
		}
		f.body = appendU32(append(f.body, op), f.moved(callee))
		return
	case op == opCallIndirect:
		f.calls = true
		r.u32()
		r.u32()
	case op == opRefFunc:
		f.body = appendU32(append(f.body, op), f.moved(r.u32()))
		return
	case op == opBr, op == opBrIf, op >= opLocalGet && op <= opTableGet:
		r.u32()
	case op == opTableSet:
		f.fixed("it changes its table (table.set)")
		r.u32()
	case op == opBrTable:
		for range r.count() {
			r.u32()
		}
		r.u32()
	case op == opSelectTyped:
		if r.byte() != 1 { // the only number that 2.0 allows
			r.fail(errors.New("select does not have exactly one type"))
		}
		r.valueType()
	case op >= opI32Load && op <= opI64Store32:
		memarg(r)
	case op == opMemorySize, op == opMemoryGrow:
		r.memory()
	case op == opRefNull:
		r.refType()
	case op == opI32Const:
		r.signed(5)
	case op == opI64Const:
		r.signed(10)
	case op == opF32Const:
		r.take(4)
	case op == opF64Const:
		r.take(8)
	case op == opBulk:
		f.bulk(r)
	case op == opSIMD:
		simd(r)
	case op == 0x00, op == 0x01, op == 0x05, op == opEnd, op == 0x0f, op == 0x1a, op == 0x1b, op >= opI32Eqz && op <= opI64Extend32S, op == opRefIsNull:
		// unreachable, nop, else, end, return, drop, select, numeric: no operands
	default:
		r.fail(fmt.Errorf("unknown instruction %#x", op))
	}
	f.body = append(f.body, r.since(at)...)
}

func memarg(r *reader) {
	r.u32() // alignment
	r.u32() // offset
}

// bulk reads the rest of a bulk or conversion instruction. When the work depends on an
// operand, it puts a charge before the instruction.
func (f *function) bulk(r *reader) {
	switch op := r.secondOpcode(); op {
	case 0, 1, 2, 3, 4, 5, 6, 7: // conversions that saturate
	case bulkMemoryInit:
		f.chargeLength()
		r.u32()
		r.memory()
	case bulkDataDrop:
		f.fixed("it drops a data segment (data.drop)")
		r.u32()
	case bulkMemoryCopy:
		f.chargeLength()
		r.memory()
		r.memory()
	case bulkMemoryFill:
		f.chargeLength()
		r.memory()
	case bulkTableInit, bulkTableCopy:
		f.chargeLength()
		f.fixed("it changes its table (table.init, table.copy)")
		r.u32()
		r.u32()
	case bulkElemDrop:
		f.fixed("it drops an element segment (elem.drop)")
		r.u32()
	case bulkTableGrow, bulkTableFill:
		f.chargeLength()
		f.fixed("it changes its table (table.grow, table.fill)")
		r.u32()
	case bulkTableSize:
		r.u32()
	default:
		r.fail(fmt.Errorf("unknown instruction 0xfc %d", op))
	}
}

// simd reads the rest of a vector instruction.
func simd(r *reader) {
	switch op := r.secondOpcode(); {
	case op <= 11, op == 92, op == 93: // loads and stores
		memarg(r)
	case op == 12, op == 13: // a constant, a shuffle
		r.take(16)
	case op >= 21 && op <= 34: // lanes
		r.byte()
	case op >= 84 && op <= 91: // loads and stores of lanes
		memarg(r)
		r.byte()
	case op > 255:
		r.fail(fmt.Errorf("unknown instruction 0xfd %d", op))
	}
}
