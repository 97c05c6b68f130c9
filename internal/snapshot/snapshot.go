// Package snapshot passes immutable state from one writer to many readers.
//
// State goes from the control plane to the data plane this way. The registry publishes
// a Fleet, the mapper publishes a Map. The hot paths load one pointer for a request (or
// a batch of packets) and never take a lock. A published value must not be changed.
// Start with [Var].
package snapshot

import (
	"context"
	"sync"
	"sync/atomic"
)

// Var holds the newest version of an immutable value. The zero Var is empty: Load
// returns nil until the first Store. A Var must not be copied.
//
// Load may be called from any goroutine and neither blocks nor allocates. Store is for
// a single writer. Calls from several writers are serialised in undefined order.
type Var[T any] struct {
	cur atomic.Pointer[versioned[T]]

	mu      sync.Mutex
	changed chan struct{} // closed at the next Store; nil when no goroutine waits
}

type versioned[T any] struct {
	value   *T
	version uint64
}

// Load returns the newest value, or nil when none was stored.
func (v *Var[T]) Load() *T {
	if c := v.cur.Load(); c != nil {
		return c.value
	}
	return nil
}

// LoadVersion returns the newest value and its version. Versions count Stores
// from 1; an empty Var has version 0 and a nil value.
func (v *Var[T]) LoadVersion() (*T, uint64) {
	if c := v.cur.Load(); c != nil {
		return c.value, c.version
	}
	return nil, 0
}

// Store publishes value and wakes all waiting goroutines. It returns the version.
func (v *Var[T]) Store(value *T) uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	next := &versioned[T]{value: value, version: 1}
	if c := v.cur.Load(); c != nil {
		next.version = c.version + 1
	}
	v.cur.Store(next)
	if v.changed != nil {
		close(v.changed)
		v.changed = nil
	}
	return next.version
}

// Wait blocks until a version newer than after exists. It returns this version and its
// value. It may skip versions, because only the newest matters. It returns the
// context's error when the context ends first.
func (v *Var[T]) Wait(ctx context.Context, after uint64) (*T, uint64, error) {
	for {
		v.mu.Lock()
		if c := v.cur.Load(); c != nil && c.version > after {
			v.mu.Unlock()
			return c.value, c.version, nil
		}
		if v.changed == nil {
			v.changed = make(chan struct{})
		}
		changed := v.changed
		v.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, after, context.Cause(ctx)
		}
	}
}
