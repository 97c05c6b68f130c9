package replicas

import "time"

// Flap damping: a replica that comes back and fails again is held down longer each
// time, so that answers do not change with each flap. A removal after a farewell is no
// failure: planned restarts count nothing.
const (
	// flapWindow is how long a removal counts against a replica.
	flapWindow = time.Minute
	// firstHold is how long the second removal in the window lasts at least. It doubles
	// with each further removal. A replica that flaps at 1 Hz must not change answers
	// more than about once in 10 s.
	firstHold = 10 * time.Second
	maxHold   = time.Minute
)

// holdDown counts removals.
type holdDown struct {
	count int // removals without a quiet window between them
	last  time.Time
	until time.Time // earliest return
}

// removed records a removal.
func (f *holdDown) removed(now time.Time) {
	if now.Sub(f.last) > flapWindow+f.hold() {
		f.count = 0
	}
	f.count++
	f.last = now
	f.until = now.Add(f.hold())
}

// hold returns how long the last removal lasts at least. The first removal has no
// minimum.
func (f *holdDown) hold() time.Duration {
	if f.count < 2 {
		return 0
	}
	return min(firstHold<<min(f.count-2, 8), maxHold)
}
