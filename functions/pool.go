package functions

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// Activation decides which instance of a module handles a request (the activation
// policy of an object adapter).
type Activation uint8

// The activation policies.
const (
	// Pooled uses an idle instance, or a new one. Later requests may see data that an
	// instance keeps in its memory.
	Pooled Activation = iota
	// PerRequest uses a fresh instance for each request. No state remains.
	PerRequest
	// Singleton uses the same instance for all requests, one at a time.
	Singleton
)

var activationNames = [...]string{"pooled", "per-request", "singleton"}

// String returns the policy's name in the configuration.
func (a Activation) String() string { return activationNames[a] }

// ParseActivation returns the policy with a name.
func ParseActivation(name string) (Activation, error) {
	for a, n := range activationNames {
		if n == name {
			return Activation(a), nil
		}
	}
	return 0, fmt.Errorf("unknown activation %q; use one of %v", name, activationNames)
}

// pool holds the idle instances of a module. Use newPool.
type pool struct {
	activation Activation
	turns      chan struct{} // has one element for each instance in use

	mu     sync.Mutex
	idle   []*instance
	closed bool
}

func newPool(a Activation, most int) pool {
	if a == Singleton {
		most = 1
	}
	return pool{activation: a, turns: make(chan struct{}, most)}
}

// instance is a running copy of a module. It answers one request at a time.
type instance struct {
	module   api.Module
	memory   api.Memory
	globals  []api.MutableGlobal // the mutable globals, in the order of the image
	request  api.Function        // handle_request
	response api.Function        // handle_response
	reseed   api.Function        // perto_reseed, or nil
	features uint32              // that the guest has enabled
	stack    [2]uint64           // parameters and results of calls
	out      [2]printed          // standard output and error of an http-wasm guest
	counted  int64               // memory bytes that the statistics include
}

// turn waits for a permit to use an instance, no longer than the time limit of a call.
func (m *Module) turn(ctx context.Context, c *call) error {
	select {
	case m.pool.turns <- struct{}{}:
		return nil
	default:
	}
	wait := time.NewTimer(m.limits.Wall)
	defer wait.Stop()
	select {
	case m.pool.turns <- struct{}{}:
		c.deadline = time.Now().Add(m.limits.Wall)
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-wait.C:
		return ErrBusy
	}
}

// get returns an instance for a call. put takes it back.
func (m *Module) get(ctx context.Context, c *call) (*instance, error) {
	if err := m.turn(ctx, c); err != nil {
		return nil, err
	}
	p := &m.pool
	var in *instance
	p.mu.Lock()
	if n := len(p.idle); n > 0 {
		in = p.idle[n-1]
		p.idle = p.idle[:n-1]
	}
	p.mu.Unlock()
	if in != nil {
		return in, nil
	}
	m.stats.Cold.Inc()
	in, err := m.instantiate(ctx, c, m.moduleConfig())
	if err != nil {
		<-p.turns
		return nil, err
	}
	return in, nil
}

// put takes an instance back. An instance that failed is ended. With PerRequest, the
// instance is reset to the image first.
func (m *Module) put(in *instance, answered bool) {
	p := &m.pool
	m.stats.grown(in)
	keep := answered && (p.activation != PerRequest || m.reset(in))
	if keep {
		p.mu.Lock()
		if keep = !p.closed; keep { // idle instances never exceed the permits
			p.idle = append(p.idle, in)
		}
		p.mu.Unlock()
	}
	if !keep {
		m.end(in)
	}
	<-p.turns
}

// Close ends the module's idle instances. Instances in use end after their call.
// Callers that still have the module may go on to call it.
func (m *Module) Close() {
	m.host.forget(m)
	m.memories.close()
	m.pool.mu.Lock()
	idle := m.pool.idle
	m.pool.idle, m.pool.closed = nil, true
	m.pool.mu.Unlock()
	for _, in := range idle {
		m.end(in)
	}
}

// end ends an instance.
func (m *Module) end(in *instance) {
	m.stats.died(in)
	in.module.Close(context.Background())
}

// instantiate makes an instance: a copy of the module's image, or one that initialises
// itself when there is no image.
func (m *Module) instantiate(ctx context.Context, c *call, cfg wazero.ModuleConfig) (*instance, error) {
	in := new(instance)
	c.instance = in
	in.printsTo(c)
	if m.ABI == HTTPHandler {
		cfg = in.withOutputs(cfg)
	}
	if m.image == nil {
		if err := m.begin(ctx, c, cfg); err != nil {
			return nil, err
		}
		return in, nil
	}
	mod, err := m.made(withMemories(ctx, m.memories), cfg)
	if err != nil {
		return nil, err
	}
	in.of(m, mod)
	m.stats.born(in)
	if need := m.image.Pages - in.pages(); need > 0 && in.memory != nil {
		if _, ok := in.memory.Grow(need); !ok {
			m.end(in)
			return nil, instanceError{errors.New("not enough memory")}
		}
	}
	in.setGlobals(m.image.Globals)
	in.features = m.imageFeatures
	m.scatter(in)
	if err := m.reseedCopy(ctx, in); err != nil {
		m.end(in)
		return nil, err
	}
	return in, nil
}

