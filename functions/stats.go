package functions

import (
	"errors"
	"sync/atomic"
	"time"

	"perto/metrics"
)

// End is the way in which a call of a function ended.
type End uint8

// The ways to end.
const (
	Answered   End = iota
	Deadlined      // ended by the time limit
	Crashed        // ended by a trap or a wrong host call
	TooLarge       // ended because its response was too large
	Busy           // not run: no instance was free
	NextFailed     // the next handler failed
	Ends
)

// EndNames are label values, by End.
var EndNames = [Ends]string{"answered", "deadline", "crash", "too_large", "busy", "next_failed"}

// Stats counts the requests of a function. Versions of a function may share one. The
// zero value is ready.
type Stats struct {
	Ended   [Ends]metrics.Counter
	Cold    metrics.Counter // instances made
	Seconds metrics.Histogram

	Instances atomic.Int64 // instances that exist
	Memory    atomic.Int64 // their memory in bytes
}

func (s *Stats) count(c *call, err error, took time.Duration) {
	s.Ended[endOf(c, err)].Inc()
	s.Seconds.Observe(took - c.away)
}

func endOf(c *call, err error) End {
	switch {
	case err == nil:
		return Answered
	case errors.Is(err, ErrDeadline):
		return Deadlined
	case errors.Is(err, ErrResponse):
		return TooLarge
	case errors.Is(err, ErrBusy), c.ctx.Err() != nil:
		return Busy
	case errors.Is(err, ErrTrap):
		return Crashed
	}
	return NextFailed
}

// born counts a new instance and its memory.
func (s *Stats) born(in *instance) {
	s.Instances.Add(1)
	s.grown(in)
}

func (s *Stats) grown(in *instance) {
	if n := int64(in.pages()) * pageBytes; n != in.counted {
		s.Memory.Add(n - in.counted)
		in.counted = n
	}
}

func (s *Stats) died(in *instance) {
	s.Instances.Add(-1)
	s.Memory.Add(-in.counted)
}
