package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestOwnSiteCommands runs every command of docs/ownsite.md, with a site of its own and
// other ports. Commands that start a lab run one by one. The others run in the first lab,
// in their order.
func TestOwnSiteCommands(t *testing.T) {
	dir := t.TempDir()
	perto := filepath.Join(dir, "perto")
	if out, err := exec.Command("go", "build", "-o", perto, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "my own site") }))
	t.Cleanup(site.Close)
	const api = "127.0.0.1:24080"
	rename := strings.NewReplacer("http://localhost:3000", site.URL, "127.0.0.1:8100", "127.0.0.1:24500")
	ports := " --dns-port 24300 --resolver-port 24320 --socks-port 24180 --web-port 24500"
	sh := func(line string) (string, error) {
		cmd := exec.CommandContext(t.Context(), "sh", "-c", line)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "PERTO_API="+api, "PERTO_BROWSER="+headless(t, dir))
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	const file = "perto init --domain cdn.example --service shop.cdn.example --alias www.shop.example --origin http://origin.shop.example --machine 'gru-1=São Paulo=54.20.0.11'"
	if out, err := sh(file); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var labs, others []string
	for _, line := range commandsOf(t, "../../docs/ownsite.md") {
		if line = rename.Replace(line); strings.Contains(line, "--origin") {
			labs = append(labs, line)
		} else {
			others = append(others, line)
		}
	}
	if len(labs) != 3 || len(others) < 10 {
		t.Fatalf("found %q and %q", labs, others)
	}
	for i, line := range labs {
		t.Run(line, func(t *testing.T) {
			_, stop := startCommandAt(t, dir, line+ports, dir, api)
			defer stop()
			if body := fetchText(t, "http://127.0.0.1:24500/"); !strings.Contains(body, "my own site") {
				t.Errorf("the first web door shows %q", body)
			}
			if i > 0 {
				return
			}
			for _, line := range others {
				out, err := sh(line)
				if err != nil || strings.TrimSpace(out) == "" {
					t.Errorf("%s: %v\n%s", line, err, out)
				}
				if want := map[string]string{"perto status": "origin origin.shop.example", "perto lab vantages": "http://127.0.0.1:24500"}[line]; !strings.Contains(out, want) {
					t.Errorf("%s: %q is not in\n%s", line, want, out)
				}
			}
			if page, err := os.ReadFile(filepath.Join(dir, "page.html")); err != nil || !strings.Contains(string(page), "my own site") {
				t.Errorf("the browser showed %.300q, %v", page, err)
			}
		})
	}
}

func fetchText(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
