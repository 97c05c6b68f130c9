package functions

import (
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"perto/internal/printable"
)

// Line is a line that a function has logged.
type Line struct {
	Number uint64     `json:"number"` // from 1 on; gaps are dropped lines
	Time   time.Time  `json:"time"`
	Level  slog.Level `json:"level"`
	Text   string     `json:"text"` // one line without control characters (package printable)

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

// keptLines is the most lines that a log keeps.
const keptLines = 512

// Add appends a line. client is the client of the request that logged it, or the zero
// address. When the log is full, Add drops the oldest line of the client with the most
// lines. So a client with many lines replaces its own.
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

// network returns the network by which lines of a client are counted: an IPv4 address,
// or an IPv6 /56, because one client commonly has all addresses of such a network.
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

// After returns the kept lines with numbers above n, oldest first, and a channel that
// is closed when another line is added.
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
