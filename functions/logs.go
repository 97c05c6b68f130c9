package functions

import (
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"perto/internal/printable"
)

// Line is what a function has logged.
type Line struct {
	Number uint64     `json:"number"` // from 1 on; a gap is lines that were dropped
	Time   time.Time  `json:"time"`
	Level  slog.Level `json:"level"`
	Text   string     `json:"text"` // one line that a terminal can show (package printable)

	client netip.Prefix // see [Logs.Add]
}

// Logs keeps the last lines of a function. The zero value is ready.
type Logs struct {
	mu     sync.Mutex
	last   uint64
	lines  []Line               // at most keptLines, in the order of their numbers
	counts map[netip.Prefix]int // lines of each client
	more   chan struct{}
}

// keptLines is how many lines are kept.
const keptLines = 512

// Add appends a line, which a request of a client has caused; the zero address stands
// for none. When there are too many lines, the oldest of the client with the most
// lines is dropped. So a client that causes many lines replaces its own.
func (l *Logs) Add(client netip.Addr, level slog.Level, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	line := Line{Number: l.last, Time: time.Now(), Level: level, Text: printable.Text(text), client: network(client)}
	if len(l.lines) >= keptLines {
		l.drop()
	}
	if l.counts == nil {
		l.counts = make(map[netip.Prefix]int)
	}
	l.counts[line.client]++
	l.lines = append(l.lines, line)
	if l.more != nil {
		close(l.more)
		l.more = nil
	}
}

// network is the client as lines are counted: an IPv4 address, or the IPv6 network of
// which one client commonly has all addresses.
func network(client netip.Addr) netip.Prefix {
	bits := 56
	if client = client.Unmap(); client.Is4() {
		bits = 32
	}
	p, _ := client.Prefix(bits) // the zero prefix for the zero address
	return p
}

// drop removes the oldest line of the client with the most lines.
func (l *Logs) drop() {
	most := 0
	for _, n := range l.counts {
		most = max(most, n)
	}
	i := slices.IndexFunc(l.lines, func(line Line) bool { return l.counts[line.client] == most })
	client := l.lines[i].client
	if l.counts[client]--; l.counts[client] == 0 {
		delete(l.counts, client)
	}
	l.lines = slices.Delete(l.lines, i, i+1)
}

// After returns the lines that are kept with numbers above n, oldest first, and a
// channel that is closed when there is one more.
func (l *Logs) After(n uint64) ([]Line, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.more == nil {
		l.more = make(chan struct{})
	}
	i, _ := slices.BinarySearchFunc(l.lines, n, func(line Line, n uint64) int {
		if line.Number > n {
			return 1
		}
		return -1
	})
	return slices.Clone(l.lines[i:]), l.more
}
