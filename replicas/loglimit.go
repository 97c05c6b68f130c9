package replicas

import "time"

// logLimit lets one line about a cause pass in logEvery, and counts the others.
type logLimit struct {
	last    time.Time
	omitted int // since last
}

// allow reports whether to write a line now. omitted is how many were not written since
// the last one.
func (l *logLimit) allow(now time.Time) (omitted int, ok bool) {
	if !l.last.IsZero() && now.Sub(l.last) < logEvery {
		l.omitted++
		return 0, false
	}
	omitted = l.omitted
	l.last, l.omitted = now, 0
	return omitted, true
}
