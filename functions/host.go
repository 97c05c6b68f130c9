package functions

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"perto"
	"perto/functions/rewrite"
	"perto/internal/printable"
)

// HostConfig is what a Host is made of.
type HostConfig struct {
	Limits Limits       // of modules that have none of their own
	Logger *slog.Logger // what modules log; nil: nobody hears it
	Cache  *Cache       // keeps compiled modules; nil: each is compiled anew
	Self   Self         // what edge_info tells
	Locate Locate       // where clients are; nil: nobody knows
}

// Host runs modules. It is safe for concurrent use; modules that it loaded must
// not be used after Close.
type Host struct {
	limits  Limits
	log     *slog.Logger
	self    []byte // JSON
	locate  Locate
	runtime wazero.Runtime

	mu     sync.Mutex
	loaded []*Module // whose memories are to be given back
}

// NewHost returns a Host without modules.
func NewHost(ctx context.Context, cfg HostConfig) (*Host, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	self, err := json.Marshal(cfg.Self)
	if err != nil {
		return nil, err
	}
	h := &Host{limits: cfg.Limits.over(defaultLimits), log: cfg.Logger, self: self, locate: cfg.Locate}
	rc := wazero.NewRuntimeConfig().WithMemoryLimitPages(maxMemory / pageBytes)
	if cfg.Cache != nil {
		rc = rc.WithCompilationCache(cfg.Cache.compiled)
	}
	h.runtime = wazero.NewRuntimeWithConfig(ctx, rc)
	_, err = wasi_snapshot_preview1.Instantiate(ctx, h.runtime)
	if err == nil {
		err = export(ctx, h.runtime, httpHandlerModule, httpHandlerFunctions())
	}
	if err == nil {
		err = export(ctx, h.runtime, ownModule, ownFunctions())
	}
	if err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

// maxMemory is the most that any instance may have, in bytes.
const maxMemory = 1 << 30

// Close ends all instances and gives their memory back.
func (h *Host) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range h.loaded {
		m.memories.close()
	}
	return h.runtime.Close(context.Background())
}

// Cache keeps compiled modules for the Hosts that share it, so that each is compiled
// once.
type Cache struct{ compiled wazero.CompilationCache }

// NewCache returns a cache that keeps modules in a folder too, for the next start;
// "": in memory only.
func NewCache(dir string) (*Cache, error) {
	if dir == "" {
		return &Cache{wazero.NewCompilationCache()}, nil
	}
	c, err := wazero.NewCompilationCacheWithDir(dir)
	if err != nil {
		return nil, &perto.Error{Op: "keep compiled modules in", Path: dir, Kind: perto.KindUnavailable, Err: err}
	}
	return &Cache{c}, nil
}

// Close gives back what is in memory. The Hosts are closed before.
func (c *Cache) Close() error { return c.compiled.Close(context.Background()) }

// ABI is how a module is spoken with.
type ABI string

// The ways that are understood.
const (
	HTTPHandler ABI = "http-wasm" // http-wasm http_handler
	WAGI        ABI = "wagi"      // a WASI command that prints
)

// Module is code that can answer requests.
type Module struct {
	Name   string
	Digest string // SHA-256 of the module, in hexadecimal
	ABI    ABI

	host     *Host
	limits   Limits
	code     *rewrite.Module
	compiled wazero.CompiledModule
	bytes    int
	config   []byte
	kv       map[string]string
	stats    *Stats
	logs     *Logs
	pool     pool
	credit   credit

	image         *Image // of an instance after its initialisation; nil when none can be taken
	imageFeatures uint32 // what it had asked for then
	memories      *memories
	reseeds       bool     // it exports perto_reseed
	goSeeds       []uint32 // where Go's runtime keeps its seeds; none: it is no Go program
}

// ModuleOptions say how a module is run.
type ModuleOptions struct {
	Activation Activation
	Config     []byte            // what an http-wasm module's get_config returns
	KV         map[string]string // what kv_get finds
	Limits     Limits            // zeros take the Host's
	Stats      *Stats            // counts; nil: nobody counts
	Logs       *Logs             // keeps what it logs; nil: nobody does
}

// wasmCore and wasmComponent are how files of the two kinds begin.
var (
	wasmCore      = []byte("\x00asm\x01\x00\x00\x00")
	wasmComponent = []byte("\x00asm\x0d\x00\x01\x00")
)

