package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"perto/internal/printable"
)

// commands reports whether text has control sequences of terminals, or characters that
// end a line.
func commands(text string) bool {
	return strings.ContainsFunc(text, func(r rune) bool {
		return r < ' ' || 0x7f <= r && r < 0xa0 || 0x202a <= r && r <= 0x202e || 0x2066 <= r && r <= 0x2069 || r == 0x2028 || r == 0x2029
	})
}

// FuzzLogLine: any text becomes one line of a node's log.
func FuzzLogLine(f *testing.F) {
	for _, s := range []string{"", "plain", "a\nlevel=ERROR msg=forged", "\x1b[31m", "\u009b2J", "\u202e", "\xff", "\r", "\u2028", "a\" b=c", "\x7f\u0085"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var out strings.Builder
		e := &env{ctx: context.Background(), err: printable.NewWriter(&out)}
		logger(e, false).Warn(s, "text", s, "err", errors.New(s))
		line, ok := strings.CutSuffix(out.String(), "\n")
		if !ok || commands(line) {
			t.Fatalf("%q became %q", s, out.String())
		}
	})
}

// TestBodiesAreUnchanged: in a file and for another program.
func TestBodiesAreUnchanged(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	const says = "../../functions/testdata/guests/says/says.wasm"
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	e := &env{out: printable.NewWriter(file), raw: file}
	e.body([]byte("\x1b[2J\xff\n"))
	if got, err := os.ReadFile(file.Name()); err != nil || string(got) != "\x1b[2J\xff\n" {
		t.Errorf("got %q, %v", got, err)
	}
	var diagnostics strings.Builder
	if code := run(t.Context(), []string{"fn", "invoke", says, "/?H%03x-av%c2%9b%ff"}, io.Discard, &diagnostics); code != 0 || !strings.Contains(diagnostics.String(), `x-a: v\u009b\xff`+"\n") {
		t.Errorf("fn invoke: exit code %d, %q", code, diagnostics.String())
	}
	diagnostics.Reset()
	if code := run(t.Context(), []string{"fn", "invoke", says, "/?u/%0d%0a%1b"}, io.Discard, &diagnostics); code == 0 || strings.Contains(diagnostics.String(), "\x1b") || !strings.Contains(diagnostics.String(), "cannot be part of a request line") {
		t.Errorf("fn invoke of a guest that is ended: exit code %d, %q", code, diagnostics.String())
	}
}
