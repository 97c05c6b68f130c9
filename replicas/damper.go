package replicas

import "time"

// damper turns a series of probe results into a state that does not flap, as
// gdnsd does: it goes down after `down` failures that were not interrupted by
// `up` successes in a row, and up after `up` successes in a row. A single good
// answer between failures therefore does not hide a server that mostly fails.
type damper struct {
	up, down  int
	successes int // in a row
	failures  int // since the last run of `up` successes
	verdict   verdict
}

type verdict uint8

const (
	undecided verdict = iota // fewer results than it takes to decide
	good
	bad
)

func (d *damper) success() {
	d.successes++
	if d.successes >= d.up || d.verdict == undecided {
		// The first answer after a start is believed: what is undecided is
		// assumed up already, so this changes what is known, not who serves.
		d.verdict, d.failures = good, 0
	}
}

func (d *damper) failure() {
	d.successes = 0
	d.failures = min(d.failures+1, d.down)
	if d.failures >= d.down {
		d.verdict = bad
	}
}

// refuse is a failure that needs no confirmation.
func (d *damper) refuse() {
	d.successes, d.failures, d.verdict = 0, d.down, bad
}

// Flap damping: a replica that comes back and fails again is held down longer
// each time, so that answers do not follow it up and down.
const (
	// flapWindow is how long a removal counts against a replica.
	flapWindow = time.Minute
	// firstHold is how long the second removal in the window lasts at least; it
	// doubles with each further one (a flap of 1 Hz must not change answers
	// more than about once in 10 s).
	firstHold = 10 * time.Second
	maxHold   = time.Minute
)

// flaps remembers removals.
type flaps struct {
	count int // removals without a quiet window between
	last  time.Time
	until time.Time // not up before
}

// removed notes a removal.
func (f *flaps) removed(now time.Time) {
	if now.Sub(f.last) > flapWindow+f.hold() {
		f.count = 0
	}
	f.count++
	f.last = now
	f.until = now.Add(f.hold())
}

// hold is how long the last removal lasts at least. The first is free.
func (f *flaps) hold() time.Duration {
	if f.count < 2 {
		return 0
	}
	return min(firstHold<<min(f.count-2, 8), maxHold)
}
