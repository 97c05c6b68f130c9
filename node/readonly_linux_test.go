package node

import (
	"log/slog"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestReadOnlyDataFolderIsAWarning: a node without functions starts and serves.
func TestReadOnlyDataFolderIsAWarning(t *testing.T) {
	dir := t.TempDir()
	if os.Getuid() != 0 {
		if err := os.Chmod(dir, 0o500); err != nil {
			t.Fatal(err)
		}
	} else if err := unix.Mount("none", dir, "tmpfs", unix.MS_RDONLY, ""); err != nil {
		t.Skipf("a read-only file system cannot be mounted: %v", err) // modes do not bind root
	} else {
		t.Cleanup(func() { unix.Unmount(dir, 0) })
	}
	log := &lockedText{}
	cfg := testConfig(t, nil)
	cfg.Local.Data, cfg.Logger = dir, slog.New(slog.NewTextHandler(log, nil))
	n := started(t, cfg)
	if s := n.status(); !s.Edge.Listening || !strings.Contains(log.String(), "cannot be written: read-only") && os.Getuid() == 0 {
		t.Errorf("listening: %v, log:\n%s", s.Edge.Listening, log.String())
	}
	// With trusted keys, releases would be lost.
	cfg.World.Trust = []string{"ana:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}
	if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "open function store") {
		t.Errorf("with trusted keys: got %v, want an error", err)
	}
}
