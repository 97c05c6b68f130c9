package fetch

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// permits bounds the exchanges that run at a time. Exchanges wait for a permit in the
// order in which they asked. The bound may change at any time, which a channel of
// permits does not allow.
type permits struct {
	mu      sync.Mutex
	most    int
	used    int       // may exceed most after a decrease
	waiting list.List // of chan struct{}, closed when the exchange gets its permit
}

// acquire takes a permit. It waits for at most timeout. ok is false when it got none.
func (p *permits) acquire(ctx context.Context, timeout time.Duration) (ok bool) {
	p.mu.Lock()
	if p.used < p.most {
		p.used++
		p.mu.Unlock()
		return true
	}
	granted := make(chan struct{})
	place := p.waiting.PushBack(granted)
	p.mu.Unlock()
	t := time.NewTimer(timeout)
	defer t.Stop()
	select {
	case <-granted:
		return true
	case <-t.C:
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-granted: // at the same time as the timeout
		return true
	default:
		p.waiting.Remove(place)
		return false
	}
}

// release returns a permit.
func (p *permits) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.used--
	p.grant()
}

// resize changes the bound. After a decrease running exchanges keep their permits, and
// none starts until enough of them have ended.
func (p *permits) resize(most int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.most = most
	p.grant()
}

// running returns the number of permits in use.
func (p *permits) running() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.used
}

// grant gives free permits to waiting exchanges. So none waits while a permit is free.
// The caller holds mu.
func (p *permits) grant() {
	for p.used < p.most && p.waiting.Len() > 0 {
		p.used++
		close(p.waiting.Remove(p.waiting.Front()).(chan struct{}))
	}
}
