package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets scripts run "perto" as a command, and provides two helpers for the tests
// of the WAN emulator.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"perto": main, "perto-joined": joined, "perto-leash": leash})
}

// TestScripts runs testdata/*.txt: shell sessions with their input files.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata"})
}

// output collects the output of a command. Tests can wait for a part of it.
type output struct {
	mu   sync.Mutex
	text strings.Builder
	more chan struct{}
}

func newOutput() *output { return &output{more: make(chan struct{}, 1)} }

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(b)
	select {
	case o.more <- struct{}{}:
	default:
	}
	return len(b), nil
}

func (o *output) waitFor(t *testing.T, part string) string {
	t.Helper()
	return o.waitForMany(t, part, 1)
}

// waitForMany waits until a text was written the given number of times.
func (o *output) waitForMany(t *testing.T, part string, times int) string {
	t.Helper()
	deadline := time.After(2 * time.Minute)
	for {
		o.mu.Lock()
		text := o.text.String()
		o.mu.Unlock()
		if strings.Count(text, part) >= times {
			return text
		}
		select {
		case <-o.more:
		case <-deadline:
			t.Fatalf("waited for %d times %q, got\n%s", times, part, text)
		}
	}
}

// TestLabTour starts the lab, runs every command that it proposes, and stops it.
func TestLabTour(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, diagnostics := newOutput(), newOutput()
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, []string{"--api", "127.0.0.1:18080", "lab", "--dns-port", "15300", "--resolver-port", "15320", "--socks-port", "11080", "--web-port", "18100"}, out, diagnostics)
	}()
	text := out.waitFor(t, "Ctrl-C")
	api := regexp.MustCompile(`http://(127\.0\.0\.1:\d+)`).FindStringSubmatch(text)[1] // port 18080 may be in use
	if !strings.Contains(text, "First answer from the nearest edge after ") {
		t.Errorf("there is no first answer from the nearest edge in\n%s", text)
	}
	for _, step := range []string{"the map of the world", "the edges and name servers, 2 of ", "the resolvers", "the vantages", "the doors", "waiting for heartbeats", "the first answer"} {
		if shown := diagnostics.waitFor(t, step); !strings.Contains(shown, "starting, ") {
			t.Errorf("the progress is\n%s", shown)
		}
	}
	text = strings.ReplaceAll(text, "  "+program()+" ", "  perto ")
	lines := regexp.MustCompile(`(?m)^  (dig|curl|perto) .*$`).FindAllString(text, -1)
	if len(lines) < 6 {
		t.Fatalf("only %d commands to try in\n%s", len(lines), text)
	}
	for _, line := range lines {
		line, _, _ = strings.Cut(line, "#")
		args := strings.Fields(line)
		var got strings.Builder
		switch args[0] {
		case "perto":
			if code := run(ctx, args[1:], &got, &got); code != 0 {
				t.Errorf("%s: exit code %d: %s", line, code, got.String())
			}
		default:
			path, err := exec.LookPath(args[0])
			if err != nil {
				t.Skipf("%s is not installed; ./scripts/test installs it", args[0])
			}
			b, err := exec.CommandContext(ctx, path, args[1:]...).CombinedOutput()
			got.Write(b)
			if err != nil {
				t.Errorf("%s: %v: %s", line, err, b)
			}
		}
		if strings.TrimSpace(got.String()) == "" {
			t.Errorf("%s printed nothing", line)
		}
	}
	for _, args := range [][]string{{"status"}, {"--json", "status"}, {"--json", "dig", "www.shop.example", "--from", "london"}, {"--json", "lab", "vantages"}, {"lab", "vantages"}, {"dig", "www.shop.example", "--from", "tokyo"},
		{"lab", "heal", "gru-1"}, {"lab", "fetch", "--from", "madrid", "http://www.shop.example/"}, {"lab", "compare", "http://www.shop.example/style.css"},
		{"lab", "freeze", "syd-1"}, {"lab", "cut", "sin-1"}, {"lab", "heal", "syd-1"}, {"lab", "heal", "sin-1"},
		{"explain", "shop.cdn.example", "--resolver", "25.64.1.53", "--type", "AAAA"},
		{"explain", "http://www.shop.example/", "--client", "200.144.248.0/24"}, {"--json", "explain", "http://www.shop.example/", "--client", "200.144.248.0/24"},
		{"lab", "cut", "sjc"}, {"lab", "heal", "sjc"}} {
		var got strings.Builder
		if code := run(ctx, append([]string{"--api", api}, args...), &got, io.Discard); code != 0 || got.Len() == 0 {
			t.Errorf("perto %v: exit code %d: %s", args, code, got.String())
		}
	}
	for args, want := range map[string]string{
		"dig www.shop.example --from atlantis":         "the vantage nearest to Atlantis",
		"explain nothing.example --client 200.144.0.1": "no service answers for this name",
		"explain shop.cdn.example --client everywhere": "it takes an address or a subnet",
		"lab kill nobody":                            "no such host or PoP in the lab",
		"lab fetch --from madrid gopher://x/":        "it takes",
		"lab fetch --from madrid http://no.example/": "names no address",
	} {
		var got strings.Builder
		if code := run(ctx, append([]string{"--api", api}, strings.Fields(args)...), io.Discard, &got); code == 0 || !strings.Contains(got.String(), want) {
			t.Errorf("perto %s: exit code %d, %q; want %q", args, code, got.String(), want)
		}
	}
	cancel()
	if code := <-done; code != 0 {
		t.Errorf("the lab ended with exit code %d: %s", code, diagnostics.waitFor(t, ""))
	}
}

// joined is the command that "lab wan join" executes in tests. It prints its user and
// its arguments.
func joined() {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("%s%s\n", b, strings.Join(os.Args[1:], " "))
}

// leash runs a command until its own stdin ends. Then it interrupts the command and
// exits with its exit code.
func leash() {
	cmd := exec.Command(os.Args[1], os.Args[2:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	go func() {
		io.Copy(io.Discard, os.Stdin)
		cmd.Process.Signal(os.Interrupt)
	}()
	if err := cmd.Wait(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
