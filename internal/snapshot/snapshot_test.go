package snapshot

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestVarEmpty(t *testing.T) {
	var v Var[int]
	if got := v.Load(); got != nil {
		t.Errorf("Load of an empty Var: got %v, want nil", got)
	}
	if got, version := v.LoadVersion(); got != nil || version != 0 {
		t.Errorf("LoadVersion of an empty Var: got %v at %d, want nil at 0", got, version)
	}
}

func TestVarWaitWakesOnStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var v Var[int]
		got := make(chan int, 2)
		for range 2 {
			go func() {
				value, version, err := v.Wait(t.Context(), 0)
				if err != nil || version != 1 {
					t.Errorf("got version %d, error %v; want version 1", version, err)
					return
				}
				got <- *value
			}()
		}
		synctest.Wait() // both are blocked now
		v.Store(new(7))
		if a, b := <-got, <-got; a != 7 || b != 7 {
			t.Errorf("got %d and %d, want 7 twice", a, b)
		}
	})
}

func TestVarWaitReturnsNewestOnly(t *testing.T) {
	var v Var[int]
	v.Store(new(1))
	v.Store(new(2))
	value, version, err := v.Wait(t.Context(), 0)
	if err != nil || *value != 2 || version != 2 {
		t.Errorf("got %d at version %d, error %v; want 2 at version 2", *value, version, err)
	}
}

func TestVarWaitEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var v Var[int]
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, version, err := v.Wait(ctx, 3); !errors.Is(err, context.DeadlineExceeded) || version != 3 {
			t.Errorf("got version %d, error %v; want the deadline and the version passed in", version, err)
		}
	})
}

// TestVarNeverTorn runs readers beside the writer. A value and its version must always
// belong together.
func TestVarNeverTorn(t *testing.T) {
	var v Var[uint64]
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			var last uint64
			for last < 10_000 {
				value, version := v.LoadVersion()
				if version == 0 {
					continue
				}
				if *value != version || version < last {
					t.Errorf("got value %d at version %d after version %d", *value, version, last)
					return
				}
				last = version
			}
		})
	}
	for i := range uint64(10_000) {
		v.Store(new(i + 1))
	}
	wg.Wait()
}

func TestVarLoadDoesNotAllocate(t *testing.T) {
	var v Var[int]
	v.Store(new(1))
	if n := testing.AllocsPerRun(100, func() { _ = v.Load() }); n != 0 {
		t.Errorf("got %v allocations, want 0", n)
	}
}
