package metrics

import (
	"math"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestRegistryWritesMetrics(t *testing.T) {
	r := New()
	queries := r.CounterSet("perto_test_queries_total", "Queries by outcome.", "outcome", "hit", "miss")
	queries[1].Add(3)
	r.Gauge("perto_test_load", "Load now.", func() float64 { return 0.5 })
	r.GaugeSet("perto_test_up", "Whether a replica is up.", "replica", func(sample func(string, float64)) {
		sample("gru-1", 1)
		sample("gru-2", 0)
	})
	r.CounterFunc("perto_test_reads_total", "Reads.", func() uint64 { return 9 })
	h := r.Histogram("perto_test_wait_seconds", "Waiting time.")
	h.Observe(2 * time.Second)
	h.Observe(-time.Second)

	got, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{
		`perto_test_queries_total{outcome="hit"}`:  0,
		`perto_test_queries_total{outcome="miss"}`: 3,
		`perto_test_load`:                          0.5,
		`perto_test_up{replica="gru-1"}`:           1,
		`perto_test_up{replica="gru-2"}`:           0,
		`perto_test_reads_total`:                   9,
		`perto_test_wait_seconds_count`:            2,
		`perto_test_wait_seconds_sum`:              2,
	}
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s: got %v, want %v", name, got[name], value)
		}
	}
	if len(got) != len(want) {
		t.Errorf("got %d samples, want %d: %v", len(got), len(want), got)
	}

	w := httptest.NewRecorder()
	req := httptest.NewRequest("GET", "/metrics", nil)
	req.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
	r.Handler().ServeHTTP(w, req)
	for _, line := range []string{`perto_test_queries_total{outcome="miss"} 3.0`, "# HELP perto_test_load Load now.", "# EOF"} {
		if !strings.Contains(w.Body.String(), line) {
			t.Errorf("the exposition lacks %q:\n%s", line, w.Body)
		}
	}
}

func TestHistogramBucketContainsValue(t *testing.T) {
	for _, d := range []time.Duration{0, time.Microsecond, 128 * time.Microsecond, 129 * time.Microsecond, time.Millisecond, 40 * time.Millisecond, 7 * time.Second} {
		b := bucketOf(d)
		upper := histogramFirst * math.Exp2(float64(b)/bucketsPerOctave)
		if d.Seconds() > upper*1.0001 {
			t.Errorf("%v lies above its bucket's bound %v s", d, upper)
		}
		if b > 0 && d.Seconds() <= histogramFirst*math.Exp2(float64(b-1)/bucketsPerOctave)*0.9999 {
			t.Errorf("%v lies in bucket %d, but also below the bound before it", d, b)
		}
	}
	if got := bucketOf(time.Hour); got != histogramBuckets {
		t.Errorf("an hour: got bucket %d, want the last", got)
	}
}

func TestMetricsRefuseBadNames(t *testing.T) {
	tests := []struct {
		name string
		make func(*Registry)
	}{
		{"no prefix", func(r *Registry) { r.Counter("queries_total", "x") }},
		{"counter without _total", func(r *Registry) { r.Counter("perto_queries", "x") }},
		{"histogram without unit", func(r *Registry) { r.Histogram("perto_wait", "x") }},
		{"no help", func(r *Registry) { r.Counter("perto_queries_total", "") }},
		{"upper case", func(r *Registry) { r.Gauge("perto_Load", "x", nil) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("was accepted")
				}
			}()
			tt.make(New())
		})
	}
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	r := New()
	c := r.Counter("perto_test_x_total", "x")
	h := r.Histogram("perto_test_x_seconds", "x")
	if n := testing.AllocsPerRun(100, func() { c.Inc(); h.Observe(time.Millisecond) }); n != 0 {
		t.Errorf("got %v allocations, want 0", n)
	}
}

// TestFuncSetsReadCurrentValues covers counters and histograms that another component stores.
func TestFuncSetsReadCurrentValues(t *testing.T) {
	r := New()
	var h Histogram
	h.Observe(time.Millisecond)
	h.Observe(time.Millisecond)
	r.CounterSetFunc("perto_things_total", "Things.", "thing", func(sample func(string, uint64)) { sample("a", 3) })
	r.HistogramSetFunc("perto_thing_seconds", "Time of things.", "thing", func(sample func(string, *Histogram)) { sample("a", &h) })
	got, err := r.Gather()
	if err != nil || got[`perto_things_total{thing="a"}`] != 3 || got[`perto_thing_seconds{thing="a"}_count`] != 2 {
		t.Errorf("got %v, %v", got, err)
	}
	for name, make := range map[string]func(){
		"counter":   func() { r.CounterSetFunc("perto_bad", "Bad.", "x", nil) },
		"histogram": func() { r.HistogramSetFunc("perto_bad", "Bad.", "x", nil) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("a %s with a bad name was made", name)
				}
			}()
			make()
		}()
	}
}
