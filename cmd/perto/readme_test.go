package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// commandsOf returns the commands of a page's code blocks, without comments.
func commandsOf(t *testing.T, page string) []string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for i, block := range strings.Split(string(text), "```") {
		if i%2 == 0 || strings.HasPrefix(block, "console") {
			continue // text between the blocks, or for containers: scripts/compose-test
		}
		for _, line := range strings.Split(block, "\n")[1:] {
			line, _, _ = strings.Cut(line, "#")
			if line = strings.TrimSpace(line); line != "" {
				out = append(out, line)
			}
		}
	}
	return out
}

// testPorts replaces the usual ports by those of a test's lab.
func testPorts(site string) *strings.Replacer {
	return strings.NewReplacer("-p 5300", "-p 25300", "-p 5359", "-p 25359", "127.0.0.1:1080", "127.0.0.1:21080", "127.0.0.1:8080", "127.0.0.1:28080", "http://localhost:3000", site)
}

var testPortFlags = []string{"--dns-port", "25300", "--resolver-port", "25320", "--socks-port", "21080", "--web-port", "28100"}

// TestReadmeCommands runs every command of the README, with other ports. Commands that
// start a lab run one by one, the others in the first lab. It fails for a command that it
// cannot run.
func TestReadmeCommands(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	perto := filepath.Join(dir, "perto")
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "my own site") }))
	t.Cleanup(site.Close)
	rename := testPorts(site.URL)
	browser := headless(t, dir)
	sh := func(dir, line string) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "sh", "-c", line)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(perto)+":"+os.Getenv("PATH"), "PERTO_API=127.0.0.1:28080", "PERTO_BROWSER="+browser)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := sh(root, "go build -o "+perto+" ./cmd/perto"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	const file = "init --domain cdn.example --service shop.cdn.example --alias www.shop.example --origin http://origin.shop.example --machine 'gru-1=São Paulo=54.20.0.11'"
	if out, err := sh(dir, "perto "+file); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var labs, others []string
	for _, line := range commandsOf(t, "../../README.md") {
		switch {
		case regexp.MustCompile(`^(perto|go run ./cmd/perto) lab( -|$)`).MatchString(line):
			labs = append(labs, rename.Replace(line)+" "+strings.Join(testPortFlags, " "))
		case line == "./scripts/test": // runs this test
		case regexp.MustCompile(`^(dig|curl|perto) `).MatchString(line):
			others = append(others, rename.Replace(line))
		case strings.HasPrefix(line, "go run ./cmd/perto "):
			others = append(others, "cd "+root+" && "+rename.Replace(line))
		default:
			t.Errorf("the README has a command that this test cannot run: %s", line)
		}
	}
	if len(labs) < 4 || len(others) < 10 {
		t.Fatalf("found only %q and %q", labs, others)
	}
	for i, line := range labs {
		where := dir
		if strings.HasPrefix(line, "go run") {
			where = root
		}
		t.Run(strings.TrimSuffix(line, strings.Join(testPortFlags, " ")), func(t *testing.T) {
			text, stop := startCommand(t, where, line, dir)
			defer stop()
			if i > 0 {
				return // success is that it starts
			}
			proposed := regexp.MustCompile(`(?m)^  (go run \./cmd/perto|dig|curl) .*$`).FindAllString(text, -1)
			if len(proposed) < 6 {
				t.Errorf("the lab proposes only %q", proposed)
			}
			for _, line := range proposed { // they work as they stand, in the same folder
				if out, err := sh(where, line); err != nil || strings.TrimSpace(out) == "" {
					t.Errorf("%s: %v\n%s", line, err, out)
				}
			}
			for _, line := range others {
				if out, err := sh(dir, line); err != nil || strings.TrimSpace(out) == "" {
					t.Errorf("%s: %v\n%s", line, err, out)
				}
			}
			if page, err := os.ReadFile(filepath.Join(dir, "page.html")); err != nil || !strings.Contains(string(page), "The near shop") {
				t.Errorf("the browser showed %.300q, %v", page, err)
			}
		})
	}
}

// startCommand starts a lab as a separate command and waits until it is up. It returns the
// output until then. stop interrupts the lab.
func startCommand(t *testing.T, where, line, path string) (text string, stop func()) {
	t.Helper()
	return startCommandAt(t, where, line, path, "127.0.0.1:28080")
}

// startCommandAt is startCommand with the address of the lab's API.
func startCommandAt(t *testing.T, where, line, path, api string) (text string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out := newOutput()
	cmd := exec.CommandContext(ctx, "sh", "-c", "exec "+line)
	cmd.Dir, cmd.Stdout, cmd.Stderr = where, out, out
	cmd.Env = append(os.Environ(), "PATH="+path+":"+os.Getenv("PATH"), "PERTO_API="+api)
	ownGroup(cmd) // "go run" has a child; an interrupt goes to both, as with Ctrl-C
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	text = out.waitFor(t, "Ctrl-C")
	return text, func() {
		defer cancel()
		if err := cmd.Cancel(); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil && !strings.HasPrefix(line, "go run") { // go run reports the signal
			t.Errorf("%s ended with %v\n%s", line, err, out.text.String())
		}
	}
}

// headless writes a command that starts Chromium without a window, loads the given page
// and writes it to page.html.
func headless(t *testing.T, dir string) string {
	t.Helper()
	name := filepath.Join(dir, "browser")
	script := "#!/bin/sh\nexec chromium --headless --disable-gpu --dump-dom \"$@\" > " + filepath.Join(dir, "page.html") + " 2>/dev/null\n"
	if err := os.WriteFile(name, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestDocsCommandsParse: every command in docs exists, with its flags.
func TestDocsCommandsParse(t *testing.T) {
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(pages) < 5 {
		t.Fatalf("found %v, %v", pages, err)
	}
	found := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile("`perto ([a-z][^`]*)`").FindAllStringSubmatch(string(text), -1) {
			found++
			var got strings.Builder
			if code := run(t.Context(), append(strings.Fields(m[1]), "--help"), &got, &got); code != 0 {
				t.Errorf("%s: perto %s: %s", filepath.Base(page), m[1], got.String())
			}
		}
	}
	if found < 8 {
		t.Errorf("found only %d commands", found)
	}
}
