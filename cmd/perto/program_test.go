package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestProgramIsACommandThatWorks(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"cmd/perto/main.go", "bin/perto", "other/perto", "my tools/perto"} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(dir, "bin/perto"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	at := func(name string) string {
		if name == "" {
			return ""
		}
		return filepath.Join(dir, name)
	}
	const temporary = "/tmp/go-build3105621345/b001/exe/perto"
	const cached = "/root/.cache/go-build/12/12606325b6ed026358ae22525b07dba7cd2726e5d30ad1bec158c2eb3d6e9fed-d/perto"
	for _, tt := range []struct {
		name, executable, arg0, inPath, dir, want string
	}{
		{"go run in the root", temporary, temporary, at("bin/perto"), dir, "go run ./cmd/perto"},
		{"go run in cmd/perto", temporary, temporary, "", at("cmd/perto"), "go run ."},
		{"go run elsewhere in the module", temporary, temporary, "", at("bin"), "go run perto/cmd/perto"},
		{"go run again", cached, cached, "", dir, "go run ./cmd/perto"},
		{"in PATH", at("bin/perto"), "perto", at("bin/perto"), dir, "perto"},
		{"in PATH by a link", at("bin/perto"), "perto", at("link"), dir, "perto"},
		{"built here", at("bin/perto"), "./perto", "", at("bin"), "./perto"},
		{"built here, another one in PATH", at("bin/perto"), "./perto", at("other/perto"), at("bin"), "./perto"},
		{"by its whole path", at("bin/perto"), at("bin/perto"), "", dir, at("bin/perto")},
		{"a path with a space", at("my tools/perto"), "my tools/perto", "", dir, "'my tools/perto'"},
		{"a folder that only looks like that of go run", "/home/me/go-builder/perto", "./perto", "", dir, "./perto"},
	} {
		if got := programOf(tt.executable, tt.arg0, tt.inPath, tt.dir); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}
