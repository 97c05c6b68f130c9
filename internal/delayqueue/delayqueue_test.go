package delayqueue

import (
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestQueueHandsOverWhenDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New[time.Duration]()
		done := make(chan struct{})
		start := time.Now()
		var got []time.Duration
		go h.Run(done, func(d time.Duration) {
			if at := time.Since(start); at != d {
				t.Errorf("an item due after %[2]v was handed over after %[1]v", at, d)
			}
			got = append(got, d)
		})
		draw := rand.New(rand.NewPCG(1, 2))
		for range 500 { // while Run sleeps for earlier items
			d := time.Duration(draw.IntN(1000)) * time.Millisecond
			h.Hold(start.Add(d), d)
		}
		time.Sleep(2 * time.Second)
		close(done)
		synctest.Wait()
		if len(got) != 500 || !slices.IsSorted(got) || h.Len() != 0 {
			t.Errorf("handed over %d, sorted %v, %d left", len(got), slices.IsSorted(got), h.Len())
		}
	})
}

func TestQueueKeepsOrderWithinAnInstant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New[int]()
		due := time.Now().Add(time.Second)
		var want []int
		for i := range 100 {
			h.Hold(due, i)
			want = append(want, i)
		}
		var got []int
		done := make(chan struct{})
		go h.Run(done, func(i int) { got = append(got, i) })
		time.Sleep(time.Second)
		synctest.Wait()
		close(done)
		if !slices.Equal(got, want) {
			t.Errorf("got %v", got)
		}
	})
}

func TestQueueRunEndsWithDueItems(t *testing.T) {
	h := New[int]()
	done := make(chan struct{})
	n := 0
	h.Hold(time.Now(), 0)
	h.Run(done, func(int) { // this would never end
		if n++; n == 10 {
			close(done)
		}
		h.Hold(time.Now(), n)
	})
	if n != 10 {
		t.Errorf("handed over %d after its end", n-10)
	}
}

func TestLineDelaysPackets(t *testing.T) {
	l := Line{BitsPerSecond: 8_000_000} // a megabyte a second
	now := time.Now()
	for i := 1; i <= 4; i++ {
		through, ok := l.Transmit(now, 100_000)
		if want := now.Add(time.Duration(i) * 100 * time.Millisecond); !ok || !through.Equal(want) {
			t.Errorf("packet %d is through after %v, %v", i, through.Sub(now), ok)
		}
	}
	if _, ok := l.Transmit(now, 100_000); ok {
		t.Error("a packet waits longer than MaxWait")
	}
	if through, ok := (&Line{}).Transmit(now, 1<<30); !ok || !through.Equal(now) {
		t.Error("a line without limit takes time")
	}
}
