package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestAPIWithNameAndToken runs a node whose API has a name and a token, asks it by the
// command line and as Prometheus does, and changes the token by a reload.
func TestAPIWithNameAndToken(t *testing.T) {
	n := startNode(t, "http://127.0.0.1:9")
	file, tokenFile := filepath.Join(n.dir, "perto.hcl"), filepath.Join(n.dir, "api.token")
	perto := func(args ...string) (code int, out string) {
		var text strings.Builder
		code = run(t.Context(), args, &text, &text)
		return code, text.String()
	}
	// The API is not at the default port: -c has the address.
	if code, out := perto("status", "-c", file); code != 0 || !strings.Contains(out, "gru-1") && !strings.Contains(out, "one (dns, edge)") {
		t.Errorf("status -c: exit code %d: %s", code, out)
	}
	ask := func(path, host, token string) (int, string) {
		q, _ := http.NewRequest("GET", fmt.Sprintf("http://127.0.0.1:%d%s", n.apiPort, path), nil)
		q.Host = host
		if token != "" {
			q.Header.Set("Authorization", "Bearer "+token)
		}
		r, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		b, _ := io.ReadAll(r.Body)
		return r.StatusCode, string(b)
	}
	if code, _ := ask("/metrics", "gru.example:9100", ""); code != 421 {
		t.Errorf("a foreign name: got %d, want 421", code)
	}
	host, _ := os.Hostname()
	for _, name := range []string{"one", host, "localhost"} {
		if code, _ := ask("/metrics", name, ""); code != 200 {
			t.Errorf("by the name %s: got %d, want 200", name, code)
		}
	}
	reload := func() {
		n.process.Process.Signal(syscall.SIGHUP)
	}
	if code, out := perto("key", "new", "--token", "-o", tokenFile); code != 0 {
		t.Fatal(out)
	}
	token, _ := os.ReadFile(tokenFile)
	n.write("perto.hcl", n.config("http://127.0.0.1:9", `api_names = ["gru.example"]
  api_token = "api.token"`, ""))
	reload()
	n.log.waitFor(t, "the configuration is reloaded")
	for _, tt := range []struct {
		path, token string
		want        int
	}{{"/metrics", "", 401}, {"/metrics", "wrong", 401}, {"/api/status", strings.TrimSpace(string(token)), 200}, {"/metrics", strings.TrimSpace(string(token)), 200}, {"/healthz", "", 200}} {
		if code, body := ask(tt.path, "gru.example:9100", tt.token); code != tt.want {
			t.Errorf("%s: got %d %s, want %d", tt.path, code, body, tt.want)
		}
	}
	api := fmt.Sprintf("127.0.0.1:%d", n.apiPort)
	if code, out := perto("--api", api, "health"); code == 0 || !strings.Contains(out, "the API needs its token") {
		t.Errorf("health without the token: exit code %d: %s", code, out)
	}
	for _, args := range [][]string{{"--api", api, "--token-file", tokenFile, "health"}, {"health", "-c", file}, {"--json", "status", "-c", file, "--node", "one"}} {
		if code, out := perto(args...); code != 0 {
			t.Errorf("%q: exit code %d: %s", args, code, out)
		}
	}
	t.Setenv("PERTO_CONFIG", file)
	if code, out := perto("explain", "shop.cdn.example", "--client", "200.144.248.0/24"); code != 0 {
		t.Errorf("explain with PERTO_CONFIG: exit code %d: %s", code, out)
	}
	// A token that others can read is refused, and the old one stays.
	os.Chmod(tokenFile, 0o644)
	reload()
	n.log.waitFor(t, "other users can read or change it")
	if code, _ := ask("/metrics", "127.0.0.1", strings.TrimSpace(string(token))); code != 200 {
		t.Errorf("after a refused reload: got %d, want 200", code)
	}
	n.process.Process.Signal(syscall.SIGTERM)
	n.process.Wait()
}

// TestAPIClosesIdleConnections: a client that asked once and then stays silent is closed.
func TestAPIClosesIdleConnections(t *testing.T) {
	s := newAPIServer(http.NotFoundHandler(), nil)
	if s.IdleTimeout <= 0 || s.ReadHeaderTimeout <= 0 {
		t.Errorf("the timeouts are %v and %v", s.IdleTimeout, s.ReadHeaderTimeout)
	}
}
