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

// HostConfig configures a Host.
type HostConfig struct {
	Limits Limits       // default limits of modules
	Logger *slog.Logger // receives the logs of modules; nil: they are dropped
	Cache  *Cache       // keeps compiled modules; nil: each Load compiles
	Self   Self         // edge_info returns it
	Locate Locate       // finds the places of clients; nil: they are unknown
}

// Host runs modules. It is safe for concurrent use. Its modules must not be used after
// Close.
type Host struct {
	limits  Limits
	log     *slog.Logger
	self    []byte // JSON
	locate  Locate
	runtime wazero.Runtime

	mu     sync.Mutex
	loaded []*Module // their memories are freed by Close
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

// maxMemory is the upper limit for the memory of an instance, in bytes.
const maxMemory = 1 << 30

// Close ends all instances and frees their memory.
func (h *Host) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range h.loaded {
		m.memories.close()
	}
	return h.runtime.Close(context.Background())
}

// Cache keeps compiled modules. Hosts that share it compile each module once.
type Cache struct{ compiled wazero.CompilationCache }

// NewCache returns a cache that also stores compiled modules in a folder, for the next
// start. With dir "" it keeps them in memory only.
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

// Close frees the memory of the cache. Close the Hosts that use it first.
func (c *Cache) Close() error { return c.compiled.Close(context.Background()) }

// ABI is the interface between the host and a module.
type ABI string

// The supported ABIs.
const (
	HTTPHandler ABI = "http-wasm" // http-wasm http_handler
	WAGI        ABI = "wagi"      // a WASI command that prints its response
)

// Module is a compiled function. It is safe for concurrent use.
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
	imageFeatures uint32 // features that the first instance enabled
	memories      *memories
	reseeds       bool     // it exports perto_reseed
	goSeeds       []uint32 // addresses of the runtime's seeds in memory; empty: not a Go program
}

// ModuleOptions configure a module.
type ModuleOptions struct {
	Activation Activation
	Config     []byte            // get_config of an http-wasm module returns it
	KV         map[string]string // kv_get reads it
	Limits     Limits            // zero values take the Host's
	Stats      *Stats            // nil: the module has its own
	Logs       *Logs             // keeps the module's log lines; nil: they go only to the Host's Logger
}

// wasmCore and wasmComponent are the first bytes of core modules and of components.
var (
	wasmCore      = []byte("\x00asm\x01\x00\x00\x00")
	wasmComponent = []byte("\x00asm\x0d\x00\x01\x00")
)

// Load checks and compiles a module, and takes an image of its first instance. Errors
// are of KindInvalid.
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
		return fail(fmt.Errorf("the module has %d bytes; the limit is %d", len(wasm), m.limits.Module), "")
	case m.limits.Memory > maxMemory:
		return fail(fmt.Errorf("its memory limit is %d MiB; the maximum is %d", m.limits.Memory>>20, maxMemory>>20), "")
	case bytes.HasPrefix(wasm, wasmComponent):
		return fail(errors.New("it is a component (WASI preview 2); this host runs core modules"), "build it for wasm32-wasip1, or as a freestanding module with the http-wasm ABI")
	case !bytes.HasPrefix(wasm, wasmCore):
		return fail(errors.New("it is not a WebAssembly module"), "")
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
			return fail(fmt.Errorf("it starts with %d KiB of memory; its limit is %d", need>>10, m.limits.Memory>>10), "raise the limit: configuration key memory, or --memory")
		}
	}
	if m.ABI, err = abiOf(m.compiled); err != nil {
		m.compiled.Close(ctx)
		return fail(err, "export handle_request and handle_response (http-wasm), or _start (a WASI command)")
	}
	if m.ABI == WAGI {
		o.Activation = PerRequest // a command runs once
	}
	m.pool = newPool(o.Activation, m.limits.Instances)
	_, m.reseeds = m.compiled.ExportedFunctions()[reseedName]
	if err := m.initialise(ctx, digest); err != nil {
		m.compiled.Close(ctx)
		return fail(err, "it failed before its first request")
	}
	m.code.Wasm = nil // compiled: the bytes are no longer needed
	h.mu.Lock()
	h.loaded = append(h.loaded, m)
	h.mu.Unlock()
	return m, nil
}

// compile compiles a module. The runtime's compiler panics at some invalid modules.
// compile returns an error instead, so that a bad module cannot end the process.
func (h *Host) compile(ctx context.Context, wasm []byte) (c wazero.CompiledModule, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the compiler cannot read it: %v", p)
		}
	}()
	return h.runtime.CompileModule(ctx, wasm)
}

// forget removes a module from the list of those that Close frees.
func (h *Host) forget(m *Module) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.loaded = slices.DeleteFunc(h.loaded, func(l *Module) bool { return l == m })
}

// initialise makes the module's first instance. It takes an image of the instance
// unless the module's state cannot be captured.
func (m *Module) initialise(ctx context.Context, digest [sha256.Size]byte) (err error) {
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
	m.memories.close() // these held the first instance only
	m.image, m.imageFeatures, m.memories = image, in.features, memories
	if m.pool.activation == PerRequest {
		m.end(in) // its own memory cannot be reset to the image
		return nil
	}
	m.pool.idle = append(m.pool.idle, in) // it equals a copy of the image
	return nil
}

// beginTime is the default time limit of a module's initialisation. Go's runtime needs
// some milliseconds on a busy machine.
const beginTime = 5 * time.Second

// Image returns the image from which the module's instances are copied. It is nil when
// none can be taken.
func (m *Module) Image() *Image { return m.image }

// About describes a module without running it.
type About struct {
	Name        string   `json:"name"`
	Digest      string   `json:"digest"`
	Bytes       int      `json:"bytes"`
	ABI         ABI      `json:"abi"`
	Activation  string   `json:"activation"`
	Concurrency int      `json:"concurrency"` // most instances at a time, each with one request
	Imports     []string `json:"imports"`     // "module.function"
	Limits      Limits   `json:"limits"`
	ImageBytes  int      `json:"image_bytes"`        // size of the image
	MemoryBytes int      `json:"memory_bytes"`       // of a new instance
	NoImage     string   `json:"no_image,omitempty"` // why there is no image: each instance initialises itself
	Reseeds     bool     `json:"reseeds"`            // it exports perto_reseed
	Seeded      bool     `json:"seeded"`             // each copy gets a random seed of its own (Go programs)
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

// known are the modules from which a guest may import.
var known = []string{httpHandlerModule, wasi_snapshot_preview1.ModuleName, ownModule}

// checkImports returns an error for an import that the host does not have.
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
		return errors.New("it imports its memory; export a memory instead")
	}
	return nil
}

// signature formats a function's type, for example "(i32, i32) -> i64".
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
	return "", errors.New("it exports no function that can handle a request")
}

// withMemories returns a context in which the runtime allocates memories from p.
func withMemories(ctx context.Context, p *memories) context.Context {
	return experimental.WithMemoryAllocator(ctx, p)
}
