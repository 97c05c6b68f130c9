package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestNewCreatesDataFolder(t *testing.T) {
	cfg := testConfig(t, nil)
	cfg.Local.Data = filepath.Join(t.TempDir(), "var", "lib", "perto")
	if _, err := New(cfg); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(cfg.Local.Data); err != nil || !info.IsDir() {
		t.Errorf("got %v, error %v; want a folder", info, err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.Local.Data = filepath.Join(file, "below")
	if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "create data folder "+cfg.Local.Data+": not a directory") {
		t.Errorf("got %v", err)
	}
}
