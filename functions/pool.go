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

// Activation says which instance of a module answers a request: the policy of an
// object adapter.
type Activation uint8

// The policies.
const (
	// Pooled: one of those that are idle, else a new one. What an instance keeps in
	// its memory may be seen by later requests.
	Pooled Activation = iota
	// PerRequest: a new one, of which nothing is left when the request ends.
	PerRequest
	// Singleton: one for all, which answers one request at a time.
	Singleton
)

var activationNames = [...]string{"pooled", "per-request", "singleton"}

// String returns the policy's name as the configuration writes it.
func (a Activation) String() string { return activationNames[a] }

// ParseActivation returns the policy of a name.
func ParseActivation(name string) (Activation, error) {
	for a, n := range activationNames {
		if n == name {
			return Activation(a), nil
		}
	}
	return 0, fmt.Errorf("no activation is called %q; known are %v", name, activationNames)
}

// pool hands out instances by a policy. Use newPool.
type pool struct {
	activation Activation
	turns      chan struct{} // one element for each instance that answers

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
	globals  []api.MutableGlobal // what an image holds beside memory
	request  api.Function        // handle_request
	response api.Function        // handle_response
	reseed   api.Function        // perto_reseed, or nil
	features uint32              // that the guest has asked for
	stack    [2]uint64           // parameters and results of calls
	out      [2]printed          // its standard output and error, of http-wasm
	counted  int64               // bytes of memory that the statistics know of
}

// turn waits until one more instance may answer: no longer than the call may take.
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

// get returns an instance; put takes it back.
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

// put takes an instance back. One that failed is not used again; one that answers
// a single request becomes what it was before.
func (m *Module) put(in *instance, answered bool) {
	p := &m.pool
	m.stats.grown(in)
	keep := answered && (p.activation != PerRequest || m.reset(in))
	if keep {
		p.mu.Lock()
		if keep = !p.closed; keep { // there are never more than turns
			p.idle = append(p.idle, in)
		}
		p.mu.Unlock()
	}
	if !keep {
		m.end(in)
	}
	<-p.turns
}

// Close ends the module's instances, those that answer when they have. Who still
// holds the module can go on to call it.
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

// instantiate makes an instance: a copy of the module's image, or where that has
// none one that initialises itself.
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
			return nil, instanceError{errors.New("there is no memory for it")}
		}
	}
	in.setGlobals(m.image.Globals)
	in.features = m.imageFeatures
	m.scatter(in)
	if err := m.tellCopy(ctx, in); err != nil {
		m.end(in)
		return nil, err
	}
	return in, nil
}

// made lets the runtime make an instance; no code of the guest runs. The runtime
// panics when there is no memory for the instance, which must not end the process.
func (m *Module) made(ctx context.Context, cfg wazero.ModuleConfig) (mod api.Module, err error) {
	defer func() {
		if recover() != nil {
			err = instanceError{errors.New("there is no memory for it")}
		}
	}()
	if mod, err = m.host.runtime.InstantiateModule(ctx, m.compiled, cfg); err != nil {
		err = instanceError{err}
	}
	return mod, err
}

// begin makes an instance from nothing: what its data segments, its start function
// and _initialize do.
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
		in.memory.Write(d.Offset, d.Bytes) // package rewrite has seen that there is room
	}
	first := []string{m.code.Start, "_initialize"}
	if m.ABI == HTTPHandler { // a guest of TinyGo registers its handlers in main
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

// of fills in what calls need of a module's instance.
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

// memoryOf returns a module's memory; nil when it has none. The runtime then returns a
// pointer that is nil.
func memoryOf(mod api.Module) api.Memory {
	m := mod.Memory()
	if v := reflect.ValueOf(m); !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		return nil
	}
	return m
}

// pages returns the size of its memory.
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

// reset makes an instance what it was before its first request; false when that
// cannot be: its memory has grown, or it has no image.
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
	return m.tellCopy(context.Background(), in) == nil
}

// reseedName is what a guest exports that wants to know when it was copied: the
// parameter is a random number, i64. What it drew before the image was taken is the
// same in all copies.
const reseedName = "perto_reseed"

// tellCopy tells a copy of an image that it is one.
func (m *Module) tellCopy(ctx context.Context, in *instance) error {
	if in.reseed == nil {
		return nil
	}
	c := &call{ctx: ctx, module: m, instance: in, next: nothing, wall: m.limits.Wall, deadline: time.Now().Add(m.limits.Wall)}
	in.printsTo(c)
	in.stack[0] = rand.Uint64()
	return in.reseed.CallWithStack(context.WithValue(ctx, callKey{}, c), in.stack[:])
}

// moduleConfig grants nothing: no files, no arguments, and a clock and random
// numbers only as far as compilers take them for granted. What is to be called is
// called by us.
func (m *Module) moduleConfig() wazero.ModuleConfig {
	return wazero.NewModuleConfig().WithName("").WithSysWalltime().WithSysNanotime().WithRandSource(randomSource{}).WithStartFunctions()
}
