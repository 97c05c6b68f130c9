package replicas

import (
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

func TestHoldDownGrowsWithEachRemoval(t *testing.T) {
	now := time.Unix(0, 0)
	var f holdDown
	for i, want := range []time.Duration{0, 10 * time.Second, 20 * time.Second, 40 * time.Second, time.Minute, time.Minute} {
		now = now.Add(want + time.Second)
		f.removed(now)
		if got := f.until.Sub(now); got != want {
			t.Errorf("removal %d: held for %v, want %v", i+1, got, want)
		}
	}
	now = now.Add(3 * time.Minute)
	f.removed(now)
	if got := f.until.Sub(now); got != 0 {
		t.Errorf("after a quiet time: held for %v, want 0", got)
	}
}
