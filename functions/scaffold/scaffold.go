// Package scaffold writes a project for a new function in C, Go or Rust, with bindings
// for the host functions. Start with [New].
package scaffold

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"perto"
)

//go:embed all:c all:go all:rust
var projects embed.FS

// Languages returns the languages that New accepts.
func Languages() []string { return []string{"c", "go", "rust"} }

// needs names the tools that build a project of a language.
var needs = map[string]string{
	"c":    "clang with wasm-ld (Debian: apt-get install clang lld)",
	"go":   "Go 1.24 or newer",
	"rust": "rustc with the target wasm32-unknown-unknown (rustup target add wasm32-unknown-unknown; Debian: apt-get install rustc libstd-rust-dev-wasm32)",
}

// New writes a project into a folder and returns the names of its files. It makes the
// folder and overwrites no file. needed names the tools to install. "make" then builds
// NAME.wasm.
func New(language, dir, name string) (files []string, needed string, err error) {
	fail := func(kind perto.Kind, err error, hint string) ([]string, string, error) {
		return nil, "", &perto.Error{Op: "make a function in", Path: dir, Kind: kind, Err: err, Hint: hint}
	}
	if !slices.Contains(Languages(), language) {
		return fail(perto.KindInvalid, fmt.Errorf("unknown language %q; known languages: %s", language, strings.Join(Languages(), ", ")), "")
	}
	if name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return fail(perto.KindInvalid, fmt.Errorf("invalid function name %q; use lower-case letters, digits and hyphens", name), "")
	}
	contents := make(map[string][]byte)
	err = fs.WalkDir(projects, language, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := projects.ReadFile(p)
		rel := strings.TrimSuffix(strings.TrimPrefix(p, language+"/"), ".tmpl")
		contents[rel] = []byte(strings.ReplaceAll(string(data), "FUNCTION", name))
		files = append(files, rel)
		return err
	})
	if err != nil {
		return fail(perto.KindInternal, err, "")
	}
	for _, f := range files { // check all before writing any
		if _, err := os.Lstat(filepath.Join(dir, f)); err == nil {
			return fail(perto.KindConflict, fmt.Errorf("%s already exists", f), "choose another folder")
		} else if !errors.Is(err, fs.ErrNotExist) {
			return fail(perto.KindUnavailable, err, "")
		}
	}
	for _, f := range files {
		path := filepath.Join(dir, f)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err == nil {
			err = os.WriteFile(path, contents[f], 0o644)
		}
		if err != nil {
			return fail(perto.KindUnavailable, err, "")
		}
	}
	return files, needs[language], nil
}
