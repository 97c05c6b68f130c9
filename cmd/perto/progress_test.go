package main

import (
	"io"
	"os"
	"strings"
	"testing"
)

// TestProgressKeepsLogLinesWhole: on a terminal a line of the log replaces the changing line,
// which then appears again below it.
func TestProgressKeepsLogLinesWhole(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := startProgress(&env{err: w, rawErr: w}, false)
	p.terminal = true // a pipe is none
	p.begin("the edges, 1 of 2")
	p.begin("the edges, 2 of 2")
	io.WriteString(p, "level=WARN msg=slow\n")
	p.end()
	p.end()
	io.WriteString(p, "level=INFO msg=later\n")
	w.Close()
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	const edges = clearLine + "starting, 0 s: the edges, "
	if want := edges + "1 of 2" + edges + "2 of 2" + clearLine + "level=WARN msg=slow\n" + edges + "2 of 2" + clearLine + "level=INFO msg=later\n"; string(got) != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

// TestProgressOnADumbTerminal: a terminal that has no control sequences, for example a shell
// in Emacs, gets lines.
func TestProgressOnADumbTerminal(t *testing.T) {
	device, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0) // a character device, as a terminal
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	for term, want := range map[string]bool{"dumb": false, "xterm": true} {
		t.Setenv("TERM", term)
		p := startProgress(&env{err: device, rawErr: device}, false)
		if p.end(); p.terminal != want {
			t.Errorf("TERM=%s: control sequences %v, want %v", term, p.terminal, want)
		}
	}
}

// TestProgressWritesALineForEachStep: elsewhere the parts of a step make no lines.
func TestProgressWritesALineForEachStep(t *testing.T) {
	var b strings.Builder
	p := startProgress(&env{err: &b, rawErr: &b}, false)
	for _, step := range []string{"the edges, 1 of 2", "the edges, 2 of 2", "the doors"} {
		p.begin(step)
	}
	p.end()
	if got := b.String(); got != "starting, 0.0 s: the edges, 1 of 2\nstarting, 0.0 s: the doors\n" {
		t.Errorf("got %q", got)
	}
}
