package mobility

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"perto"
)

// maxPush is how many nodes are told at the same time.
const maxPush = 32

// Result is what a push did at one node.
type Result struct {
	Target    string
	Version   uint64
	Missing   bool          // the node lacks the module: it will pull it
	SentBytes int64         // of the module
	Took      time.Duration // from the first byte to the last answer
	Err       error         // nil: the node has the release, and the module unless it is Missing
}

// Push brings a release to nodes: the release first, then the module to those that
// lack it. A lazy push leaves the modules to the nodes, which pull them when they are
// first asked for. wasm may be nil when all nodes are known to have it (a rollback).
// Each node has a result, in order; one that fails does not stop the others.
func Push(ctx context.Context, targets []Client, signed Signed, wasm []byte, lazy bool) []Result {
	results := make([]Result, len(targets))
	r, err := ParseRelease(signed.Release)
	if err == nil && wasm != nil && (r.Digest != Digest(wasm) || r.Bytes != int64(len(wasm))) {
		err = errors.New("the module is not the one that the release names")
	}
	if err != nil {
		err = &perto.Error{Op: "push release", Path: r.name(), Kind: perto.KindInvalid, Err: err}
	}
	slots := make(chan struct{}, maxPush)
	var wg sync.WaitGroup
	for i, c := range targets {
		results[i] = Result{Target: c.target(), Version: r.Version, Err: err}
		if err != nil {
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			begin := time.Now()
			results[i].push(ctx, c, signed, r, wasm, lazy)
			results[i].Took = time.Since(begin)
		})
	}
	wg.Wait()
	return results
}

// push brings it to one node.
func (res *Result) push(ctx context.Context, c Client, signed Signed, r Release, wasm []byte, lazy bool) {
	applied, err := c.Apply(ctx, signed)
	if err != nil {
		res.Err = err
		return
	}
	res.Missing = applied.Missing
	if !res.Missing || lazy {
		return
	}
	if wasm == nil {
		res.Err = &perto.Error{Op: "push release", Path: r.name(), Kind: perto.KindUnavailable,
			Err: fmt.Errorf("%s has the release, but lacks the module, and none is at hand", res.Target), Hint: "push the module's file, or let the node pull it"}
		return
	}
	if res.Err = c.Put(ctx, r.Digest, wasm); res.Err == nil {
		res.Missing, res.SentBytes = false, int64(len(wasm))
	}
}
