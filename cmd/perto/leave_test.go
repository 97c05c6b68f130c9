package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestSecondSignalEndsTheWait: after SIGTERM a node serves for clients with cached answers.
// A second one ends it.
func TestSecondSignalEndsTheWait(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "content") }))
	defer origin.Close()
	n := startNode(t, origin.URL)
	n.write("perto.hcl", n.config(origin.URL, "", "")+`
pop "there" {
  place = "Tokyo, JP"
  edge "two" { addresses = ["127.0.0.2"] }
}
`)
	n.process.Process.Signal(syscall.SIGHUP)
	n.log.waitFor(t, "the configuration is reloaded")
	n.process.Process.Signal(syscall.SIGTERM)
	n.log.waitFor(t, "the edge leaves: new answers avoid it")
	if got := pageOf(t, n.httpPort, "shop.cdn.example", "/"); !strings.Contains(got, "content") {
		t.Errorf("while it leaves: got %q", got)
	}
	began := time.Now()
	n.process.Process.Signal(syscall.SIGTERM)
	if err := n.process.Wait(); err != nil {
		t.Errorf("the end: %v", err)
	}
	n.log.waitFor(t, "the wait for cached answers was cut short")
	if took := time.Since(began); took > 10*time.Second { // the wait is 23 s
		t.Errorf("the end took %v", took)
	}
}