// Load checks and compiles a module, and takes an image of its first instance. Errors
// are of KindInvalid and say what the module lacks, or where it fails.
func (h *Host) Load(ctx context.Context, name string, wasm []byte, o ModuleOptions) (*Module, error) {
	fail := func(err error, hint string) (*Module, error) {
		return nil, &perto.Error{Op: "load module", Path: name, Kind: perto.KindInvalid, Err: err, Hint: hint}
	}
	digest := sha256.Sum256(wasm)
	m := &Module{Name: name, Digest: hex.EncodeToString(digest[:]), host: h, limits: o.Limits.over(h.limits), bytes: len(wasm),
		config: o.Config, kv: o.KV, stats: o.Stats, logs: o.Logs}
	if m.stats == nil {
		m.stats = new(Stats)
	}
	switch {
	case len(wasm) > m.limits.Module:
		return fail(fmt.Errorf("it has %d bytes; the limit is %d", len(wasm), m.limits.Module), "")
	case m.limits.Memory > maxMemory:
		return fail(fmt.Errorf("its limit of memory is %d MiB; the most is %d", m.limits.Memory>>20, maxMemory>>20), "")
	case bytes.HasPrefix(wasm, wasmComponent):
		return fail(errors.New("it is a component (WASI preview 2); this host runs core modules"), "build it for wasm32-wasip1, or as a freestanding module with the http-wasm ABI")
	case !bytes.HasPrefix(wasm, wasmCore):
		return fail(errors.New("it is no WebAssembly module"), "")
	}
	var err error
	if m.code, err = rewrite.Rewrite(wasm); err != nil {
		return fail(err, "")
	}
	if m.compiled, err = h.compile(ctx, m.code.Wasm); err != nil {
		return fail(err, "")
	}
	if err = h.checkImports(m.compiled); err != nil {
		m.compiled.Close(ctx)
		return fail(err, "")
	}
	for _, memory := range m.compiled.ExportedMemories() {
		if need := uint64(memory.Min()) * pageBytes; need > m.limits.Memory {
			m.compiled.Close(ctx)
			return fail(fmt.Errorf("it begins with %d KiB of memory; its limit is %d", need>>10, m.limits.Memory>>10), "give it more: the key memory, or --memory")
		}
	}
	if m.ABI, err = abiOf(m.compiled); err != nil {
		m.compiled.Close(ctx)
		return fail(err, "it takes handle_request and handle_response (http-wasm), or _start (a WASI command)")
	}
	if m.ABI == WAGI {
		o.Activation = PerRequest // a command runs once
	}
	m.pool = newPool(o.Activation, m.limits.Instances)
	_, m.reseeds = m.compiled.ExportedFunctions()[reseedName]
	if err := m.begun(ctx, digest); err != nil {
		m.compiled.Close(ctx)
		return fail(err, "it fails before its first request")
	}
	m.code.Wasm = nil // it is compiled
	h.mu.Lock()
	h.loaded = append(h.loaded, m)
	h.mu.Unlock()
	return m, nil
}

// compile is the runtime's. That panics at some modules that are none: whoever pushes
// one must not end the process.
func (h *Host) compile(ctx context.Context, wasm []byte) (c wazero.CompiledModule, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the compiler cannot read it: %v", p)
		}
	}()
	return h.runtime.CompileModule(ctx, wasm)
}

// forget leaves a module to itself.
func (h *Host) forget(m *Module) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.loaded = slices.DeleteFunc(h.loaded, func(l *Module) bool { return l == m })
}

// begun lets the module's first instance begin and takes an image of it, where one
// can be taken.
func (m *Module) begun(ctx context.Context, digest [sha256.Size]byte) (err error) {
	if m.memories, err = newMemories(int(m.limits.Memory), nil); err != nil {
		return err
	}
	wall := max(m.limits.Wall, m.limits.Begin)
	c := &call{ctx: ctx, module: m, instance: new(instance), next: nothing, wall: wall, deadline: time.Now().Add(wall)}
	c.instance.printsTo(c)
	seeds := new(seedRecorder)
	cfg := m.moduleConfig().WithRandSource(seeds)
	if m.ABI == HTTPHandler {
		cfg = c.instance.withOutputs(cfg)
	}
	if err := m.begin(ctx, c, cfg); err != nil {
		return m.failure(c, err)
	}
	in := c.instance
	if m.code.Fixed != nil {
		m.end(in)
		return nil
	}
	var memory []byte
	if in.memory != nil {
		memory, _ = in.memory.Read(0, in.memory.Size())
	}
	m.goSeeds = seeds.goSeeds(memory)
	globals := make([]uint64, len(in.globals))
	for i, g := range in.globals {
		globals[i] = g.Get()
	}
	image := newImage(memory, globals)
	image.Module, image.ABI = digest, m.ABI
	memories, err := newMemories(int(m.limits.Memory), image)
	if err != nil {
		m.end(in)
		return err
	}
	m.memories.close() // it was the first instance's
	m.image, m.imageFeatures, m.memories = image, in.features, memories
	if m.pool.activation == PerRequest {
		m.end(in) // its own memory cannot become the image again
		return nil
	}
	m.pool.idle = append(m.pool.idle, in) // it is what its copies are
	return nil
}

