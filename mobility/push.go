package mobility

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"perto"
)

// maxPush is the most nodes that are contacted at a time.
const maxPush = 32

// Result is the result of a push at one node.
type Result struct {
	Target    string
	Version   uint64
	Missing   bool          // the node lacks the module and will pull it
	SentBytes int64         // bytes of the module that were sent
	Took      time.Duration // from the first byte to the last response
	Err       error         // nil: the node has the release, and the module unless it is Missing
}

// Push sends a release to nodes, then the module to those that lack it. In a lazy push
// the nodes pull the module at its first use. wasm may be nil when all nodes have it (a
// rollback). The results are in the order of targets. A failure at one node does not
// stop the others.
func Push(ctx context.Context, targets []Client, signed Signed, wasm []byte, lazy bool) []Result {
	results := make([]Result, len(targets))
	r, err := ParseRelease(signed.Release)
	if err == nil && wasm != nil && (r.Digest != Digest(wasm) || r.Bytes != int64(len(wasm))) {
		err = errors.New("the digest of the module is not the one in the release")
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

// push sends it to one node.
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
			Err: fmt.Errorf("%s has the release but not the module, and this client has no copy", res.Target), Hint: "push the module's file, or let the node pull it"}
		return
	}
	if res.Err = c.Put(ctx, r.Digest, wasm); res.Err == nil {
		res.Missing, res.SentBytes = false, int64(len(wasm))
	}
}
