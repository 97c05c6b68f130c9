package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"perto"
	"perto/config"
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
	if o := originState(t, l); o.State != "well" || o.Origin != "origin.shop.example:"+site[strings.LastIndexByte(site, ':')+1:] {
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

func isInvalid(err error) bool {
	e, ok := errors.AsType[*perto.Error](err)
	return ok && e.Kind == perto.KindInvalid
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// echoSite replies with the fields of the request that name its host and client.
func echoSite(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	h := r.Header
	fmt.Fprintf(w, "%s %s host=%s xfh=%s xfp=%s xff=%s", r.Method, r.URL.Path, r.Host, h.Get("X-Forwarded-Host"), h.Get("X-Forwarded-Proto"), h.Get("X-Forwarded-For"))
}

// TestOwnSiteGetsEveryPath: with a site of the user, no function of the demo answers.
// The site gets its own host in Host and the client's in X-Forwarded-Host, also for
// GET.
func TestOwnSiteGetsEveryPath(t *testing.T) {
	t.Parallel()
	site := httptest.NewServer(http.HandlerFunc(echoSite))
	t.Cleanup(site.Close)
	own := strings.TrimPrefix(site.URL, "http://")
	m, err := maps()
	if err != nil {
		t.Fatal(err)
	}
	demo, err := DemoWorld(m.place)
	if err != nil {
		t.Fatal(err)
	}
	file := *demo // as a file of the user: no functions
	file.World.Services = append([]config.Service(nil), demo.World.Services...)
	file.World.Services[0].Functions = nil
	for name, c := range map[string]struct {
		edit func(*Config)
		host string
	}{
		"demo world":              {func(*Config) {}, own},
		"file, with another host": {func(c *Config) { c.World, c.OriginHost = &file, "app.test:81" }, "app.test:81"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := startLab(t, func(cfg *Config) { cfg.Origin = site.URL; c.edit(cfg) })
			v := at(t, l, "sao-paulo")
			for _, path := range []string{"/", "/search", "/prices", "/greeting", "/thumb/1"} {
				f := fetch(t, v, "http://www.shop.example"+path)
				want := fmt.Sprintf("GET %s host=%s xfh=www.shop.example xfp=http xff=%s", path, c.host, v.Host.Addrs[0])
				got := string(f.Body)
				if alt := strings.Replace(want, v.Host.Addrs[0].String(), v.Host.Addrs[1].String(), 1); f.Status != 200 || got != want && got != alt {
					t.Errorf("%d %q, want %q", f.Status, f.Body, want)
				}
			}
			if name == "demo world" {
				getPost(t, l, own)
			}
		})
	}
	for _, bad := range []string{"https://localhost:1", "http://", "ftp://x", "http://u@localhost:1"} {
		if _, err := Up(t.Context(), Config{Geo: m.geo, Place: m.place, Ports: Ports{Ephemeral: true}, Origin: bad}); !isInvalid(err) {
			t.Errorf("origin %s: %v", bad, err)
		}
	}
	if _, err := Up(t.Context(), Config{Geo: m.geo, Place: m.place, Ports: Ports{Ephemeral: true}, Origin: site.URL, OriginHost: "a b"}); !isInvalid(err) {
		t.Errorf("a bad host: %v", err)
	}
}

// getPost checks the fields of a POST, through a web door.
func getPost(t *testing.T, l *Lab, own string) {
	t.Helper()
	resp, err := browser(t).Post(webDoorOf(t, l, "tokyo")+"/form", "text/plain", strings.NewReader("x"))
	must(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(t, err)
	if !strings.HasPrefix(string(body), "POST /form host="+own+" xfh=www.shop.example xfp=http xff=") {
		t.Errorf("a POST: %q", body)
	}
}

// TestSiteMistakes: the error names the part of the URL that is wrong, and no password.
func TestSiteMistakes(t *testing.T) {
	for text, want := range map[string]string{"localhost:3000": "not an http site", "/": "not an http site", "https://localhost:3000": "by http only",
		"http://localhost:3000/app": "no path", "http://localhost?a": "no path", "http://me:secret@localhost": "no user name"} {
		if _, err := parseSite(text); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v", text, err)
		}
	}
	for _, text := range []string{"http://localhost:3000", "http://[::1]:3000/"} {
		if _, err := parseSite(text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}
