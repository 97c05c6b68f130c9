package functions

import (
	"context"
	"fmt"
	"sync"

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
	// PerRequest: a new one, which ends with the request.
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

func newPool(a Activation) pool { return pool{activation: a, single: make(chan struct{}, 1)} }

// maxIdle is how many idle instances of a module are kept.
const maxIdle = 64

// pool hands out instances by a policy. Use newPool.
type pool struct {
	activation Activation

	single chan struct{} // of a Singleton: full while it answers

	mu   sync.Mutex
	idle []*instance
}

// instance is a running copy of a module. It answers one request at a time.
type instance struct {
	module   api.Module
	request  api.Function // handle_request
	response api.Function // handle_response
	features uint32       // that the guest has asked for
}

// get returns an instance and what takes it back: reusable says whether it may
// answer again.
func (m *Module) get(ctx context.Context) (in *instance, put func(reusable bool), err error) {
	p := &m.pool
	if p.activation == Singleton {
		select {
		case p.single <- struct{}{}:
		case <-ctx.Done(): // to wait for one's turn is a part of the time one has
			return nil, nil, context.Cause(ctx)
		}
	}
	put = func(reusable bool) {
		kept := false
		if reusable && p.activation != PerRequest {
			p.mu.Lock()
			if kept = len(p.idle) < maxIdle; kept {
				p.idle = append(p.idle, in)
			}
			p.mu.Unlock()
		}
		if !kept && in != nil {
			in.module.Close(context.Background())
		}
		if p.activation == Singleton {
			<-p.single
		}
	}
	p.mu.Lock()
	if n := len(p.idle); n > 0 {
		in = p.idle[n-1]
		p.idle = p.idle[:n-1]
	}
	p.mu.Unlock()
	if in != nil {
		return in, put, nil
	}
	if in, err = m.instantiate(ctx); err != nil {
		put(false)
		return nil, nil, err
	}
	return in, put, nil
}

// instantiate makes an instance of an http-wasm module and lets it initialise.
func (m *Module) instantiate(ctx context.Context) (*instance, error) {
	in := new(instance)
	ctx = context.WithValue(m.host.context(ctx), callKey{}, &call{module: m, instance: in})
	mod, err := m.host.runtime.InstantiateModule(ctx, m.compiled, m.moduleConfig().WithStartFunctions("_initialize"))
	if err != nil {
		return nil, err
	}
	in.module, in.request, in.response = mod, mod.ExportedFunction("handle_request"), mod.ExportedFunction("handle_response")
	return in, nil
}

// moduleConfig grants nothing: no files, no arguments, and a clock and random
// numbers only as far as compilers take them for granted.
func (m *Module) moduleConfig() wazero.ModuleConfig {
	return wazero.NewModuleConfig().WithName("").WithSysWalltime().WithSysNanotime().WithRandSource(randomSource{})
}
