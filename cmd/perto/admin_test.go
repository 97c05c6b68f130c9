package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"perto/internal/api"
)

// TestPurgeOverControlSocket: an operator purges on the node's machine. The API on TCP
// rejects the purge and names the control socket.
func TestPurgeOverControlSocket(t *testing.T) {
	var fetched atomic.Int64
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fetched.Add(1)
		w.Header().Set("Cache-Control", "s-maxage=600")
		w.Header().Set("Surrogate-Key", "catalogue")
		io.WriteString(w, "from the origin")
	}))
	defer origin.Close()
	n := startNode(t, origin.URL)
	command := func(args ...string) (code int, out, diagnostics string) {
		var stdout, stderr strings.Builder
		code = run(t.Context(), args, &stdout, &stderr)
		return code, stdout.String(), stderr.String()
	}
	conf := filepath.Join(n.dir, "perto.hcl")
	for _, args := range [][]string{
		{"purge", "http://shop.cdn.example/page", "-c", conf},
		{"purge", "--tag", "catalogue", "-c", conf},
		{"purge", "--all", "--api", api.UnixPrefix + filepath.Join(n.dir, "data", "perto.sock")},
	} {
		before := fetched.Load()
		pageOf(t, n.httpPort, "shop.cdn.example", "/page")
		pageOf(t, n.httpPort, "shop.cdn.example", "/page")
		if got := fetched.Load() - before; got != 1 {
			t.Fatalf("before %v: the origin was asked %d times, want once", args, got)
		}
		if code, out, diagnostics := command(args...); code != 0 || out != "1 objects purged\n" {
			t.Errorf("%v: exit code %d, %q, %q", args, code, out, diagnostics)
		}
	}
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"purge", "--all", "--api", fmt.Sprintf("127.0.0.1:%d", n.apiPort)}, "this address is read-only (on the node's machine use -c FILE, or --api unix:"},
		{[]string{"purge", "http://other.example/", "-c", conf}, `the edge serves no host "other.example"`},
		{[]string{"purge", "-c", conf}, "name exactly one of url, tag and all"},
		{[]string{"purge", "gopher://shop.cdn.example/page", "-c", conf}, `no URL; it takes "http://host/path"`},
		{[]string{"drain", "two", "-c", conf}, "no such edge (perto status lists the edges)"},
		{[]string{"drain", "-c", conf}, "name one edge or one provider"},
		{[]string{"drain", "--provider", "acme", "-c", conf}, "no PoP has this provider"},
	} {
		if code, out, diagnostics := command(tt.args...); code == 0 || !strings.Contains(diagnostics, tt.want) {
			t.Errorf("%v: exit code %d, %q, %q; want %q", tt.args, code, out, diagnostics, tt.want)
		}
	}
	if info, err := os.Stat(filepath.Join(n.dir, "data", "perto.sock")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the control socket: %v, %v; want it for its owner only", info, err)
	}
	if code, out, _ := command("drain", "one", "-c", conf, "--for", "10m"); code != 0 || out != "one: draining for 10m0s\n" {
		t.Errorf("drain: exit code %d, %q", code, out)
	}
	if _, out, _ := command("status", "--api", fmt.Sprintf("127.0.0.1:%d", n.apiPort)); !strings.Contains(out, "drained by an administrator") {
		t.Errorf("status does not show the drain:\n%s", out)
	}
	n.process.Process.Signal(syscall.SIGTERM)
	n.process.Wait()
}

// TestDrainInALab: drained edges leave the answers of all name servers, one by one and by
// provider, and return after undrain.
func TestDrainInALab(t *testing.T) {
	l, api := labInProcess(t)
	command := func(line string) string {
		t.Helper()
		var out, diagnostics strings.Builder
		args := append([]string{"--api", api}, strings.Fields(line)...)
		if code := run(t.Context(), args, &out, &diagnostics); code != 0 {
			t.Errorf("%s: exit code %d, %s", line, code, diagnostics.String())
		}
		return out.String()
	}
	// The name of the nearest PoP for a client in São Paulo.
	nearest := func() string {
		t.Helper()
		var x struct{ Answer *struct{ PoP string } }
		text := command("--json explain shop.cdn.example --client 200.144.248.0/24")
		if err := json.Unmarshal([]byte(text), &x); err != nil || x.Answer == nil {
			t.Fatalf("explain: %v in\n%s", err, text)
		}
		return x.Answer.PoP
	}
	pop := nearest()
	var edges []string
	provider := ""
	for _, p := range l.World.World.PoPs {
		if string(p.Name) == pop {
			provider = p.Provider
			for _, e := range p.Edges {
				edges = append(edges, string(e.Name))
			}
		}
	}
	for _, e := range edges {
		command("drain " + e)
	}
	if now := nearest(); now == pop {
		t.Errorf("with %v drained the answer is still of %s", edges, pop)
	}
	command("undrain " + edges[0])
	if now := nearest(); now != pop {
		t.Errorf("with %s back the answer is of %s, want %s", edges[0], now, pop)
	}
	for _, e := range edges {
		command("undrain " + e)
	}
	if provider == "" {
		t.Fatalf("the PoP %s of the demo world has no provider", pop)
	}
	if out := command("drain --state down --provider " + provider); !strings.Contains(out, edges[0]) {
		t.Errorf("draining %s: %s", provider, out)
	}
	for _, p := range l.World.World.PoPs {
		if now := nearest(); string(p.Name) == now && p.Provider == provider {
			t.Errorf("with the provider %s down the answer is of %s", provider, now)
		}
	}
	if out := command("status"); !strings.Contains(out, provider) {
		t.Errorf("status names no provider:\n%s", out)
	}
	command("undrain --provider " + provider)
	if now := nearest(); now != pop {
		t.Errorf("in the end the answer is of %s, want %s", now, pop)
	}

	v, err := l.Vantage("sao-paulo")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Fetch(t.Context(), "http://www.shop.example/"); err != nil {
		t.Fatal(err)
	}
	if out := command("purge --all"); strings.HasPrefix(out, "0 objects") {
		t.Errorf("purge in the lab: %s", out)
	}
}
