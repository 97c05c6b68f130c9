package functions

import (
	"errors"
	"sync/atomic"
	"time"

	"perto/metrics"
)

// End says how a call of a function ended.
type End uint8

// The ends.
const (
	Answered   End = iota
	Deadlined      // killed: it took longer than it may
	Crashed        // killed: it trapped, or did what it must not
	TooLarge       // killed: its answer was larger than it may be
	Busy           // not run: all its instances were busy
	NextFailed     // what it let pass failed
	Ends
)

// EndNames are label values, by End.
var EndNames = [Ends]string{"answered", "deadline", "crash", "too_large", "busy", "next_failed"}

// Stats counts what becomes of a function's requests. One may be shared by the
// versions of a function. The zero value is ready.
type Stats struct {
	Ended   [Ends]metrics.Counter
	Cold    metrics.Counter // instances made
	Seconds metrics.Histogram

	Instances atomic.Int64 // that exist
	Memory    atomic.Int64 // bytes of theirs
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

// born counts an instance, and its memory as far as it has grown.
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