// made makes an instance in the runtime, without running guest code. The runtime panics
// when there is no memory. made returns an error instead, so that the process goes on.
func (m *Module) made(ctx context.Context, cfg wazero.ModuleConfig) (mod api.Module, err error) {
	defer func() {
		if recover() != nil {
			err = instanceError{errors.New("not enough memory")}
		}
	}()
	if mod, err = m.host.runtime.InstantiateModule(ctx, m.compiled, cfg); err != nil {
		err = instanceError{err}
	}
	return mod, err
}

// begin initialises an instance without an image: it writes the data segments, and
// calls the start function and _initialize.
func (m *Module) begin(ctx context.Context, c *call, cfg wazero.ModuleConfig) error {
	in := c.instance
	defer in.printedAll()
	guest := context.WithValue(withMemories(ctx, m.memories), callKey{}, c)
	mod, err := m.made(guest, cfg)
	if err != nil {
		return err
	}
	in.of(m, mod)
	m.stats.born(in)
	for _, d := range m.code.Data {
		in.memory.Write(d.Offset, d.Bytes) // fits: package rewrite has checked it
	}
	first := []string{m.code.Start, "_initialize"}
	if m.ABI == HTTPHandler { // a TinyGo guest registers its handlers in main
		first = append(first, "_start")
	}
	for _, name := range first {
		if f := mod.ExportedFunction(name); name != "" && f != nil {
			if _, err := f.Call(guest); err != nil {
				m.end(in)
				return err
			}
		}
	}
	return nil
}

// of fills in the fields of an instance from the runtime's module.
func (in *instance) of(m *Module, mod api.Module) {
	in.module, in.memory = mod, memoryOf(mod)
	in.request, in.response = mod.ExportedFunction("handle_request"), mod.ExportedFunction("handle_response")
	if m.reseeds {
		in.reseed = mod.ExportedFunction(reseedName)
	}
	in.globals = make([]api.MutableGlobal, len(m.code.Globals))
	for i, g := range m.code.Globals {
		in.globals[i], _ = mod.ExportedGlobal(g.Export).(api.MutableGlobal)
	}
}

// memoryOf returns a module's memory, or nil when it has none. The runtime then returns
// an interface with a nil pointer.
func memoryOf(mod api.Module) api.Memory {
	m := mod.Memory()
	if v := reflect.ValueOf(m); !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		return nil
	}
	return m
}

// pages returns the size of the memory in pages.
func (in *instance) pages() uint32 {
	if in.memory == nil {
		return 0
	}
	return in.memory.Size() / pageBytes
}

func (in *instance) setGlobals(values []uint64) {
	for i, g := range in.globals {
		g.Set(values[i])
	}
}

// reset makes an instance equal to the image again. It returns false when this is not
// possible: the memory has grown, or there is no image.
func (m *Module) reset(in *instance) bool {
	if m.image == nil || in.pages() != m.image.Pages {
		return false
	}
	if in.memory != nil {
		all, _ := in.memory.Read(0, in.memory.Size())
		if !m.memories.reset(all) {
			return false
		}
	}
	in.setGlobals(m.image.Globals)
	in.features = m.imageFeatures
	m.scatter(in)
	return m.reseedCopy(context.Background(), in) == nil
}

// reseedName is the export that the host calls with a random i64 in each new copy of
// the image. Random numbers that the guest drew before the image are the same in all
// copies.
const reseedName = "perto_reseed"

// reseedCopy calls perto_reseed in a copy of an image.
func (m *Module) reseedCopy(ctx context.Context, in *instance) error {
	if in.reseed == nil {
		return nil
	}
	c := &call{ctx: ctx, module: m, instance: in, next: nothing, wall: m.limits.Wall, deadline: time.Now().Add(m.limits.Wall)}
	in.printsTo(c)
	in.stack[0] = rand.Uint64()
	return in.reseed.CallWithStack(context.WithValue(ctx, callKey{}, c), in.stack[:])
}

// moduleConfig grants no files and no arguments. Guests get a clock and random numbers,
// because compilers depend on them. The host calls the start functions itself.
func (m *Module) moduleConfig() wazero.ModuleConfig {
	return wazero.NewModuleConfig().WithName("").WithSysWalltime().WithSysNanotime().WithRandSource(randomSource{}).WithStartFunctions()
}
