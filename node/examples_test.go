package node

import (
	"encoding/json"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const opsFiles = "../examples/ops/"

// boardPanel is a panel of the Grafana board.
type boardPanel struct {
	Title   string
	Type    string
	Targets []struct{ Expr string }
}

// expressions returns the queries of the board and of the alert rules, by their names.
func expressions(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(opsFiles + "board.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct{ Panels []boardPanel }
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	out := make(map[string]string)
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			out["panel "+p.Title] += target.Expr + "\n"
		}
		if len(p.Targets) == 0 && p.Type != "row" {
			t.Errorf("the panel %s has no query", p.Title)
		}
	}
	text, err = os.ReadFile(opsFiles + "alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range strings.Split(string(text), "- alert: ")[1:] {
		name, rest, _ := strings.Cut(rule, "\n")
		expr, _, _ := strings.Cut(rest, "labels:")
		out["alert "+name] = expr
	}
	if len(out) < 30 {
		t.Fatalf("found only %d queries", len(out))
	}
	return out
}

// TestBoardAndAlertsUseExistingSeries compares names, labels and some label values with the
// metrics of a running node.
func TestBoardAndAlertsUseExistingSeries(t *testing.T) {
	cfg := testConfig(t, nil)
	cfg.Process, cfg.Version = true, "test"
	n := started(t, cfg)
	w := httptest.NewRecorder()
	n.Metrics().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	labels := map[string][]string{"up": nil}
	for _, s := range n.metrics.Series() {
		labels[s.Name] = s.Labels
	}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE ((?:process|go)_\S+)`).FindAllStringSubmatch(w.Body.String(), -1) {
		labels[m[1]] = nil
	}
	series := regexp.MustCompile(`\b(up|(?:perto|process|go)_[a-z0-9_]+)\b(\{[^}]*\})?`)
	label := regexp.MustCompile(`([a-z_]+)(=~?|!=|!~)"([^"]*)"`)
	for where, expr := range expressions(t) {
		found := false
		for _, m := range series.FindAllStringSubmatch(expr, -1) {
			found = true
			name := m[1]
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				if _, ok := labels[name]; !ok {
					name = strings.TrimSuffix(name, suffix)
				}
			}
			known, ok := labels[name]
			if !ok {
				t.Errorf("%s: no node has the series %s", where, m[1])
				continue
			}
			for _, l := range label.FindAllStringSubmatch(m[2], -1) {
				if l[1] == "job" || l[1] == "instance" { // added by Prometheus
					continue
				}
				if !slices.Contains(known, l[1]) {
					t.Errorf("%s: %s has no label %s", where, name, l[1])
				}
				for value := range strings.SplitSeq(l[3], "|") {
					if !strings.Contains(w.Body.String(), l[1]+`="`+value+`"`) && l[1] != "class" && l[1] != "result" {
						t.Errorf("%s: no series has %s=%q", where, l[1], value)
					}
				}
			}
		}
		if !found {
			t.Errorf("%s: no series in %q", where, expr)
		}
	}
}

// TestPromtoolAcceptsExamples checks the alert rules and the scrape.
func TestPromtoolAcceptsExamples(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed (Debian: apt-get install prometheus)")
	}
	for _, args := range [][]string{{"check", "rules", opsFiles + "alerts.yml"}, {"check", "config", "--syntax-only", opsFiles + "prometheus.yml"}} {
		if out, err := exec.CommandContext(t.Context(), promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %q: %v\n%s", args, err, out)
		}
	}
}
