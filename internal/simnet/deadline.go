package simnet

import (
	"sync"
	"time"
)

// deadline is a moment at which an operation ends. It can be moved while goroutines
// wait.
type deadline struct {
	mu      sync.Mutex
	timer   *time.Timer
	moves   int           // number of moves: the timer of an earlier move does nothing
	expired chan struct{} // closed when the moment has passed
}

func newDeadline() *deadline { return &deadline{expired: make(chan struct{})} }

// set moves the deadline. The zero time means never.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
	}
	d.moves++
	select {
	case <-d.expired:
		d.expired = make(chan struct{})
	default:
	}
	if t.IsZero() {
		return
	}
	if wait := time.Until(t); wait > 0 {
		moves := d.moves
		d.timer = time.AfterFunc(wait, func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			if moves == d.moves {
				close(d.expired)
			}
		})
		return
	}
	close(d.expired)
}

// done returns a channel that is closed when the deadline passes. A later move does not
// affect goroutines that wait already, unless the deadline had passed.
func (d *deadline) done() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.expired
}

// signal wakes all goroutines that wait for a change. The zero signal is ready. Its
// owner's lock guards it.
type signal struct{ c chan struct{} }

// wait returns a channel that the next change closes.
func (s *signal) wait() <-chan struct{} {
	if s.c == nil {
		s.c = make(chan struct{})
	}
	return s.c
}

func (s *signal) change() {
	if s.c != nil {
		close(s.c)
		s.c = nil
	}
}
