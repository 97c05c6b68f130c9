//go:build !race

package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestStartTakesLittleMemory: neither process of a node takes much more memory while it
// starts than later. The bounds are half as much again as measured
// (bench/results/2026-11-25-start.txt). The race detector takes several times the memory.
func TestStartTakesLittleMemory(t *testing.T) {
	n := startNode(t, "http://127.0.0.1:9")
	parent := n.process.Process.Pid
	for _, p := range []struct {
		name   string
		pid    int
		maxKiB int
	}{{"parent", parent, 35 << 10}, {"worker", childOf(t, parent), 150 << 10}} {
		if got := peakKiB(t, p.pid); got > p.maxKiB {
			t.Errorf("the %s took %d KiB, want at most %d", p.name, got, p.maxKiB)
		}
	}
}

// peakKiB returns the largest resident memory of a process so far.
func peakKiB(t *testing.T, pid int) (kib int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Skip("the memory of a process cannot be read without /proc")
	}
	for line := range strings.Lines(string(text)) {
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kib); n == 1 {
			return kib
		}
	}
	t.Fatal("no VmHWM")
	return 0
}
