package metrics

import (
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// bounds are the upper bounds of a histogram's buckets. They are round, few, and the same
// for all histograms, so that dashboards can add them up. They reach from a hit of the
// cache to the longest timeout of an origin.
var bounds = [...]time.Duration{
	50 * time.Microsecond, 100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	1 * time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	1 * time.Second, 2500 * time.Millisecond, 5 * time.Second,
	10 * time.Second, 30 * time.Second, 60 * time.Second,
}

// firstBound is the first bucket that can have a duration, by the number of bits of its
// nanoseconds. One or two comparisons from there find the bucket.
var firstBound = func() (first [65]uint8) {
	for n := 1; n <= 64; n++ {
		shortest := uint64(1) << (n - 1)
		for int(first[n]) < len(bounds) && uint64(bounds[first[n]]) < shortest {
			first[n]++
		}
	}
	return first
}()

// Histogram counts durations in buckets. Observe is two atomic additions.
type Histogram struct {
	buckets [len(bounds) + 1]atomic.Uint64 // the last is +Inf
	sumNano atomic.Uint64
}

// Observe adds one duration. A negative one counts as zero.
func (h *Histogram) Observe(d time.Duration) {
	d = max(0, d)
	h.buckets[bucketOf(d)].Add(1)
	h.sumNano.Add(uint64(d))
}

// bucketOf returns the index of the first bound that is not below d.
func bucketOf(d time.Duration) int {
	i := int(firstBound[bits.Len64(uint64(d))])
	for i < len(bounds) && d > bounds[i] {
		i++
	}
	return i
}

// metric returns the current state of the histogram.
func (h *Histogram) metric(d *prometheus.Desc, labels ...string) prometheus.Metric {
	var count uint64
	cumulative := make(map[float64]uint64, len(bounds))
	for b, bound := range bounds {
		count += h.buckets[b].Load()
		cumulative[bound.Seconds()] = count
	}
	count += h.buckets[len(bounds)].Load()
	return prometheus.MustNewConstHistogram(d, count, float64(h.sumNano.Load())/1e9, cumulative, labels...)
}
