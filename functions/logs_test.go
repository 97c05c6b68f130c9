package functions

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"testing"
)

func TestLogsKeepTheLast(t *testing.T) {
	var l Logs
	_, more := l.After(0)
	for i := range keptLines + 10 {
		l.Add(netip.Addr{}, slog.LevelInfo, fmt.Sprint(i))
	}
	<-more
	lines, _ := l.After(0)
	if len(lines) != keptLines || lines[0].Text != "10" || lines[0].Number != 11 || lines[keptLines-1].Text != fmt.Sprint(keptLines+9) {
		t.Errorf("got %d lines from %+v", len(lines), lines[0])
	}
	if lines, _ := l.After(keptLines + 9); len(lines) != 1 {
		t.Errorf("after the last but one: %v", lines)
	}
	if lines, _ := l.After(1 << 40); len(lines) != 0 {
		t.Errorf("after the last number: %v", lines)
	}
}

// TestLogDropsLinesOfBusiestClient: a client with many lines replaces its own lines.
func TestLogDropsLinesOfBusiestClient(t *testing.T) {
	var l Logs
	l.Add(netip.Addr{}, slog.LevelError, "it does not load")
	for i := range 100 {
		l.Add(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), slog.LevelInfo, fmt.Sprint("quiet ", i))
	}
	chatty := netip.MustParseAddr("2001:db8::1")
	for i := range 10_000 {
		l.Add(chatty, slog.LevelInfo, fmt.Sprint("chatty ", i))
		chatty = chatty.Next()
	}
	lines, _ := l.After(0)
	if len(lines) != keptLines || lines[0].Text != "it does not load" || lines[100].Text != "quiet 99" || lines[keptLines-1].Text != "chatty 9999" || lines[101].Text != "chatty 9589" {
		t.Errorf("kept %d lines: %q, %q, %q, %q", len(lines), lines[0].Text, lines[100].Text, lines[101].Text, lines[len(lines)-1].Text)
	}
	for i := 1; i < len(lines); i++ {
		if lines[i].Number <= lines[i-1].Number {
			t.Fatalf("line %d behind line %d", lines[i].Number, lines[i-1].Number)
		}
	}
	if lines, _ := l.After(lines[200].Number); len(lines) != keptLines-201 {
		t.Errorf("%d lines are behind the 201st", len(lines))
	}
	for i := range 2 * keptLines { // many clients: the oldest lines are dropped
		l.Add(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), slog.LevelInfo, "one")
	}
	if lines, _ = l.After(0); len(lines) != keptLines || lines[0].Text != "one" {
		t.Errorf("after many clients: %d lines from %q", len(lines), lines[0].Text)
	}
}

// TestLogLineHasNoControlBytes: client text that a guest logs begins no new line in the
// function's log or in the node's, and sends no terminal commands.
func TestLogLineHasNoControlBytes(t *testing.T) {
	var logged bytes.Buffer
	logs := new(Logs)
	wasm, err := os.ReadFile("testdata/guests/says/says.wasm")
	if err != nil {
		t.Fatal(err)
	}
	h, err := NewHost(t.Context(), HostConfig{Logger: slog.New(slog.NewJSONHandler(&logged, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	m, err := h.Load(t.Context(), "says", wasm, ModuleOptions{Logs: logs})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Handle(t.Context(), saying("lasked for a\n12:00:00.000 gru-1 ERROR forged\r\x1b]0;owned\x07\u009b31m\u202e\xff"), nil); err != nil {
		t.Fatal(err)
	}
	const want = `asked for a\n12:00:00.000 gru-1 ERROR forged\r\u001b]0;owned\u0007\u009b31m\u202e\xff`
	if lines, _ := logs.After(0); len(lines) != 1 || lines[0].Text != want {
		t.Errorf("logged %+v, want %q", lines, want)
	}
	if got := logged.String(); strings.Count(got, "\n") != 1 || strings.ContainsAny(got, "\x1b\x07\u009b\u202e") {
		t.Errorf("the node logged %q", got)
	}
	if _, err := m.Handle(t.Context(), saying("mG\x1b[2J"), nil); err == nil || strings.Contains(err.Error(), "\x1b") {
		t.Errorf("got %v", err)
	}
}

// TestRequestLogLimit: the log says that further lines of a request are dropped.
func TestRequestLogLimit(t *testing.T) {
	logs := new(Logs)
	m := load(t, "handler", HostConfig{}, ModuleOptions{Logs: logs})
	if _, err := m.Handle(t.Context(), get("/logs"), nil); err != nil {
		t.Fatal(err)
	}
	lines, _ := logs.After(0)
	if len(lines) != maxLines+1 || !strings.Contains(lines[maxLines].Text, "more than 64 lines") {
		t.Errorf("got %d lines, the last is %q", len(lines), lines[len(lines)-1].Text)
	}
}

// TestGuestOutputIsLogged: line by line, including the message with which a runtime ends.
func TestGuestOutputIsLogged(t *testing.T) {
	for _, tt := range []struct {
		guest, uri string
		want       []string // beginnings of lines
	}{
		{"handler", "/print", []string{"INFO one", "INFO two", "WARN of the error", "INFO three"}},
		{"handler", "/panic?a", []string{"WARN panic: no luck with /panic?a", "WARN goroutine 1 "}},
		{"handler", "/trap", []string{"WARN panic: runtime error: invalid memory address"}},
		{"command", "/fail", []string{"WARN no luck today", "WARN nor tomorrow"}},
	} {
		for _, activation := range []Activation{Pooled, PerRequest} {
			logs := new(Logs)
			m := load(t, tt.guest, HostConfig{}, ModuleOptions{Logs: logs, Activation: activation})
			for range 2 { // an instance that is used again logs for the call that uses it
				before := uint64(0)
				if lines, _ := logs.After(0); len(lines) > 0 {
					before = lines[len(lines)-1].Number
				}
				m.Handle(t.Context(), get(tt.uri), nil)
				lines, _ := logs.After(before)
				var got []string
				for _, l := range lines {
					got = append(got, l.Level.String()+" "+l.Text)
				}
				for i, want := range tt.want {
					if i >= len(got) || !strings.HasPrefix(got[i], want) {
						t.Errorf("%s, %s: line %d of %q, want %q", tt.uri, activation, i, got, want)
						break
					}
				}
			}
		}
	}
}
