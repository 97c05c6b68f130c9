package metrics

import (
	"net/http/httptest"
	"reflect"
	"regexp"
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
	for _, d := range []time.Duration{0, 1, time.Microsecond, 50 * time.Microsecond, 50*time.Microsecond + 1, 64 * time.Microsecond, 65 * time.Microsecond, time.Millisecond, 40 * time.Millisecond, 7 * time.Second, time.Minute, time.Hour} {
		want := 0
		for want < len(bounds) && d > bounds[want] {
			want++
		}
		if got := bucketOf(d); got != want {
			t.Errorf("%v: got bucket %d, want %d", d, got, want)
		}
	}
	for _, b := range bounds {
		for _, d := range []time.Duration{b - 1, b, b + 1} {
			if i := bucketOf(d); i < len(bounds) && d > bounds[i] || i > 0 && d <= bounds[i-1] {
				t.Errorf("%v: bucket %d does not contain it", d, i)
			}
		}
	}
}

// TestHistogramShowsRoundBounds: the text has no bound like 9.513656920021768e-06.
func TestHistogramShowsRoundBounds(t *testing.T) {
	r := New()
	r.Histogram("perto_test_x_seconds", "x").Observe(3 * time.Millisecond)
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, line := range []string{`perto_test_x_seconds_bucket{le="0.0025"} 0`, `perto_test_x_seconds_bucket{le="0.005"} 1`, `perto_test_x_seconds_bucket{le="60"} 1`} {
		if !strings.Contains(w.Body.String(), line) {
			t.Errorf("%q is missing in\n%s", line, w.Body)
		}
	}
	for _, le := range regexp.MustCompile(`le="([^"]+)"`).FindAllStringSubmatch(w.Body.String(), -1) {
		if len(le[1]) > len("0.00025") {
			t.Errorf("the bound %s is not round", le[1])
		}
	}
}

func TestMetricsRefuseBadNames(t *testing.T) {
	tests := []struct {
		name string
		make func(*Registry)
	}{
		{"no prefix", func(r *Registry) { r.Counter("queries_total", "x") }},
		{"counter without _total", func(r *Registry) { r.Counter("perto_queries", "x") }},
		{"gauge with _total", func(r *Registry) { r.Gauge("perto_queries_total", "x", nil) }},
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

// TestSeriesDescribesMetrics: also one without samples is listed.
func TestSeriesDescribesMetrics(t *testing.T) {
	r := New()
	r.CounterTable("perto_b_total", "B.", []string{"x", "y"}, func(func(uint64, ...string)) {})
	r.Gauge("perto_a_bytes", "A.", func() float64 { return 1 })
	r.Process()
	got := r.Series()
	want := []Series{{"perto_a_bytes", "gauge", nil, "A."}, {"perto_b_total", "counter", []string{"x", "y"}, "B."}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	samples, err := r.Gather()
	if err != nil || samples["go_goroutines"] == 0 {
		t.Errorf("the process's metrics: %v, %v", samples, err)
	}
}

func BenchmarkObserve(b *testing.B) {
	var h Histogram
	for b.Loop() {
		h.Observe(1234567)
	}
}
