package lab

import "sync/atomic"

// pauseGate stops the process of a frozen host. Go cannot stop some of a process's
// goroutines, but each of them makes a network call sooner or later, and that call waits
// at the gate until it opens. A timer that fires meanwhile fires once, as for a process
// that was stopped (SIGSTOP), and its consequences come late.
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
