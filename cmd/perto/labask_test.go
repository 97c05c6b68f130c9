package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"perto/lab"
	"perto/mapping"
)

// asker runs commands with the API of a lab.
type asker struct {
	t   *testing.T
	api string
}

// ask runs a command. It returns its exit code, its output and its diagnostics.
func (a *asker) ask(args ...string) (code int, out, diagnostics string) {
	a.t.Helper()
	var o, d strings.Builder
	code = run(a.t.Context(), append([]string{"--api", a.api}, args...), &o, &d)
	return code, o.String(), d.String()
}

// askJSON runs a command with --json and decodes its result.
func (a *asker) askJSON(result any, args ...string) {
	a.t.Helper()
	code, out, diagnostics := a.ask(append([]string{"--json"}, args...)...)
	if code != 0 {
		a.t.Fatalf("perto %v: exit code %d: %s", args, code, diagnostics)
	}
	if err := json.Unmarshal([]byte(out), result); err != nil {
		a.t.Fatalf("perto %v: %v", args, err)
	}
}

// TestLabAnswers asks a lab as a user does: complete and short URLs, right and wrong names.
func TestLabAnswers(t *testing.T) {
	l, api := labInProcess(t)
	a := &asker{t, api}
	t.Run("wrong usage fails once", func(t *testing.T) {
		for _, tt := range []struct {
			args string
			code int
			want string
		}{
			{"lab compare http://", 2, "not an http URL"},
			{"lab fetch --from tokyo gopher://x/", 2, "not an http URL"},
			{"lab trace --from tokyo www.shop.example:99999", 2, "the port is not between 1 and 65535"},
			{"lab browse --from tokyo https://www.shop.example/", 2, "no https yet"},
			{"purge https://", 2, "no URL"},
			{"explain www.shop.example:x/ --client 1.1.1.1", 2, "no URL"},
			{"lab compare no.example", 1, "all 40 fetches failed; the first: fetch http://no.example from"},
			{"lab fetch --from tokio www.shop.example", 1, "did you mean tokyo?"},
			{"lab browse --from hanoi", 1, "did you mean hanoi-public or hanoi-ecs?"},
			{"lab trace --from xyzzy www.shop.example", 1, "\n  Oceania: sydney, auckland"},
			{"dig www.shop.example --from tokio", 1, "did you mean tokyo?"},
			{"dig www.shop.example", 1, "missing flags: --from=CITY (" + program() + " dig --help"},
			{"dig www.shop.example NOTYPE --from tokyo", 1, "needs a domain name and a record type"},
		} {
			code, out, diagnostics := a.ask(strings.Fields(tt.args)...)
			if code != tt.code || !strings.Contains(diagnostics, tt.want) || out != "" || strings.Count(diagnostics, "perto: ") != 1 {
				t.Errorf("perto %s: exit code %d, want %d; output %q; %q, want %q", tt.args, code, tt.code, out, diagnostics, tt.want)
			}
		}
	})
	t.Run("dig", func(t *testing.T) {
		for args, want := range map[string]string{
			"www.shop.example":      ";; status NOERROR, from tokyo by resolver isp-tokyo, ",
			"www.shop.example MX":   ";; the name is an alias, and its target has no record of type MX\n;; status NOERROR",
			"shop.cdn.example MX":   ";; the answer is empty: the name exists, but has no record of type MX\n;; status NOERROR",
			"no.such.example":       ";; the answer is empty: the name does not exist\n;; status NXDOMAIN",
			"www.shop.example aaaa": "AAAA   2",
		} {
			code, out, diagnostics := a.ask(append(strings.Fields("dig --from tokyo"), strings.Fields(args)...)...)
			if code != 0 || !strings.Contains(out, want) {
				t.Errorf("dig %s: exit code %d, %q %q, want %q", args, code, out, diagnostics, want)
			}
		}
		if code, _, diagnostics := a.ask("dig", "--api", "127.0.0.1:1", "--from", "tokyo", "x.example"); code != 10 {
			t.Errorf("without a lab: exit code %d, %s", code, diagnostics)
		}
	})
	t.Run("trace", func(t *testing.T) {
		code, out, diagnostics := a.ask("lab", "trace", "--from", "jakarta-office", "www.shop.example/style.css")
		if code != 0 {
			t.Fatalf("exit code %d: %s", code, diagnostics)
		}
		for _, want := range []string{
			"\n     2  office-lhr -> root: A www.shop.example ",
			"  GET http://www.shop.example/style.css ",
			"\n  total ",
			"\nThe nearest PoP to jakarta-office is sin in Singapore, SG: 898 km, ",
			"\nlhr served it instead: 11718 km, ",
			" Each round trip loses ",
		} {
			if want = strings.Replace(want, "  GET", ": GET", 1); !strings.Contains(out, want) {
				t.Errorf("%q is not in\n%s", want, out)
			}
		}
		if _, out, _ := a.ask("lab", "trace", "--from", "tokyo", "www.shop.example/prices"); strings.Contains(out, "origin") || !strings.Contains(out, "nrt is the nearest PoP to tokyo") {
			t.Errorf("a function of the edge replied:\n%s", out)
		}
	})
	t.Run("compare", func(t *testing.T) {
		code, out, diagnostics := a.ask("lab", "compare", "www.shop.example/style.css")
		lines := strings.Split(strings.TrimSpace(out), "\n")
		if code != 0 || len(lines) != 44 {
			t.Fatalf("exit code %d, %d lines: %s\n%s", code, len(lines), out, diagnostics)
		}
		for _, want := range []string{"VANTAGE ", " NEAREST ", "first byte: median ", "; total: median ", " of 40 hits; "} {
			if !strings.Contains(out, want) {
				t.Errorf("%q is not in\n%s", want, out)
			}
		}
		var byTotal, byKm []lab.Fetched
		a.askJSON(&byTotal, "lab", "compare", "www.shop.example/style.css")
		a.askJSON(&byKm, "lab", "compare", "--sort", "km", "www.shop.example/style.css")
		if !slices.IsSortedFunc(byTotal, func(a, b lab.Fetched) int { return int(a.Total - b.Total) }) {
			t.Error("the fetches are not sorted by the total time")
		}
		if !slices.IsSortedFunc(byKm, func(a, b lab.Fetched) int { return int(a.Proximity.DistanceKm - b.Proximity.DistanceKm) }) {
			t.Error("the fetches are not sorted by the distance")
		}
	})
	t.Run("explain and purge take a URL without a scheme", func(t *testing.T) {
		if code, out, diagnostics := a.ask("explain", "www.shop.example/style.css", "--client", "200.144.248.0/24"); code != 0 || !strings.Contains(out, "A GET would be") {
			t.Errorf("exit code %d: %s%s", code, out, diagnostics)
		}
		if code, out, diagnostics := a.ask("purge", "www.shop.example/style.css"); code != 0 || !strings.Contains(out, "objects purged") || strings.HasPrefix(out, "0 ") {
			t.Errorf("exit code %d: %s%s", code, out, diagnostics)
		}
	})
	t.Run("explain marks all PoPs of the answer", func(t *testing.T) { explainsAFailedPoP(t, a) })
	t.Run("browse shows the error of the browser", func(t *testing.T) {
		name := filepath.Join(t.TempDir(), "browser")
		if err := os.WriteFile(name, []byte("#!/bin/sh\necho 'first line' >&2\necho \"args: $*\" >&2\necho 'no display' >&2\nexit 3\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		code, _, diagnostics := a.ask("lab", "browse", "--from", "tokyo", "--browser", name, "www.shop.example/x")
		for _, want := range []string{"exit status 3; its last lines:\n  first line\n", "--proxy-bypass-list=<-loopback>", " http://www.shop.example/x\n  no display\n"} {
			if code != 1 || !strings.Contains(diagnostics, want) {
				t.Errorf("exit code %d, %q is not in %q", code, want, diagnostics)
			}
		}
	})
	t.Run("dig from a vantage that is cut off", func(t *testing.T) {
		if err := l.Do(t.Context(), "isp-lima", lab.Cut); err != nil {
			t.Fatal(err)
		}
		if code, _, diagnostics := a.ask("dig", "www.shop.example", "--from", "lima"); code != 9 {
			t.Errorf("exit code %d, want 9: %s", code, diagnostics)
		}
	})
}

// explainsAFailedPoP kills the edges of a PoP and compares the marked PoPs with the answer.
func explainsAFailedPoP(t *testing.T, a *asker) {
	a.ask("lab", "kill", "gru")
	var x mapping.Explanation
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		a.askJSON(&x, "explain", "shop.cdn.example", "--client", "200.144.248.0/24")
		if x.Answer != nil && x.Answer.PoP != "gru" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the killed PoP is still in the answer: %+v", x)
		}
	}
	var chosen []string
	for _, c := range x.Candidates {
		if c.Chosen {
			chosen = append(chosen, string(c.PoP))
		}
	}
	for _, r := range x.Answer.Replicas {
		pop, _, _ := strings.Cut(string(r), "-")
		if !slices.Contains(chosen, pop) {
			t.Errorf("the answer names %s, but only %v are marked as chosen", r, chosen)
		}
	}
	if _, out, _ := a.ask("explain", "shop.cdn.example", "--client", "200.144.248.0/24"); strings.Count(out, " chosen\n") != len(chosen) {
		t.Errorf("%v are chosen in\n%s", chosen, out)
	}
}
