package lab

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"perto/node"
)

// startStoppable serves a handler at an address of the machine, and returns a function
// that stops it and one that starts it again.
func startStoppable(t *testing.T, h http.Handler) (url string, stop, start func()) {
	t.Helper()
	var s *httptest.Server
	at := "127.0.0.1:0"
	start = func() {
		l, err := net.Listen("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		at = l.Addr().String()
		s = &httptest.Server{Listener: l, Config: &http.Server{Handler: h}}
		s.Start()
	}
	stop = func() {
		s.CloseClientConnections()
		s.Close()
	}
	start()
	t.Cleanup(func() { stop() })
	return "http://" + at, stop, start
}

// originState returns the state of the one origin in the lab's API.
func originState(t *testing.T, l *Lab) node.OriginStatus {
	t.Helper()
	handler, err := l.API()
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest("GET", "http://127.0.0.1/api/status", nil))
	var s node.Status
	if err := json.Unmarshal(w.Body.Bytes(), &s); err != nil || len(s.Origins) != 1 {
		t.Fatalf("status %s: %v", w.Body, err)
	}
	return s.Origins[0]
}

// TestOriginThatDies: the status names a site of the user that is stopped, and heals
// with it. A killed origin is the same to the edges.
func TestOriginThatDies(t *testing.T) {
	t.Parallel()
	site, stop, start := startStoppable(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		io.WriteString(w, "alive")
	}))
	l := startLab(t, func(c *Config) { c.Origin = site })
	tokyo := at(t, l, "tokyo")
	const page = "http://www.shop.example/"
	if f := fetch(t, tokyo, page); string(f.Body) != "alive" {
		t.Fatalf("got %d %q", f.Status, f.Body)
	}
	if o := originState(t, l); o.State != "well" || o.Origin != "origin.shop.example:80" {
		t.Errorf("a living origin: %+v", o)
	}
	for name, fault := range map[string]struct{ begin, end func() }{
		"stopped": {stop, start},
		"killed":  {func() { must(t, l.Do(t.Context(), "origin", Kill)) }, func() { must(t, l.Do(t.Context(), "origin", Heal)) }},
	} {
		t.Run(name, func(t *testing.T) {
			fault.begin()
			details := ""
			for range 4 {
				f := fetch(t, tokyo, page)
				if f.Status < 500 {
					t.Errorf("got %d %q", f.Status, f.Body)
				}
				details += f.Header.Get("Cache-Status") + "\n"
			}
			if !strings.Contains(details, "detail=origin-unreachable") || !strings.Contains(details, "detail=origin-down") {
				t.Errorf("Cache-Status: %s", details)
			}
			if o := originState(t, l); !strings.Contains(o.State, "connections failed") || len(o.Failing) != 1 || o.Failing[0] != "nrt-1" {
				t.Errorf("a dead origin: %+v", o)
			}
			fault.end()
			began := time.Now()
			for fetch(t, tokyo, page).Status != 200 {
				if time.Since(began) > 15*time.Second {
					t.Fatal("it did not heal")
				}
				time.Sleep(200 * time.Millisecond)
			}
			if o := originState(t, l); o.State != "well" {
				t.Errorf("a healed origin: %+v", o)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
