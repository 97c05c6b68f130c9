package edge

import (
	"testing"

	"perto/edge/fetch"
	"perto/internal/simnet"
	"perto/metrics"
)

// TestResponsesCountClasses: every status has a class, without a panic for odd ones.
func TestResponsesCountClasses(t *testing.T) {
	var c responses
	for _, status := range []int{0, 103, 200, 206, 304, 404, 421, 503, 599, 999} {
		c.count(status)
	}
	got := make(map[string]uint64)
	c.sample("s", func(n uint64, values ...string) { got[values[1]] += n })
	want := map[string]uint64{"other": 3, "2xx": 2, "3xx": 1, "4xx": 2, "5xx": 2}
	for class, n := range want {
		if got[class] != n {
			t.Errorf("%s: got %d, want %d", class, got[class], n)
		}
	}
	if n := testing.AllocsPerRun(100, func() { c.count(200) }); n != 0 {
		t.Errorf("counting allocates %v times", n)
	}
}

// TestMetricsOfOneOriginAddressWithTwoSchemes: equal labels would make the whole page of
// metrics fail.
func TestMetricsOfOneOriginAddressWithTwoSchemes(t *testing.T) {
	r := metrics.New()
	e, err := New(Config{Name: "x", Network: simnet.New(0, simnet.Link{}).Named("edge"), Metrics: r})
	if err != nil {
		t.Fatal(err)
	}
	urls := []string{"http://o.example:8443", "https://o.example:8443"}
	for _, u := range urls {
		if _, err := e.client.Upstream([]fetch.Origin{{URL: u}}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range urls {
		if got[`perto_origin_well{origin="`+u+`"}`] != 1 {
			t.Errorf("%s is missing in %v", u, got)
		}
	}
}
