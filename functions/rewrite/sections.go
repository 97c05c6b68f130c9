package rewrite

import (
	"errors"
	"fmt"
	"strconv"
)

// types adds the type of yield (5.5.4).
func (w *rewriter) types(r *reader) []byte {
	n := uint32(0)
	if w.in[secType] != nil {
		n = r.count()
	}
	begin := r.at
	for range n {
		if form := r.byte(); form != 0x60 {
			r.fail(fmt.Errorf("%#x is not a function type", form))
			return nil
		}
		p := r.count()
		for range p {
			r.valueType()
		}
		for range r.count() {
			r.valueType()
		}
		w.params = append(w.params, p)
	}
	w.yieldType = n
	out := append(appendU32(nil, n+1), r.since(begin)...)
	return append(out, 0x60, 0, 0)
}

// imports adds yield (5.5.5).
func (w *rewriter) imports(r *reader) []byte {
	n := uint32(0)
	if w.in[secImport] != nil {
		n = r.count()
	}
	begin := r.at
	for range n {
		module, name := r.name(), r.name()
		switch kind := r.byte(); kind {
		case kindFunction:
			if module == YieldModule && name == YieldName {
				r.fail(fmt.Errorf("only the host may import %s.%s", module, name))
			}
			r.u32()
			w.imported++
		case kindTable:
			r.refType()
			limits(r)
			w.fixed("its table is imported")
		case kindMemory:
			w.least, _ = limits(r)
			w.memories++
			w.fixed("its memory is imported")
		case kindGlobal:
			g := global{imported: true, kind: r.valueType()}
			if g.mutable = r.byte() == 1; g.mutable {
				w.fixed("it imports a mutable global")
			}
			w.globals = append(w.globals, g)
		default:
			r.fail(fmt.Errorf("the import %q has an unknown kind (%#x)", module+"."+name, kind))
		}
	}
	out := append(appendU32(nil, n+1), r.since(begin)...)
	out = appendName(appendName(out, YieldModule), YieldName)
	return appendU32(append(out, kindFunction), w.yieldType)
}

func limits(r *reader) (least uint32, shared bool) {
	flags := r.byte()
	if flags > 3 {
		r.fail(fmt.Errorf("unknown form of limits %d", flags))
	}
	least = r.u32()
	if flags&1 != 0 {
		r.u32()
	}
	return least, flags&2 != 0
}

func (w *rewriter) functionTypes(r *reader) []byte {
	if w.in[secFunction] == nil {
		return nil
	}
	for range r.count() {
		t := r.u32()
		if int(t) >= len(w.params) {
			r.fail(fmt.Errorf("a function has type %d, but there are only %d", t, len(w.params)))
			break
		}
		w.functions = append(w.functions, t)
	}
	return w.in[secFunction]
}

// maxTable is the most elements that a table may start with. Each takes memory in each
// instance.
const maxTable = 1 << 20

func (w *rewriter) tables(r *reader) []byte {
	if w.in[secTable] == nil {
		return nil
	}
	for range r.count() {
		r.refType()
		if least, _ := limits(r); least > maxTable {
			r.fail(fmt.Errorf("a table of %d elements is too large", least))
		}
	}
	return w.in[secTable]
}

func (w *rewriter) memory(r *reader) []byte {
	if w.in[secMemory] == nil {
		return nil
	}
	for range r.count() {
		least, shared := limits(r)
		if w.memories++; w.memories == 1 {
			w.least = least
		}
		if shared {
			w.fixed("its memory is shared by threads")
		}
	}
	if w.memories > 1 {
		w.fixed("it has %d memories", w.memories)
	}
	return w.in[secMemory]
}

// global adds the counter (5.5.9).
func (w *rewriter) global(r *reader) []byte {
	n := uint32(0)
	if w.in[secGlobal] != nil {
		n = r.count()
	}
	var body []byte
	for range n {
		g := global{kind: r.valueType()}
		mutable := r.byte()
		g.mutable = mutable == 1
		body = append(body, g.kind, mutable)
		var value *int64
		body, value = w.constant(r, body)
		if !g.mutable && g.kind == typeI32 {
			g.constant = value
		}
		w.globals = append(w.globals, g)
	}
	w.fuel = uint32(len(w.globals))
	out := append(appendU32(nil, n+1), body...)
	return append(appendS32(append(out, typeI32, 1, opI32Const), Interval), opEnd)
}

