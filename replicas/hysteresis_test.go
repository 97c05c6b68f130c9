package replicas

import (
	"strings"
	"testing"
	"time"
)

func TestHysteresis(t *testing.T) {
	tests := []struct {
		name, results string // + good, - bad, ! refused
		want          verdict
	}{
		{"nothing", "", undecided},
		{"the first good answer decides", "+", good},
		{"too few bad answers", "--", undecided},
		{"enough bad answers", "---", bad},
		{"too few after good ones", "+++--", good},
		{"single good answers do not hide failures", "++-+-+-", bad},
		{"a good run does", "++--++--", good},
		{"one good answer does not bring it back", "---+", bad},
		{"interrupted good answers neither", "---+-+", bad},
		{"a run does", "---++", good},
		{"a refusal needs no confirmation", "+++!", bad},
		{"but a run undoes it", "+++!++", good},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := hysteresis{up: 2, down: 3}
			for _, r := range tt.results {
				switch r {
				case '+':
					d.success()
				case '-':
					d.failure()
				case '!':
					d.refuse()
				}
			}
			if d.verdict != tt.want {
				t.Errorf("%q: got %d, want %d", tt.results, d.verdict, tt.want)
			}
		})
	}
}

func TestHoldDownGrowsWithEachDeath(t *testing.T) {
	now := time.Unix(0, 0)
	var h holdDown
	for i, tt := range []struct {
		after, want time.Duration
		reason      string
	}{
		{0, 0, "1st"}, {time.Second, shortHold, "2nd"}, {time.Second, flapWindow, "3rd"}, {9 * time.Minute, flapWindow, "4th"},
		{11 * time.Minute, 0, "1st"}, {9 * time.Minute, shortHold, "2nd"}, {9 * time.Minute, shortHold, "2nd"},
	} {
		now = now.Add(tt.after)
		h.died(now)
		if got := h.until.Sub(now); got != tt.want {
			t.Errorf("death %d: held for %v, want %v", i+1, got, tt.want)
		}
		if got := h.reason(); !strings.Contains(got, "its "+tt.reason+" death in 10 minutes") {
			t.Errorf("death %d: got %q", i+1, got)
		}
	}
	for range 3 * maxDeaths {
		h.died(now)
	}
	if len(h.deaths) != maxDeaths || h.until.Sub(now) != flapWindow {
		t.Errorf("got %d deaths, held for %v", len(h.deaths), h.until.Sub(now))
	}
	for n, want := range map[int]string{1: "1st", 2: "2nd", 3: "3rd", 4: "4th", 11: "11th", 12: "12th", 13: "13th", 21: "21st"} {
		if got := ordinal(n); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
