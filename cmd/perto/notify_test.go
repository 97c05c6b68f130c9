package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestServiceManagerIsTold plays the part of systemd for a node: it receives the start, signs
// of life, a reload and the end.
func TestServiceManagerIsTold(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "perto@gru-1") // as in the path of a unit's instance
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Skipf("no datagrams of Unix sockets: %v", err)
	}
	defer conn.Close()
	told := func(want string) {
		t.Helper()
		conn.SetReadDeadline(time.Now().Add(time.Minute))
		b := make([]byte, 1000)
		for {
			n, err := conn.Read(b)
			if err != nil {
				t.Fatalf("waiting for %s: %v", want, err)
			}
			if strings.HasPrefix(string(b[:n]), want) {
				return
			}
		}
	}
	t.Setenv("NOTIFY_SOCKET", socket)
	t.Setenv("WATCHDOG_USEC", "90000")
	n := startNode(t, "http://127.0.0.1:9")
	told("READY=1")
	told("WATCHDOG=1")
	told("WATCHDOG=1")
	n.process.Process.Signal(syscall.SIGHUP)
	told("RELOADING=1\nMONOTONIC_USEC=")
	told("READY=1")
	told("WATCHDOG=1")
	n.process.Process.Signal(syscall.SIGTERM)
	told("STOPPING=1")
	if err := n.process.Wait(); err != nil {
		t.Error(err)
	}
}

// TestSystemdUnitIsValid lets systemd check the unit, with the path of a program that exists.
func TestSystemdUnitIsValid(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed (Debian: apt-get install systemd)")
	}
	unit, err := os.ReadFile("../../examples/ops/perto.service")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(unit), "/usr/local/bin/perto", "/bin/true", 1)
	file := filepath.Join(t.TempDir(), "perto.service")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	// The check reads no other unit and needs no running systemd.
	if out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", file).CombinedOutput(); err != nil || strings.Contains(string(out), "perto.service") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	for _, key := range []string{"ExecReload=/bin/kill -HUP $MAINPID", "AmbientCapabilities=CAP_NET_BIND_SERVICE", "WatchdogSec=", "TimeoutStopSec="} {
		if !strings.Contains(text, key) {
			t.Errorf("the unit has no %s", key)
		}
	}
}
