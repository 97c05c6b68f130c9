package lab

import "sync/atomic"

// ice stops the process of a frozen host. Go cannot stop some of a process's
// goroutines, but whatever they do ends in a system call sooner or later: that
// call waits until the ice melts. A timer that fires meanwhile does so once, as it
// would for a process that was stopped, and what it leads to happens late.
type ice struct{ until atomic.Pointer[chan struct{}] }

// pass waits while there is ice.
func (i *ice) pass() {
	if c := i.until.Load(); c != nil {
		<-*c
	}
}

func (i *ice) freeze() {
	c := make(chan struct{})
	i.until.CompareAndSwap(nil, &c)
}

func (i *ice) melt() {
	if c := i.until.Swap(nil); c != nil {
		close(*c)
	}
}
