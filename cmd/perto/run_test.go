package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"perto/replicas"
)

// freePort returns a port that is currently free for UDP and TCP.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// childOf returns the only child of a process.
func childOf(t *testing.T, pid int) int {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) // by thread
	if err != nil || len(lists) == 0 {
		t.Skip("the worker cannot be found without /proc")
	}
	for _, list := range lists {
		text, _ := os.ReadFile(list)
		var child int
		if n, _ := fmt.Sscan(string(text), &child); n == 1 && child > 1 {
			return child
		}
	}
	t.Fatal("the parent has no worker")
	return 0
}

// runningNode is a "perto run" process with DNS, edge, heartbeats and API on loopback.
type runningNode struct {
	t                                    *testing.T
	dir                                  string
	dnsPort, httpPort, apiPort, beatPort int
	process                              *exec.Cmd
	log                                  *output
}

// config returns the node's configuration with additional text in the node block and in
// the service block.
func (n *runningNode) config(origin, inNode, inService string) string {
	return fmt.Sprintf(`
node "one" {
  roles     = ["dns", "edge"]
  data      = %q
  dns       = ["127.0.0.1:%d"]
  http      = ["127.0.0.1:%d"]
  heartbeat = "127.0.0.1:%d"
  api       = "127.0.0.1:%d"
  key       = %q
  %s
}
pop "here" {
  place = "Lisbon, PT"
  edge "one" { addresses = ["127.0.0.1"] }
}
zone "cdn.example" { file = "cdn.zone" }
service "shop.cdn.example" {
  origin %q {}
  %s
}
`, filepath.Join(n.dir, "data"), n.dnsPort, n.httpPort, n.beatPort, n.apiPort, filepath.Join(n.dir, "key"), inNode, origin, inService)
}

func (n *runningNode) write(name, text string) {
	n.t.Helper()
	if err := os.WriteFile(filepath.Join(n.dir, name), []byte(text), 0o600); err != nil {
		n.t.Fatal(err)
	}
}

// startNode starts a node and waits until it serves.
func startNode(t *testing.T, origin string) *runningNode {
	t.Helper()
	n := &runningNode{t: t, dir: t.TempDir(), dnsPort: freePort(t), httpPort: freePort(t), apiPort: freePort(t), beatPort: freePort(t), log: newOutput()}
	n.write("perto.hcl", n.config(origin, "", ""))
	n.write("cdn.zone", testZone(1))
	n.write("key", replicas.NewKey().File())
	// testscript.Main runs this binary as "perto" when it has that name. The parent starts
	// its worker by the path of its own executable.
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	perto := filepath.Join(n.dir, "perto")
	if err := os.WriteFile(perto, binary, 0o700); err != nil {
		t.Fatal(err)
	}
	n.process = exec.Command(perto, "run", "-c", filepath.Join(n.dir, "perto.hcl"))
	n.process.Stderr = n.log
	if err := n.process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.process.Process.Kill() })
	n.log.waitFor(t, "the node is up")
	return n
}

// testZone returns a zone in which the name "serial" has the address 192.0.2.SERIAL.
func testZone(serial int) string {
	return fmt.Sprintf("$TTL 60\n@ IN SOA ns1 h %d 2 3 4 5\n@ IN NS ns1\nns1 IN A 127.0.0.1\nserial IN A 192.0.2.%[1]d\n", serial)
}

// TestRunServesOnTheRealNetwork runs a node with parent and worker on loopback. It sends
// queries, fetches a page, kills the worker, reloads with an invalid file, and stops the
// node.
func TestRunServesOnTheRealNetwork(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "s-maxage=60")
		io.WriteString(w, "from the origin")
	}))
	defer origin.Close()
	n := startNode(t, origin.URL)
	parent, diagnostics, httpPort, dnsPort, apiPort, write := n.process, n.log, n.httpPort, n.dnsPort, n.apiPort, n.write
	fetchShop := func() string {
		req, _ := http.NewRequest("GET", fmt.Sprintf("http://127.0.0.1:%d/", httpPort), nil)
		req.Host = "shop.cdn.example"
		req.Close = true // a new connection for each request
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return string(b) + " " + resp.Header.Get("Cache-Status")
	}
	if got := fetchShop(); !strings.HasPrefix(got, "from the origin") {
		t.Errorf("first fetch: got %q", got)
	}
	if got := fetchShop(); !strings.Contains(got, "hit") {
		t.Errorf("second fetch: got %q, want a hit", got)
	}
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, fmt.Sprintf("127.0.0.1:%d", dnsPort))
	}}
	if addrs, err := r.LookupHost(t.Context(), "shop.cdn.example"); err != nil || len(addrs) != 1 || addrs[0] != "127.0.0.1" {
		t.Errorf("DNS: got %v, error %v", addrs, err)
	}
	api := fmt.Sprintf("127.0.0.1:%d", apiPort)
	var health strings.Builder
	if code := run(t.Context(), []string{"--api", api, "health"}, &health, io.Discard); code != 0 || health.String() != "one is well\n" {
		t.Errorf("health: exit code %d, %q", code, health.String())
	}

	// After a crash the parent starts a new worker. Clients that connect meanwhile are not
	// refused. They wait.
	worker := childOf(t, parent.Process.Pid)
	crashed := time.Now()
	syscall.Kill(worker, syscall.SIGKILL)
	diagnostics.waitFor(t, "started again")
	if got := fetchShop(); !strings.HasPrefix(got, "from the origin") {
		t.Errorf("after the crash: got %q", got)
	}
	t.Logf("served again %v after the crash", time.Since(crashed))
	diagnostics.waitForMany(t, "the node is up", 2)

	// During a reload no client is refused either.
	var reloading sync.WaitGroup
	stop := make(chan struct{})
	reloading.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if got := fetchShop(); !strings.HasPrefix(got, "from the origin") {
				t.Errorf("while reloading: got %q", got)
				return
			}
		}
	})
	parent.Process.Signal(syscall.SIGHUP)
	diagnostics.waitFor(t, "the configuration is reloaded")
	close(stop)
	reloading.Wait()

	// An invalid file is not loaded, and the old configuration is served.
	write("perto.hcl", "nonsense {")
	parent.Process.Signal(syscall.SIGHUP)
	diagnostics.waitFor(t, "not reloaded, the old configuration stays in force")
	if got := fetchShop(); !strings.HasPrefix(got, "from the origin") {
		t.Errorf("after a bad reload: got %q", got)
	}

	// The log, status and health name a dead origin.
	origin.Close()
	for i := range 4 {
		pageOf(t, n.httpPort, "shop.cdn.example", fmt.Sprintf("/new/%d", i))
	}
	diagnostics.waitFor(t, "origin is unwell")
	for command, want := range map[string]string{"status": "3 connections failed in a row", "health": "one is degraded\n  origin 127.0.0.1:"} {
		var out strings.Builder
		if code := run(t.Context(), []string{"--api", api, command}, &out, io.Discard); code != 0 || !strings.Contains(out.String(), want) {
			t.Errorf("%s with a dead origin: exit code %d, got\n%s\nwant %q in it", command, code, out.String(), want)
		}
	}
	parent.Process.Signal(syscall.SIGTERM)
	if err := parent.Wait(); err != nil {
		t.Errorf("the end: %v", err)
	}
	if _, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", httpPort)); err == nil {
		t.Error("a worker is left behind")
	}
}
