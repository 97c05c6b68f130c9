package lab

import "sync/atomic"

// pauseGate stops the process of a frozen host. Go cannot stop single goroutines. A
// paused host therefore blocks in its next network call until the gate opens. A timer
// that expires in the meantime fires once and late, like in a process that was stopped
// with SIGSTOP.
type pauseGate struct{ until atomic.Pointer[chan struct{}] }

// wait blocks while the gate is closed.
func (g *pauseGate) wait() {
	if c := g.until.Load(); c != nil {
		<-*c
	}
}

func (g *pauseGate) close() {
	c := make(chan struct{})
	g.until.CompareAndSwap(nil, &c)
}

func (g *pauseGate) open() {
	if c := g.until.Swap(nil); c != nil {
		close(*c)
	}
}
