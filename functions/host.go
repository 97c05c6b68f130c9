package functions

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"perto"
)

// HostConfig is what a Host is made of.
type HostConfig struct {
	Limits Limits       // of each module; Memory also bounds all of them
	Logger *slog.Logger // what modules log; nil: nobody hears it
	// CacheDir keeps compiled modules, so that a module is compiled once and not at
	// every start; "": it is compiled each time.
	CacheDir string
}

// Host runs modules. It is safe for concurrent use; modules that it loaded must
// not be used after Close.
type Host struct {
	limits   Limits
	log      *slog.Logger
	runtime  wazero.Runtime
	cache    wazero.CompilationCache // nil without a CacheDir
	memories *memories
}

// NewHost returns a Host without modules.
func NewHost(ctx context.Context, cfg HostConfig) (*Host, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	h := &Host{limits: cfg.Limits.withDefaults(), log: cfg.Logger}
	h.memories = &memories{reserve: int(h.limits.Memory)}
	// A call ends with its context, also in an endless loop: wazero looks at the
	// head of each.
	rc := wazero.NewRuntimeConfig().WithCloseOnContextDone(true).WithMemoryLimitPages(uint32(h.limits.Memory / pageBytes))
	if cfg.CacheDir != "" {
		cache, err := wazero.NewCompilationCacheWithDir(cfg.CacheDir)
		if err != nil {
			return nil, &perto.Error{Op: "keep compiled modules in", Path: cfg.CacheDir, Kind: perto.KindUnavailable, Err: err}
		}
		h.cache = cache
		rc = rc.WithCompilationCache(cache)
	}
	h.runtime = wazero.NewRuntimeWithConfig(ctx, rc)
	_, err := wasi_snapshot_preview1.Instantiate(ctx, h.runtime)
	if err == nil {
		err = exportHTTPHandler(ctx, h.runtime)
	}
	if err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

// Close ends all instances and gives their memory back.
func (h *Host) Close() error {
	err := h.runtime.Close(context.Background())
	if h.cache != nil {
		err = errors.Join(err, h.cache.Close(context.Background()))
	}
	h.memories.close()
	return err
}

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
	compiled wazero.CompiledModule
	bytes    int
	config   []byte
	pool     pool
}

// ModuleOptions say how a module is run.
type ModuleOptions struct {
	Activation Activation
	Config     []byte // what an http-wasm module's get_config returns
}

// wasmCore and wasmComponent are how files of the two kinds begin.
var (
	wasmCore      = []byte("\x00asm\x01\x00\x00\x00")
	wasmComponent = []byte("\x00asm\x0d\x00\x01\x00")
)

// Load checks and compiles a module. Errors are of KindInvalid and say what the
// module lacks.
func (h *Host) Load(ctx context.Context, name string, wasm []byte, o ModuleOptions) (*Module, error) {
	fail := func(err error, hint string) (*Module, error) {
		return nil, &perto.Error{Op: "load module", Path: name, Kind: perto.KindInvalid, Err: err, Hint: hint}
	}
	switch {
	case len(wasm) > h.limits.Module:
		return fail(fmt.Errorf("it has %d bytes; the limit is %d", len(wasm), h.limits.Module), "")
	case bytes.HasPrefix(wasm, wasmComponent):
		return fail(errors.New("it is a component (WASI preview 2); this host runs core modules"), "build it for wasm32-wasip1, or as a freestanding module with the http-wasm ABI")
	case !bytes.HasPrefix(wasm, wasmCore):
		return fail(errors.New("it is no WebAssembly module"), "")
	}
	compiled, err := h.runtime.CompileModule(ctx, wasm)
	if err != nil {
		return fail(err, "")
	}
	digest := sha256.Sum256(wasm)
	m := &Module{Name: name, Digest: hex.EncodeToString(digest[:]), host: h, compiled: compiled, bytes: len(wasm), config: o.Config}
	if m.ABI, err = abiOf(compiled); err != nil {
		compiled.Close(ctx)
		return fail(err, "it takes handle_request and handle_response (http-wasm), or _start (a WASI command)")
	}
	if m.ABI == WAGI && o.Activation != PerRequest {
		o.Activation = PerRequest // a command runs once
	}
	m.pool = newPool(o.Activation)
	return m, nil
}

// About is what can be said of a module without running it.
type About struct {
	Name       string   `json:"name"`
	Digest     string   `json:"digest"`
	Bytes      int      `json:"bytes"`
	ABI        ABI      `json:"abi"`
	Activation string   `json:"activation"`
	Imports    []string `json:"imports"` // "module.function"
	Limits     Limits   `json:"limits"`
}

// About describes the module.
func (m *Module) About() About {
	a := About{Name: m.Name, Digest: m.Digest, Bytes: m.bytes, ABI: m.ABI, Activation: m.pool.activation.String(), Limits: m.host.limits, Imports: []string{}}
	for _, f := range m.compiled.ImportedFunctions() {
		from, name, _ := f.Import()
		a.Imports = append(a.Imports, from+"."+name)
	}
	return a
}

// known are the modules whose functions a module may import.
var known = []string{httpHandlerModule, wasi_snapshot_preview1.ModuleName}

func abiOf(c wazero.CompiledModule) (ABI, error) {
	for _, f := range c.ImportedFunctions() {
		from, name, _ := f.Import()
		if from != known[0] && from != known[1] {
			return "", fmt.Errorf("it imports %s.%s; this host has %s", from, name, strings.Join(known, " and "))
		}
	}
	if len(c.ImportedMemories()) > 0 {
		return "", errors.New("it imports its memory")
	}
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

// context returns one in which instances get memories of the Host.
func (h *Host) context(ctx context.Context) context.Context {
	return experimental.WithMemoryAllocator(ctx, h.memories)
}
