package replicas

import (
	"fmt"
	"time"
)

// Flap damping: a replica that goes down again soon is held down, so that answers do
// not change with each flap. A hold-down delays only the return. A death always removes
// at once. A removal after a farewell is no death, so planned restarts do not count.
const (
	// flapWindow is how long a death counts against a replica.
	flapWindow = 10 * time.Minute
	// shortHold is how long the second death in the window keeps a replica down. It is
	// long enough to see whether deaths follow one another.
	shortHold = time.Minute
	// noiseDeaths is from how many deaths in the window on they are noise. The replica
	// then returns after a whole window without a death.
	noiseDeaths = 3
)

// holdDown keeps the newest deaths of a replica.
type holdDown struct {
	deaths []time.Time // inside flapWindow, oldest first; at most maxDeaths
	until  time.Time   // earliest return
}

// maxDeaths bounds the deaths that are kept. More than that are shown as "16th".
const maxDeaths = 16

// died records a death. Deaths while the replica is held down count too: such a replica
// would flap.
func (h *holdDown) died(now time.Time) {
	for len(h.deaths) > 0 && (now.Sub(h.deaths[0]) > flapWindow || len(h.deaths) == maxDeaths) {
		h.deaths = h.deaths[1:]
	}
	h.deaths = append(h.deaths, now)
	hold := time.Duration(0)
	switch n := len(h.deaths); {
	case n >= noiseDeaths:
		hold = flapWindow
	case n == 2:
		hold = shortHold
	}
	if until := now.Add(hold); until.After(h.until) {
		h.until = until
	}
}

// reason states a hold-down for people.
func (h *holdDown) reason() string {
	return fmt.Sprintf("held down until %s, its %s death in %d minutes", h.until.UTC().Format("15:04:05 UTC"), ordinal(len(h.deaths)), int(flapWindow.Minutes()))
}

// ordinal returns "2nd", "3rd" or "11th".
func ordinal(n int) string {
	suffix := "th"
	if n%100/10 != 1 {
		switch n % 10 {
		case 1:
			suffix = "st"
		case 2:
			suffix = "nd"
		case 3:
			suffix = "rd"
		}
	}
	return fmt.Sprintf("%d%s", n, suffix)
}