// constant copies a constant expression (3.3.10). It also returns the value when the
// expression is a single number.
func (w *rewriter) constant(r *reader, out []byte) ([]byte, *int64) {
	var value *int64
	begin, operations := len(out), 0
	for r.err == nil {
		at := r.at
		op := r.byte()
		switch op {
		case opEnd:
			if operations != 1 {
				value = nil
			}
			return append(out, op), value
		case opI32Const:
			v := r.signed(5)
			value = &v
		case opI64Const:
			r.signed(10)
		case opF32Const:
			r.take(4)
		case opF64Const:
			r.take(8)
		case opRefNull:
			r.refType()
		case opGlobalGet:
			if i := r.u32(); int(i) < len(w.globals) {
				value = w.globals[i].constant
			}
		case opRefFunc:
			out = appendU32(append(out, op), w.moved(r.u32()))
			operations++
			continue
		case opSIMD:
			if r.secondOpcode() != 12 { // v128.const
				r.fail(errors.New("a vector instruction is not constant"))
			}
			r.take(16)
		default:
			r.fail(fmt.Errorf("instruction %#x is not constant", op))
		}
		operations++
		out = append(out, r.since(at)...)
	}
	return out[:begin], nil
}

// starts removes the start function, which the host calls instead (5.5.11).
func (w *rewriter) starts(r *reader) []byte {
	if w.in[secStart] != nil {
		w.start = int64(r.u32())
		w.m.Start = prefix + "start"
	}
	return nil
}

// exports adds mutable globals and the start function (5.5.10).
func (w *rewriter) exports(r *reader) []byte {
	n := uint32(0)
	if w.in[secExport] != nil {
		n = r.count()
	}
	var body []byte
	for range n {
		name, kind, index := r.name(), r.byte(), r.u32()
		if len(name) >= len(prefix) && name[:len(prefix)] == prefix {
			r.fail(fmt.Errorf("it exports %q; names that begin with %q are reserved for the host", name, prefix))
			return nil
		}
		if kind == kindFunction {
			index = w.moved(index)
		}
		body = appendU32(append(appendName(body, name), kind), index)
	}
	for i, g := range w.globals {
		if !g.mutable || g.imported {
			continue
		}
		if g.kind < typeF64 || g.kind > typeI32 {
			w.fixed("global %d is mutable and is not a number of at most 64 bits", i)
			continue
		}
		name := prefix + "g" + strconv.Itoa(i)
		w.m.Globals = append(w.m.Globals, Global{Export: name, Type: g.kind})
		body = appendU32(append(appendName(body, name), kindGlobal), uint32(i))
		n++
	}
	if w.start >= 0 {
		body = appendU32(append(appendName(body, w.m.Start), kindFunction), w.moved(uint32(w.start)))
		n++
	}
	return append(appendU32(nil, n), body...)
}

// elements updates function indexes in element segments (5.5.12).
func (w *rewriter) elements(r *reader) []byte {
	if w.in[secElement] == nil {
		return nil
	}
	n := r.count()
	out := appendU32(nil, n)
	for range n {
		flags := r.u32()
		if flags > 7 {
			r.fail(fmt.Errorf("unknown form of element segment %d", flags))
			return nil
		}
		out = appendU32(out, flags)
		passive, explicit, expressions := flags&1 != 0, flags&2 != 0, flags&4 != 0
		if !passive {
			if explicit {
				out = appendU32(out, r.u32())
			}
			out, _ = w.constant(r, out)
		}
		if passive || explicit {
			kind := r.byte() // kind of elements (functions), or their type
			if expressions != (kind != 0) || expressions && !isReference(kind) {
				r.fail(fmt.Errorf("unknown kind of element segment %#x", kind))
			}
			out = append(out, kind)
		}
		items := r.count()
		out = appendU32(out, items)
		for range items {
			if r.err != nil {
				return nil
			}
			if expressions {
				out, _ = w.constant(r, out)
			} else {
				out = appendU32(out, w.moved(r.u32()))
			}
		}
	}
	return out
}

// data takes out the contents of active segments. Empty passive segments stay in their
// place, because code sees an active segment as empty after instantiation (5.5.14).
func (w *rewriter) data(r *reader) []byte {
	if w.in[secData] == nil {
		return nil
	}
	n := r.count()
	out := appendU32(nil, n)
	for i := range n {
		at := r.at
		flags := r.u32()
		if flags == 1 { // passive
			r.take(r.u32())
			out = append(out, r.since(at)...)
			continue
		}
		if flags == 2 && r.u32() != 0 || flags > 2 {
			r.fail(fmt.Errorf("data segment %d is not for memory 0", i))
			return nil
		}
		_, offset := w.constant(r, nil)
		bytes := r.take(r.u32())
		if r.err != nil {
			return nil
		}
		if offset == nil {
			r.fail(fmt.Errorf("the offset of data segment %d is unknown", i))
			return nil
		}
		where := uint32(*offset)
		if w.memories == 0 || uint64(where)+uint64(len(bytes)) > uint64(w.least)<<16 {
			r.fail(fmt.Errorf("data segment %d is outside of the memory", i))
			return nil
		}
		w.m.Data = append(w.m.Data, Segment{where, bytes})
		out = append(out, 1, 0)
	}
	return out
}
