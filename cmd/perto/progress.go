package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// progress shows the step of a long start on stderr. On a terminal it is one line that
// changes, elsewhere each step is a line. It shows the elapsed time every second.
type progress struct {
	out      io.Writer
	log      io.Writer // of lines that Write gets
	terminal bool
	start    time.Time
	done     chan struct{}
	running  sync.WaitGroup
	ending   sync.Once

	mu    sync.Mutex
	step  string
	ended bool
}

// startProgress shows progress until end is called. With plain set, it writes lines on a
// terminal too, because other lines are between them.
func startProgress(e *env, plain bool) *progress {
	p := &progress{out: e.err, log: e.err, start: time.Now(), done: make(chan struct{})}
	if isTerminal(e.rawErr) && os.Getenv("TERM") != "dumb" && !plain {
		p.out, p.terminal = e.rawErr, true // it writes control sequences
	}
	p.running.Go(p.tick)
	return p
}

// tick shows the elapsed time every second.
func (p *progress) tick() {
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for {
		select {
		case <-second.C:
			p.mu.Lock()
			p.show()
			p.mu.Unlock()
		case <-p.done:
			return
		}
	}
}

// begin shows the next step, for example "the edges, 3 of 15". The part after the comma
// makes no line of its own.
func (p *progress) begin(step string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before, _, _ := strings.Cut(p.step, ",")
	now, _, _ := strings.Cut(step, ",")
	p.step = step
	if p.terminal || now != before {
		p.show()
	}
}

// Write writes lines of a log above the changing line.
func (p *progress) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.terminal || p.ended {
		return p.log.Write(b)
	}
	fmt.Fprint(p.out, clearLine)
	n, err := p.log.Write(b)
	p.show()
	return n, err
}

// clearLine moves a terminal's cursor to the start of the line and clears the line.
const clearLine = "\r\x1b[K"

// show writes the current step. The caller holds the mutex.
func (p *progress) show() {
	if p.step == "" {
		return
	}
	seconds := time.Since(p.start).Seconds()
	if p.terminal {
		fmt.Fprintf(p.out, "%sstarting, %.0f s: %s", clearLine, seconds, p.step)
		return
	}
	fmt.Fprintf(p.out, "starting, %.1f s: %s\n", seconds, p.step)
}

// end removes the changing line. It may be called again.
func (p *progress) end() {
	p.ending.Do(func() {
		close(p.done)
		p.running.Wait()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.ended = true
		if p.terminal {
			fmt.Fprint(p.out, clearLine)
		}
	})
}

// isTerminal reports whether a writer is a terminal.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	s, err := f.Stat()
	return err == nil && s.Mode()&os.ModeCharDevice != 0
}
