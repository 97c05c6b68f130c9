package rewrite

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// all.wasm is testdata/all.c, compiled by clang with the command in that file.
//
//go:embed testdata/all.wasm
var all []byte

// run instantiates a module with a host function yield, which may end it.
func run(t testing.TB, wasm []byte, yield func(), config wazero.RuntimeConfig) api.Module {
	t.Helper()
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, config)
	t.Cleanup(func() { r.Close(ctx) })
	_, err := r.NewHostModuleBuilder("env").NewFunctionBuilder().WithFunc(func(v uint32) uint32 { return v * 3 }).Export("host").Instantiate(ctx)
	if err == nil {
		_, err = r.NewHostModuleBuilder(YieldModule).NewFunctionBuilder().WithFunc(yield).Export(YieldName).Instantiate(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	m, err := r.Instantiate(ctx, wasm)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func rewrite(t testing.TB, wasm []byte) *Module {
	t.Helper()
	m, err := Rewrite(wasm)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// begin writes the data segments and calls the start function, as the host does.
func (m *Module) begin(t testing.TB, mod api.Module) {
	t.Helper()
	for _, d := range m.Data {
		if !mod.Memory().Write(d.Offset, d.Bytes) {
			t.Fatalf("no room for %d bytes at %d", len(d.Bytes), d.Offset)
		}
	}
}

func nothing() {}

// TestSameResults: a rewritten module has the same results and leaves the same memory.
func TestSameResults(t *testing.T) {
	m := rewrite(t, all)
	if m.Fixed != nil || m.Start != "" || len(m.Globals) != 1 || len(m.Data) == 0 {
		t.Fatalf("got %+v", m)
	}
	yields := 0
	was := run(t, all, nothing, wazero.NewRuntimeConfig())
	is := run(t, m.Wasm, func() { yields++ }, wazero.NewRuntimeConfig())
	if whole, _ := is.Memory().Read(0, is.Memory().Size()); bytes.Count(whole, []byte{0}) != len(whole) {
		t.Error("instantiating it wrote to its memory")
	}
	m.begin(t, is)
	rng := rand.New(rand.NewPCG(5, 6))
	for _, name := range []string{"xorshift", "fib", "mutual", "branches", "indirect", "bulk", "vectors", "numbers", "calls"} {
		for i := range 30 {
			n := []uint64{0, 1, 7, rng.Uint64() & 0xff, rng.Uint64(), 1<<63 - 1, 1 << 63}[i%7]
			switch name {
			case "fib":
				n %= 20
			case "xorshift":
				n %= 100_000
			}
			want, err := was.ExportedFunction(name).Call(t.Context(), n)
			if err != nil {
				t.Fatal(name, n, err)
			}
			got, err := is.ExportedFunction(name).Call(t.Context(), n)
			if err != nil || got[0] != want[0] {
				t.Fatalf("%s(%d) = %d, %v; it was %d", name, n, got, err, want[0])
			}
		}
	}
	a, _ := was.Memory().Read(0, was.Memory().Size())
	b, _ := is.Memory().Read(0, is.Memory().Size())
	if !bytes.Equal(a, b) {
		t.Error("the memories differ")
	}
	if yields == 0 {
		t.Error("it never came back")
	}
	if v := is.ExportedGlobal(m.Globals[0].Export); v == nil || v.Type() != api.ValueTypeI32 {
		t.Errorf("global %+v is not exported", m.Globals[0])
	}
}

// TestEndlessCodeYields: loops, recursion, calls without either, and bulk operations
// call yield.
func TestEndlessCodeYields(t *testing.T) {
	m := rewrite(t, all)
	var until time.Time
	is := run(t, m.Wasm, func() {
		if time.Now().After(until) {
			panic(fmt.Errorf("time is over"))
		}
	}, wazero.NewRuntimeConfig())
	m.begin(t, is)
	for name, n := range map[string]uint64{"forever": 0, "fib": 90, "levels": 1, "copyforever": 1, "xorshift": 1 << 62} {
		until = time.Now().Add(10 * time.Millisecond)
		_, err := is.ExportedFunction(name).Call(t.Context(), n)
		if err == nil || !strings.Contains(err.Error(), "time is over") {
			t.Errorf("%s: got %v", name, err)
		}
		if late := time.Since(until); late > 5*time.Second { // a slow machine; usually less than 1 ms
			t.Errorf("%s ended %v late", name, late)
		}
	}
}

// module builds a module from sections.
func module(sections ...[]byte) []byte {
	out := []byte("\x00asm\x01\x00\x00\x00")
	for _, s := range sections {
		out = append(append(out, s[0]), appendU32(nil, uint32(len(s)-1))...)
		out = append(out, s[1:]...)
	}
	return out
}

// Sections of small modules.
var (
	oneType     = []byte{secType, 1, 0x60, 0, 0}
	oneFunction = []byte{secFunction, 1, 0}
	onePage     = []byte{secMemory, 1, 0, 1}
	oneTable    = []byte{secTable, 1, 0x70, 0, 2}
)

func code(body ...byte) []byte {
	b := append([]byte{0}, append(body, opEnd)...)
	return append(append([]byte{secCode, 1}, appendU32(nil, uint32(len(b)))...), b...)
}

// TestModulesWithoutImage: such a module runs, and Fixed has the reason why there is no
// image.
func TestModulesWithoutImage(t *testing.T) {
	for want, wasm := range map[string][]byte{
		"":            module(oneType, oneFunction, onePage, code()),
		"table.set":   module(oneType, oneFunction, oneTable, code(opI32Const, 0, opRefNull, 0x70, opTableSet, 0)),
		"table.grow":  module(oneType, oneFunction, oneTable, code(opRefNull, 0x70, opI32Const, 1, opBulk, bulkTableGrow, 0, 0x1a)),
		"data.drop":   module(oneType, oneFunction, onePage, []byte{secDataCount, 1}, code(opBulk, bulkDataDrop, 0), []byte{secData, 1, 1, 1, 'x'}),
		"is mutable":  module(oneType, oneFunction, []byte{secGlobal, 1, 0x70, 1, opRefNull, 0x70, opEnd}, code()),
		"memory is i": module([]byte{secImport, 1, 1, 'e', 1, 'm', kindMemory, 0, 1}),
	} {
		m := rewrite(t, wasm)
		if (m.Fixed == nil) != (want == "") || m.Fixed != nil && !strings.Contains(m.Fixed.Error(), want) {
			t.Errorf("%q: got %v", want, m.Fixed)
		}
		r := wazero.NewRuntimeWithConfig(t.Context(), wazero.NewRuntimeConfigInterpreter())
		if _, err := r.CompileModule(t.Context(), m.Wasm); err != nil {
			t.Errorf("%q: %v", want, err)
		}
		r.Close(t.Context())
	}
}

// TestStartBecomesExport: a start function becomes an export. Tables, globals and
// exports still refer to the same functions.
func TestStartBecomesExport(t *testing.T) {
	// Function 0 counts in a global. It is the start function, an export, and in the table
	// twice: by a segment of functions and by one of expressions. Function 1 calls entry 1
	// of the table.
	body0 := []byte{0, opGlobalGet, 0, opI32Const, 1, 0x6a, opGlobalSet, 0, opEnd}
	body1 := []byte{0, opI32Const, 1, opCallIndirect, 0, 0, opEnd}
	wasm := module(oneType, []byte{secFunction, 2, 0, 0}, oneTable, []byte{secGlobal, 2, typeI32, 1, opI32Const, 0, opEnd, 0x70, 0, opRefFunc, 0, opEnd},
		append([]byte{secExport, 2}, append(append(appendName(nil, "n"), kindGlobal, 0), append(appendName(nil, "f"), kindFunction, 1)...)...),
		[]byte{secStart, 0},
		[]byte{secElement, 2, 0, opI32Const, 0, opEnd, 1, 0, 4, opI32Const, 1, opEnd, 1, opRefFunc, 0, opEnd},
		append(append([]byte{secCode, 2, byte(len(body0))}, body0...), append([]byte{byte(len(body1))}, body1...)...))
	m := rewrite(t, wasm)
	is := run(t, m.Wasm, nothing, wazero.NewRuntimeConfig())
	if got := is.ExportedGlobal("n").Get(); got != 0 || m.Start == "" {
		t.Fatalf("the start function ran: %d, %+v", got, m)
	}
	for i, name := range []string{m.Start, "f", "f"} {
		if _, err := is.ExportedFunction(name).Call(t.Context()); err != nil {
			t.Fatal(name, err)
		}
		if got := is.ExportedGlobal("n").Get(); got != uint64(i+1) {
			t.Errorf("after %s: %d", name, got)
		}
	}
}

// TestOperandsHideNoLoop: the runtime reads some numbers as one byte and some types as
// two. A rewriter that reads the following loop as an operand would not count it.
func TestOperandsHideNoLoop(t *testing.T) {
	loop := []byte{opLoop, blockEmpty, opBr, 0, opEnd}
	with := func(before ...byte) []byte { return append(before, loop...) }
	for name, body := range map[string][]byte{
		"a long vector opcode":    append(with(opSIMD, 0x8c, 0x00), make([]byte, 11)...),
		"a long opcode":           with(opBulk, 0x80, 0x00),
		"a long memory of size":   with(opMemorySize, 0x80, 0x00, 0x1a),
		"a long memory of fill":   with(opBulk, bulkMemoryFill, 0x80, 0x00),
		"a long memory of copy":   with(opBulk, bulkMemoryCopy, 0, 0x80, 0x00),
		"a long memory of init":   with(opBulk, bulkMemoryInit, 0, 0x80, 0x00),
		"a block of a reference":  append([]byte{opBlock, 0x63}, append(loop, opEnd)...),
		"the same, longer":        append([]byte{opBlock, 0xe3, 0x7f}, append(loop, opEnd)...),
		"a block of too many":     {opBlock, 0xff, 0xff, 0xff, 0xff, 0xff, opLoop, blockEmpty},
		"a typed null":            with(opRefNull),
		"select of a typed ref":   {opSelectTyped, 1, 0x63, opLoop, blockEmpty},
		"select of many types":    append([]byte{opSelectTyped, 3}, loop...),
		"select with a long one":  {opSelectTyped, 0x81, 0, typeI32},
		"a number without an end": {opI32Const, 0x80, 0x80, 0x80, 0x80, 0x80, opLoop, blockEmpty},
	} {
		if m, err := Rewrite(module(oneType, oneFunction, onePage, code(body...))); err == nil {
			t.Errorf("%s: accepted: %x", name, m.Wasm)
		}
	}
	for name, wasm := range map[string][]byte{
		"a local of a typed ref": module(oneType, oneFunction, []byte{secCode, 1, 5, 1, 1, 0x63, opLoop, opEnd}),
		"a parameter of one":     module([]byte{secType, 1, 0x60, 2, 0x63, 0x70, 0}),
		"a body without an end":  module(oneType, oneFunction, []byte{secCode, 1, 2, 0, 1}),
	} {
		if _, err := Rewrite(wasm); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestElementSegments: in all eight forms of segments, entries still refer to the same
// functions.
func TestElementSegments(t *testing.T) {
	segments := func(f byte) []byte { // of function f
		zero, function, null := []byte{opI32Const, 0, opEnd}, []byte{opRefFunc, f, opEnd}, []byte{opRefNull, typeFuncref, opEnd}
		return bytes.Join([][]byte{{secElement, 8}, {0}, zero, {1, f}, {1, 0, 1, f}, {2, 0}, zero, {0, 1, f}, {3, 0, 1, f},
			{4}, zero, {2}, function, null, {5, typeFuncref, 1}, function, {6, 0}, zero, {typeFuncref, 1}, null, {7, typeFuncref, 1}, function}, nil)
	}
	m := rewrite(t, module(oneType, oneFunction, oneTable, segments(0), code()))
	r := wazero.NewRuntimeWithConfig(t.Context(), wazero.NewRuntimeConfigInterpreter())
	defer r.Close(t.Context())
	if _, err := r.CompileModule(t.Context(), m.Wasm); err != nil {
		t.Error(err)
	}
	if moved := segments(1)[1:]; !bytes.Contains(m.Wasm, moved) {
		t.Errorf("in %x there is not %x", m.Wasm, moved)
	}
}

func TestRewriteRejects(t *testing.T) {
	for want, wasm := range map[string][]byte{
		"not a WebAssembly module": []byte("hello, world"),
		"section 99":               module([]byte{99}),
		"repeated":                 module(oneType, oneType),
		"out of order":             module(onePage, oneType),
		"ends early":               module([]byte{secType, 5, 0x60}),
		"number is too long":       module([]byte{secType, 0x80, 0x80, 0x80, 0x80, 0x80, 0}),
		"bytes than its content":   module([]byte{secMemory, 1, 0, 1, 7}),
		"names that begin with":    module(oneType, oneFunction, append(append([]byte{secExport, 1}, appendName(nil, "perto.x")...), kindFunction, 0), code()),
		"only the host may":        module(oneType, append(append(append([]byte{secImport, 1}, appendName(nil, "perto")...), appendName(nil, "yield")...), kindFunction, 0)),
		"outside of the memory":    module(onePage, []byte{secData, 1, 0, opI32Const, 0x7f, opEnd, 1, 'x'}),
		"segment 0 is unknown":     module([]byte{secImport, 1, 1, 'e', 1, 'g', kindGlobal, typeI32, 0}, onePage, []byte{secData, 1, 0, opGlobalGet, 0, opEnd, 1, 'x'}),
		"instruction 0xfe":         module(oneType, oneFunction, code(0xfe, 0)),
		"instruction 0xfc 99":      module(oneType, oneFunction, code(opBulk, 99)),
		"table of 16777216":        module([]byte{secTable, 1, 0x70, 0, 0x80, 0x80, 0x80, 8}),
		"at byte":                  module([]byte{secTable, 0xff, 0xff, 0xff, 0xff, 7}),
		"have code":                module(oneType, oneFunction, []byte{secCode, 0}),
	} {
		m, err := Rewrite(wasm)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, %v", want, m, err)
		}
	}
}

// check holds for any bytes: Rewrite does not panic, and a valid module stays valid.
// Rejected modules are not compiled, because the runtime allocates any announced size.
func check(t *testing.T, wasm []byte) {
	m, err := Rewrite(wasm)
	if err != nil {
		return
	}
	r := wazero.NewRuntimeWithConfig(context.Background(), wazero.NewRuntimeConfigInterpreter().WithMemoryLimitPages(16))
	defer r.Close(context.Background())
	if compiles(r, wasm) && !compiles(r, m.Wasm) {
		t.Fatal("a valid module became invalid")
	}
}

// compiles reports whether the runtime accepts a module. It panics at some invalid ones.
func compiles(r wazero.Runtime, wasm []byte) (ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	_, err := r.CompileModule(context.Background(), wasm)
	return err == nil
}

// TestChangedModules: sections are cut and bytes are changed at random.
func TestChangedModules(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for range 400 {
		wasm := bytes.Clone(all)
		for range 1 + rng.IntN(3) {
			wasm[8+rng.IntN(len(wasm)-8)] = byte(rng.Uint32())
		}
		check(t, wasm[:len(wasm)-rng.IntN(2)*rng.IntN(len(wasm)-8)])
	}
}

func FuzzRewrite(f *testing.F) {
	f.Add(all)
	f.Add(module(oneType, oneFunction, onePage, code(opLoop, blockEmpty, opBr, 0, opEnd)))
	f.Add(module(oneType, oneFunction, oneTable, []byte{secElement, 1, 4, opI32Const, 1, opEnd, 1, opRefFunc, 0, opEnd}, code(opI32Const, 0, opCallIndirect, 0, 0)))
	f.Add(module(onePage, []byte{secData, 2, 0, opI32Const, 4, opEnd, 1, 'x', 1, 1, 'y'}))
	f.Fuzz(check)
}

// BenchmarkLoop compares the cost of counting in a tight loop with the cost of the
// runtime's own way to end a loop.
func BenchmarkLoop(b *testing.B) {
	m := rewrite(b, all)
	for _, tt := range []struct {
		name   string
		wasm   []byte
		config wazero.RuntimeConfig
	}{
		{"original", all, wazero.NewRuntimeConfig()},
		{"rewritten", m.Wasm, wazero.NewRuntimeConfig()},
		{"closeOnContextDone", all, wazero.NewRuntimeConfig().WithCloseOnContextDone(true)},
	} {
		b.Run(tt.name, func(b *testing.B) {
			mod := run(b, tt.wasm, nothing, tt.config)
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			f := mod.ExportedFunction("xorshift")
			for b.Loop() {
				if _, err := f.Call(ctx, 1_000_000); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
