// Package delayqueue has the parts of a simulated network: a [Queue] that holds items
// until they are due, and a [Line] of limited bandwidth. The lab's Internet uses them
// for the packets of its netstack, and lab/wan for packets of the kernel.
//
// The time is that of package time. Inside a synctest bubble it is virtual. A Queue is
// safe for concurrent use, and a Line is not. Start with [New].
package delayqueue

import (
	"sync"
	"time"
)

// Queue holds items until they are due and passes them on in that order. Items that are
// due at the same instant keep their order of arrival. Its methods may be called from
// any goroutine. It has no limit: the caller must bound the held items.
type Queue[T any] struct {
	mu    sync.Mutex
	heap  []held[T] // Invariant: no element is before its parent, at (i-1)/2
	order uint64    // of the next item
	wake  chan struct{}
}

type held[T any] struct {
	due   time.Time
	order uint64
	thing T
}

func (a *held[T]) before(b *held[T]) bool {
	if c := a.due.Compare(b.due); c != 0 {
		return c < 0
	}
	return a.order < b.order
}

// New returns an empty Queue. It passes no item on before Run is called.
func New[T any]() *Queue[T] { return &Queue[T]{wake: make(chan struct{}, 1)} }

// Hold keeps an item until it is due.
func (q *Queue[T]) Hold(due time.Time, thing T) {
	q.mu.Lock()
	q.order++
	q.heap = append(q.heap, held[T]{due, q.order, thing})
	first := q.rise() == 0
	q.mu.Unlock()
	if first { // Run sleeps until a later item
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
}

// Len returns how many items are held.
func (q *Queue[T]) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.heap)
}

// Run passes due items to handOver, one at a time, until done is closed. Items that are
// held then stay in the queue. Only one Run may be active.
func (q *Queue[T]) Run(done <-chan struct{}, handOver func(T)) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var due []T
	for {
		due = due[:0]
		wait := time.Hour
		q.mu.Lock()
		now := time.Now()
		for len(q.heap) > 0 {
			if next := q.heap[0].due; next.After(now) {
				wait = next.Sub(now)
				break
			}
			due = append(due, q.pop())
		}
		q.mu.Unlock()
		for _, thing := range due {
			handOver(thing)
		}
		if len(due) > 0 { // handOver took time: check again
			clear(due)
			select {
			case <-done:
				return
			default:
			}
			continue
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-q.wake:
		case <-done:
			return
		}
	}
}

// rise moves the last element up to its place and returns the place.
func (q *Queue[T]) rise() int {
	i := len(q.heap) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if !q.heap[i].before(&q.heap[parent]) {
			break
		}
		q.heap[i], q.heap[parent] = q.heap[parent], q.heap[i]
		i = parent
	}
	return i
}

// pop removes the first element.
func (q *Queue[T]) pop() T {
	last := len(q.heap) - 1
	first := q.heap[0].thing
	q.heap[0] = q.heap[last]
	q.heap[last] = held[T]{}
	q.heap = q.heap[:last]
	for i := 0; ; {
		child := 2*i + 1
		if child >= last {
			break
		}
		if child+1 < last && q.heap[child+1].before(&q.heap[child]) {
			child++
		}
		if !q.heap[child].before(&q.heap[i]) {
			break
		}
		q.heap[i], q.heap[child] = q.heap[child], q.heap[i]
		i = child
	}
	return first
}

// MaxWait is how long a packet may wait for a narrow line before it is dropped, as in
// the buffer of a router.
const MaxWait = 300 * time.Millisecond

// Line is one direction of a network line. The zero value has no limit. It is not safe
// for concurrent use.
type Line struct {
	BitsPerSecond uint64    // 0: without limit
	free          time.Time // end of the transmission of earlier packets
}

// Transmit returns the end of the transmission of a packet of size bytes that arrives
// at the given time. It returns false when the packet would wait longer than [MaxWait].
func (l *Line) Transmit(at time.Time, size int) (time.Time, bool) {
	if l.BitsPerSecond == 0 {
		return at, true
	}
	start := at
	if l.free.After(start) {
		start = l.free
	}
	if start.Sub(at) > MaxWait {
		return time.Time{}, false
	}
	l.free = start.Add(time.Duration(uint64(size) * 8 * uint64(time.Second) / l.BitsPerSecond))
	return l.free, true
}
