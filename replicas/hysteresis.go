package replicas

// hysteresis turns a series of probe results into a state that does not flap, as gdnsd
// does. It goes down after `down` failures that were not interrupted by `up` successes
// in a row. It goes up after `up` successes in a row. A single success between failures
// therefore does not hide a server that mostly fails.
type hysteresis struct {
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

func (d *hysteresis) success() {
	d.successes++
	if d.successes >= d.up || d.verdict == undecided {
		// The first success after a start decides at once. An undecided replica is
		// assumed up already, so this changes the state's reason and not the answers.
		d.verdict, d.failures = good, 0
	}
}

func (d *hysteresis) failure() {
	d.successes = 0
	d.failures = min(d.failures+1, d.down)
	if d.failures >= d.down {
		d.verdict = bad
	}
}

// refuse records a failure that needs no confirmation.
func (d *hysteresis) refuse() {
	d.successes, d.failures, d.verdict = 0, d.down, bad
}
