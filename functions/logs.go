package functions

import (
	"log/slog"
	"sync"
	"time"
)

// Line is what a function has logged.
type Line struct {
	Number uint64     `json:"number"` // from 1 on
	Time   time.Time  `json:"time"`
	Level  slog.Level `json:"level"`
	Text   string     `json:"text"`
}

// Logs keeps the last lines of a function. The zero value is ready.
type Logs struct {
	mu    sync.Mutex
	last  uint64
	lines []Line // a ring of keptLines
	more  chan struct{}
}

// keptLines is how many lines are kept.
const keptLines = 512

// Add appends a line.
func (l *Logs) Add(level slog.Level, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	line := Line{l.last, time.Now(), level, text}
	if len(l.lines) < keptLines {
		l.lines = append(l.lines, line)
	} else {
		l.lines[(l.last-1)%keptLines] = line
	}
	if l.more != nil {
		close(l.more)
		l.more = nil
	}
}

// After returns the lines that are kept with numbers above n, oldest first, and a
// channel that is closed when there is one more.
func (l *Logs) After(n uint64) ([]Line, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.more == nil {
		l.more = make(chan struct{})
	}
	var out []Line
	for i := max(n, l.last-uint64(len(l.lines))); i < l.last; i++ {
		out = append(out, l.lines[i%keptLines])
	}
	return out, l.more
}
