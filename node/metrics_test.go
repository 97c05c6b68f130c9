package node

import (
	"bytes"
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite docs/metrics.md")

const metricsHead = `# Metrics

GET /metrics at the API of a node, in the text format of OpenMetrics or Prometheus. ` + "`perto run`" + `
adds the metrics of the process and of the Go runtime (process_*, go_*), whose names are
those of the Prometheus client library. Names have base units: seconds, bytes, ratios.
[ops.md](ops.md) has the scrape, the board and the alerts. A test writes this table
(` + "`go test ./node -run MetricsAreDocumented -update`" + `).

| name | type | labels | meaning |
|---|---|---|---|
`

// TestMetricsAreDocumented: docs/metrics.md has the metrics of a node with the roles dns and
// edge.
func TestMetricsAreDocumented(t *testing.T) {
	n := started(t, testConfig(t, nil))
	var b strings.Builder
	b.WriteString(metricsHead)
	for _, s := range n.metrics.Series() {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", s.Name, s.Type, strings.Join(s.Labels, ", "), strings.ReplaceAll(s.Help, "|", `\|`))
	}
	const page = "../docs/metrics.md"
	if *update {
		if err := os.WriteFile(page, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(page); err != nil || string(got) != b.String() {
		t.Errorf("docs/metrics.md does not have the metrics of a node (%v); run this test with -update", err)
	}
}

// TestPromtoolAcceptsMetrics runs Prometheus' own checker over the metrics of a node with
// those of the process.
func TestPromtoolAcceptsMetrics(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed (Debian: apt-get install prometheus)")
	}
	cfg := testConfig(t, nil)
	cfg.Process, cfg.Version = true, "test"
	n := started(t, cfg)
	for _, host := range []string{"no.example", "shop.cdn.example"} { // so that histograms have values
		for range 3 {
			askEdge(t, n, host, "/")
		}
	}
	const (
		refused = `perto_http_responses_total{class="4xx",service="-"} 3`
		counted = `perto_http_responses_total{class="5xx",service="shop.cdn.example"} 3`
	)
	w := httptest.NewRecorder()
	for end := time.Now().Add(5 * time.Second); !(strings.Contains(w.Body.String(), counted) && strings.Contains(w.Body.String(), refused)) && time.Now().Before(end); {
		w = httptest.NewRecorder() // an edge counts a reply a moment after the client has it
		n.Metrics().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	}
	for _, want := range []string{"perto_build_info{", refused, counted,
		`perto_origin_requests_total{origin="http://127.0.0.1:1",result="failed"}`, `perto_replica_state{replica="one",state="up"}`, "process_resident_memory_bytes", "go_goroutines",
		"perto_cache_limit_bytes 2.68435456e+08", "perto_config_last_reload_successful 1", `perto_config_info{digest="`, `perto_dns_zone_serial{zone="cdn.example"} 1`} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("%q is missing in the metrics", want)
		}
	}
	check := exec.CommandContext(t.Context(), promtool, "check", "metrics")
	check.Stdin = bytes.NewReader(w.Body.Bytes())
	if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}
