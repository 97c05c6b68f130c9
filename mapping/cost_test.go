package mapping

import (
	"testing"
	"time"
)

func TestCostRoundsAndSaturates(t *testing.T) {
	for _, tt := range []struct {
		d, want time.Duration
	}{
		{0, 0}, {-time.Second, 0}, {time.Millisecond, time.Millisecond}, {7 * time.Microsecond, 0},
		{8 * time.Microsecond, 15625 * time.Nanosecond}, {time.Minute, 65535 * CostUnit},
	} {
		if got := CostOf(tt.d).Duration(); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.d, got, tt.want)
		}
	}
}

func TestCostsMeanAndNearest(t *testing.T) {
	c := NewCosts(2, 3)
	copy(c.Row(0), []Cost{10, 20, 30})
	copy(c.Row(1), []Cost{90, 20, 10})
	row := make([]Cost, 3)
	c.Mean(row, []Sample{{0, 1}, {1, 3}}, []uint16{0, 1, 2})
	if row[0] != 70 || row[1] != 20 || row[2] != 15 {
		t.Errorf("the mean is %v, want [70 20 15]", row)
	}
	if got := Nearest(row, []uint16{0, 1}); got != 1 {
		t.Errorf("the nearest of sites 0 and 1 is %d, want 1", got)
	}
	if got := Nearest([]Cost{5, 5}, []uint16{1, 0}); got != 1 {
		t.Errorf("of equal sites the nearest is %d, want the first, 1", got)
	}
}