// beginTime is how long a module may take to initialise. Go's runtime needs some
// milliseconds on a busy machine.
const beginTime = 5 * time.Second

// Image returns the image of which the module's instances are copies; nil when none
// can be taken of it.
func (m *Module) Image() *Image { return m.image }

// About is what can be said of a module without running it.
type About struct {
	Name        string   `json:"name"`
	Digest      string   `json:"digest"`
	Bytes       int      `json:"bytes"`
	ABI         ABI      `json:"abi"`
	Activation  string   `json:"activation"`
	Concurrency int      `json:"concurrency"` // instances that answer at a time, each one request
	Imports     []string `json:"imports"`     // "module.function"
	Limits      Limits   `json:"limits"`
	ImageBytes  int      `json:"image_bytes"`        // what a new instance is a copy of
	MemoryBytes int      `json:"memory_bytes"`       // of a new instance
	NoImage     string   `json:"no_image,omitempty"` // why there is no image: each instance initialises itself
	Reseeds     bool     `json:"reseeds"`            // it hears of being copied
	Seeded      bool     `json:"seeded"`             // each copy gets a seed of its own (Go)
}

// About describes the module.
func (m *Module) About() About {
	a := About{Name: m.Name, Digest: m.Digest, Bytes: m.bytes, ABI: m.ABI, Activation: m.pool.activation.String(),
		Concurrency: cap(m.pool.turns), Limits: m.limits, Imports: []string{}, Reseeds: m.reseeds, Seeded: len(m.goSeeds) > 0}
	for _, f := range m.compiled.ImportedFunctions() {
		if from, name, _ := f.Import(); from != ownModule || name != rewrite.YieldName {
			a.Imports = append(a.Imports, from+"."+name)
		}
	}
	slices.Sort(a.Imports)
	a.Imports = slices.Compact(a.Imports)
	if m.image != nil {
		a.ImageBytes, a.MemoryBytes = m.image.Size(), int(m.image.Pages)*pageBytes
	} else {
		a.NoImage = m.code.Fixed.Error()
	}
	return a
}

// known are the modules whose functions a module may import.
var known = []string{httpHandlerModule, wasi_snapshot_preview1.ModuleName, ownModule}

// checkImports returns an error for an import that no module here can have.
func (h *Host) checkImports(c wazero.CompiledModule) error {
	for _, f := range c.ImportedFunctions() {
		from, name, _ := f.Import()
		what := printable.Text(from + "." + name)
		if !slices.Contains(known, from) {
			return fmt.Errorf("it imports %s; this host has %s", what, strings.Join(known, ", "))
		}
		exported := h.runtime.Module(from).ExportedFunctionDefinitions()
		have, ok := exported[name]
		if !ok {
			delete(exported, rewrite.YieldName)
			return fmt.Errorf("it imports %s; %s has %s", what, from, strings.Join(slices.Sorted(maps.Keys(exported)), ", "))
		}
		if !slices.Equal(f.ParamTypes(), have.ParamTypes()) || !slices.Equal(f.ResultTypes(), have.ResultTypes()) {
			return fmt.Errorf("it imports %s%s; this host has %s%s", what, signature(f), what, signature(have))
		}
	}
	if len(c.ImportedMemories()) > 0 {
		return errors.New("it imports its memory; this host gives none: export one")
	}
	return nil
}

// signature is a function's type: "(i32, i32) -> i64".
func signature(f api.FunctionDefinition) string {
	names := func(types []api.ValueType) string {
		var out []string
		for _, t := range types {
			out = append(out, api.ValueTypeName(t))
		}
		return strings.Join(out, ", ")
	}
	s := "(" + names(f.ParamTypes()) + ")"
	if len(f.ResultTypes()) > 0 {
		s += " -> " + names(f.ResultTypes())
	}
	return s
}

func abiOf(c wazero.CompiledModule) (ABI, error) {
	exported := c.ExportedFunctions()
	_, request := exported["handle_request"]
	_, response := exported["handle_response"]
	_, command := exported["_start"]
	switch {
	case request && response:
		if len(c.ExportedMemories()) == 0 {
			return "", errors.New("it exports no memory")
		}
		return HTTPHandler, nil
	case request:
		return "", errors.New("it exports handle_request, but no handle_response")
	case command:
		return WAGI, nil
	}
	return "", errors.New("it exports nothing that could answer a request")
}

// withMemories returns a context in which instances get their memory from p.
func withMemories(ctx context.Context, p *memories) context.Context {
	return experimental.WithMemoryAllocator(ctx, p)
}
