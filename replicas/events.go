package replicas

import (
	"sync"
	"time"

	"perto"
)

// maxEvents is how many changes are kept for status pages.
const maxEvents = 256

// Event is one change of a replica's state.
type Event struct {
	Time    time.Time     `json:"time"`
	Replica perto.Replica `json:"replica"`
	From    State         `json:"from"`
	To      State         `json:"to"`
	Reason  string        `json:"reason"`
}

// eventRing keeps the last events. The zero ring is empty.
type eventRing struct {
	mu    sync.Mutex
	ring  [maxEvents]Event
	count int // events ever added
}

func (r *eventRing) add(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ring[r.count%maxEvents] = e
	r.count++
}

// list returns the events, oldest first.
func (r *eventRing) list() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := min(r.count, maxEvents)
	out := make([]Event, 0, n)
	for i := r.count - n; i < r.count; i++ {
		out = append(out, r.ring[i%maxEvents])
	}
	return out
}
