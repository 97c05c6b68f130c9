// Package metrics holds the counters, gauges and histograms of one Node and writes them
// in the OpenMetrics text format.
//
// Nothing here is global. Each Node owns a [Registry], so fifty Nodes can run in one
// process. Hot paths use only atomics through stored pointers. Label values are listed
// when a metric is made. Callers select one by index, never by string.
// github.com/prometheus/client_golang writes the text format. All metrics are safe for
// concurrent use.
//
// Names start with "perto_", have a base unit (_seconds, _bytes) and, for counters, end
// in _total. This is checked when the metric is made. Start with [New].
package metrics

import (
	"fmt"
	"math"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Registry is the set of metrics of one Node. Metrics are made at start, each name
// once. Making one with a bad name or no help is a bug and panics.
type Registry struct {
	reg *prometheus.Registry
}

// New returns an empty registry.
func New() *Registry { return &Registry{reg: prometheus.NewRegistry()} }

// Handler serves the metrics over HTTP in the format that the scraper requests
// (OpenMetrics 1.0 or the Prometheus text format).
func (r *Registry) Handler() http.Handler {
	return promhttp.HandlerFor(r.reg, promhttp.HandlerOpts{EnableOpenMetrics: true})
}

// Gather returns the value of every sample by name, with its labels as in the text
// format: `perto_x_total{outcome="hit"}`. Histograms give their _count and _sum. Gather
// is for status pages and tests.
func (r *Registry) Gather() (map[string]float64, error) {
	families, err := r.reg.Gather()
	if err != nil {
		return nil, err
	}
	out := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var key strings.Builder
			key.WriteString(f.GetName())
			for i, l := range m.GetLabel() {
				sep := ","
				if i == 0 {
					sep = "{"
				}
				key.WriteString(fmt.Sprintf("%s%s=%q", sep, l.GetName(), l.GetValue()))
			}
			if len(m.GetLabel()) > 0 {
				key.WriteString("}")
			}
			switch {
			case m.Counter != nil:
				out[key.String()] = m.Counter.GetValue()
			case m.Gauge != nil:
				out[key.String()] = m.Gauge.GetValue()
			case m.Histogram != nil:
				out[key.String()+"_count"] = float64(m.Histogram.GetSampleCount())
				out[key.String()+"_sum"] = m.Histogram.GetSampleSum()
			}
		}
	}
	return out, nil
}

var nameForm = regexp.MustCompile(`^perto_[a-z][a-z0-9]*(_[a-z0-9]+)*$`)

func desc(name, help string, label string) *prometheus.Desc {
	if !nameForm.MatchString(name) || help == "" {
		panic("metrics: bad name or no help: " + name)
	}
	var labels []string
	if label != "" {
		labels = []string{label}
	}
	return prometheus.NewDesc(name, help, labels, nil)
}

// Counter counts events. Add and Inc are one atomic addition.
type Counter struct {
	n atomic.Uint64
	_ [56]byte // a cache line of its own, to avoid false sharing
}

// Inc adds one.
func (c *Counter) Inc() { c.n.Add(1) }

// Add adds n.
func (c *Counter) Add(n uint64) { c.n.Add(n) }

// Value returns the count so far.
func (c *Counter) Value() uint64 { return c.n.Load() }

// Counter makes a counter without labels.
func (r *Registry) Counter(name, help string) *Counter {
	return &r.CounterSet(name, help, "", "")[0]
}

// CounterSet makes one counter for each value of a label. The caller indexes the result
// with its enum and passes the enum's names in order.
func (r *Registry) CounterSet(name, help, label string, values ...string) []Counter {
	if !strings.HasSuffix(name, "_total") {
		panic("metrics: counter does not end in _total: " + name)
	}
	cs := make([]Counter, len(values))
	r.reg.MustRegister(&collector{desc: desc(name, help, label), collect: func(d *prometheus.Desc, ch chan<- prometheus.Metric) {
		for i := range cs {
			ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(cs[i].Value()), labelValue(label, values[i])...)
		}
	}})
	return cs
}

// CounterFunc makes a counter with a value that another component stores.
func (r *Registry) CounterFunc(name, help string, read func() uint64) {
	if !strings.HasSuffix(name, "_total") {
		panic("metrics: counter does not end in _total: " + name)
	}
	r.reg.MustRegister(&collector{desc: desc(name, help, ""), collect: func(d *prometheus.Desc, ch chan<- prometheus.Metric) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(read()))
	}})
}

