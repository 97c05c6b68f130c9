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
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Registry is the set of metrics of one Node. Metrics are made at start, each name
// once. Making one with a bad name or no help is a bug and panics.
type Registry struct {
	reg  *prometheus.Registry
	list []Series // guarded by mu
	mu   sync.Mutex
}

// New returns an empty registry.
func New() *Registry { return &Registry{reg: prometheus.NewRegistry()} }

// Series describes a metric.
type Series struct {
	Name   string
	Type   string // "counter", "gauge" or "histogram"
	Labels []string
	Help   string
}

// Series returns the descriptions of all metrics by name, also of those that have no
// sample now. The metrics of Process are not among them.
func (r *Registry) Series() []Series {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := slices.Clone(r.list)
	slices.SortFunc(out, func(a, b Series) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Process adds the metrics of this process and of the Go runtime, process_* and go_*.
// Their names are those of the Prometheus client library.
func (r *Registry) Process() {
	r.reg.MustRegister(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewGoCollector())
}

// register adds a metric.
func (r *Registry) register(kind, name, help string, labels []string, collect func(*prometheus.Desc, chan<- prometheus.Metric)) {
	if !nameForm.MatchString(name) || help == "" {
		panic("metrics: bad name or no help: " + name)
	}
	if strings.HasSuffix(name, "_total") != (kind == counter) {
		panic("metrics: exactly the counters end in _total: " + name)
	}
	if kind == histogram && !strings.HasSuffix(name, "_seconds") {
		panic("metrics: histogram does not end in _seconds: " + name)
	}
	r.reg.MustRegister(&collector{desc: prometheus.NewDesc(name, help, labels, nil), collect: collect})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, Series{Name: name, Type: kind, Labels: labels, Help: help})
}

// The types of metrics.
const (
	counter   = "counter"
	gauge     = "gauge"
	histogram = "histogram"
)

func labelsOf(label string) []string {
	if label == "" {
		return nil
	}
	return []string{label}
}

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
	cs := make([]Counter, len(values))
	r.register(counter, name, help, labelsOf(label), func(d *prometheus.Desc, ch chan<- prometheus.Metric) {
		for i := range cs {
			ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(cs[i].Value()), labelValue(label, values[i])...)
		}
	})
	return cs
}

// CounterFunc makes a counter with a value that another component stores.
func (r *Registry) CounterFunc(name, help string, read func() uint64) {
	r.register(counter, name, help, nil, func(d *prometheus.Desc, ch chan<- prometheus.Metric) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(read()))
	})
}

// Gauge makes a gauge that is read at each scrape.
func (r *Registry) Gauge(name, help string, read func() float64) {
	r.register(gauge, name, help, nil, func(d *prometheus.Desc, ch chan<- prometheus.Metric) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, read())
	})
}

// GaugeSet makes a gauge with one label and a changing set of values (replicas,
// services). read calls its argument once for each value.
func (r *Registry) GaugeSet(name, help, label string, read func(sample func(value string, v float64))) {
	r.GaugeTable(name, help, []string{label}, func(sample func(float64, ...string)) {
		read(func(value string, v float64) { sample(v, value) })
	})
}

// GaugeTable is GaugeSet with several labels.
func (r *Registry) GaugeTable(name, help string, labels []string, read func(sample func(v float64, values ...string))) {
	r.register(gauge, name, help, labels, func(d *prometheus.Desc, ch chan<- prometheus.Metric) {
		read(func(v float64, values ...string) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, values...)
		})
	})
}

// CounterSetFunc is GaugeSet for counters that another component stores.
func (r *Registry) CounterSetFunc(name, help, label string, read func(sample func(value string, n uint64))) {
	r.CounterTable(name, help, []string{label}, func(sample func(uint64, ...string)) {
		read(func(value string, n uint64) { sample(n, value) })
	})
}

// CounterTable is CounterSetFunc with several labels.
func (r *Registry) CounterTable(name, help string, labels []string, read func(sample func(n uint64, values ...string))) {
	r.register(counter, name, help, labels, func(d *prometheus.Desc, ch chan<- prometheus.Metric) {
		read(func(n uint64, values ...string) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), values...)
		})
	})
}

// HistogramSetFunc is GaugeSet for histograms that another component stores. Its name
// ends in _seconds.
func (r *Registry) HistogramSetFunc(name, help, label string, read func(sample func(value string, h *Histogram))) {
	r.register(histogram, name, help, []string{label}, func(d *prometheus.Desc, ch chan<- prometheus.Metric) {
		read(func(value string, h *Histogram) { ch <- h.metric(d, value) })
	})
}

// Histogram makes a histogram of durations. Its name ends in _seconds.
func (r *Registry) Histogram(name, help string) *Histogram {
	return &r.HistogramSet(name, help, "", "")[0]
}

// HistogramSet makes one histogram for each value of a label, in the order of the
// caller's enum.
func (r *Registry) HistogramSet(name, help, label string, values ...string) []Histogram {
	hs := make([]Histogram, len(values))
	r.register(histogram, name, help, labelsOf(label), func(d *prometheus.Desc, ch chan<- prometheus.Metric) {
		for i := range hs {
			ch <- hs[i].metric(d, labelValue(label, values[i])...)
		}
	})
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