// Gauge makes a gauge that is read at each scrape.
func (r *Registry) Gauge(name, help string, read func() float64) {
	r.reg.MustRegister(&collector{desc: desc(name, help, ""), collect: func(d *prometheus.Desc, ch chan<- prometheus.Metric) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, read())
	}})
}

// GaugeSet makes a gauge with one label and a changing set of values (replicas,
// services). read calls its argument once for each value.
func (r *Registry) GaugeSet(name, help, label string, read func(sample func(value string, v float64))) {
	r.reg.MustRegister(&collector{desc: desc(name, help, label), collect: func(d *prometheus.Desc, ch chan<- prometheus.Metric) {
		read(func(value string, v float64) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, value)
		})
	}})
}

// CounterSetFunc is GaugeSet for counters that another component stores.
func (r *Registry) CounterSetFunc(name, help, label string, read func(sample func(value string, n uint64))) {
	if !strings.HasSuffix(name, "_total") {
		panic("metrics: counter does not end in _total: " + name)
	}
	r.reg.MustRegister(&collector{desc: desc(name, help, label), collect: func(d *prometheus.Desc, ch chan<- prometheus.Metric) {
		read(func(value string, n uint64) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), value)
		})
	}})
}

// HistogramSetFunc is GaugeSet for histograms that another component stores. Its name
// ends in _seconds.
func (r *Registry) HistogramSetFunc(name, help, label string, read func(sample func(value string, h *Histogram))) {
	mustBeSeconds(name)
	r.reg.MustRegister(&collector{desc: desc(name, help, label), collect: func(d *prometheus.Desc, ch chan<- prometheus.Metric) {
		read(func(value string, h *Histogram) { ch <- h.metric(d, value) })
	}})
}

func mustBeSeconds(name string) {
	if !strings.HasSuffix(name, "_seconds") {
		panic("metrics: histogram does not end in _seconds: " + name)
	}
}

// metric returns the current state of the histogram.
func (h *Histogram) metric(d *prometheus.Desc, labels ...string) prometheus.Metric {
	var count uint64
	cumulative := make(map[float64]uint64, histogramBuckets)
	for b := range histogramBuckets {
		count += h.buckets[b].Load()
		cumulative[histogramFirst*math.Exp2(float64(b)/bucketsPerOctave)] = count
	}
	count += h.buckets[histogramBuckets].Load()
	return prometheus.MustNewConstHistogram(d, count, float64(h.sumNano.Load())/1e9, cumulative, labels...)
}

// histogramBuckets are upper bounds in seconds, four an octave from 8 µs to about 8 s.
// A value is therefore accurate to 19 %.
const (
	histogramBuckets   = 80
	histogramFirst     = 8e-6 // seconds
	bucketsPerOctave   = 4
	histogramFirstNano = 8_000
)

// Histogram counts durations in buckets of constant relative width. Observe is
// two atomic additions.
type Histogram struct {
	buckets [histogramBuckets + 1]atomic.Uint64 // the last is +Inf
	sumNano atomic.Uint64
}

// Observe adds one duration. A negative one counts as zero.
func (h *Histogram) Observe(d time.Duration) {
	h.buckets[bucketOf(d)].Add(1)
	h.sumNano.Add(uint64(max(0, d)))
}

func bucketOf(d time.Duration) int {
	if d <= histogramFirstNano {
		return 0
	}
	i := int(math.Ceil(math.Log2(float64(d)/histogramFirstNano) * bucketsPerOctave))
	return min(i, histogramBuckets)
}

// Histogram makes a histogram of durations. Its name ends in _seconds.
func (r *Registry) Histogram(name, help string) *Histogram {
	return &r.HistogramSet(name, help, "", "")[0]
}

// HistogramSet makes one histogram for each value of a label, in the order of the
// caller's enum.
func (r *Registry) HistogramSet(name, help, label string, values ...string) []Histogram {
	mustBeSeconds(name)
	hs := make([]Histogram, len(values))
	r.reg.MustRegister(&collector{desc: desc(name, help, label), collect: func(d *prometheus.Desc, ch chan<- prometheus.Metric) {
		for i := range hs {
			ch <- hs[i].metric(d, labelValue(label, values[i])...)
		}
	}})
	return hs
}

type collector struct {
	desc    *prometheus.Desc
	collect func(*prometheus.Desc, chan<- prometheus.Metric)
}

func (c *collector) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }
func (c *collector) Collect(ch chan<- prometheus.Metric) { c.collect(c.desc, ch) }

func labelValue(label, value string) []string {
	if label == "" {
		return nil
	}
	return []string{value}
}
