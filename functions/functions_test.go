package functions

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"perto"
)

// compiled is where compiled guests are kept for all tests: with the race detector
// it takes seconds to compile one.
var compiled string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "perto-compiled-*")
	if err != nil {
		panic(err)
	}
	compiled = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// guests are built once for all tests.
var guests = sync.OnceValues(func() (map[string][]byte, error) {
	dir, err := os.MkdirTemp("", "perto-guests-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := make(map[string][]byte)
	for name, flags := range map[string][]string{"handler": {"-buildmode=c-shared"}, "command": nil} {
		file := filepath.Join(dir, name+".wasm")
		cmd := exec.Command("go", append(append([]string{"build", "-o", file}, flags...), "./testdata/guests/"+name)...)
		cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=")
		if text, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%v: %s", err, text)
		}
		if out[name], err = os.ReadFile(file); err != nil {
			return nil, err
		}
	}
	return out, nil
})

func load(t *testing.T, guest string, cfg HostConfig, o ModuleOptions) *Module {
	t.Helper()
	all, err := guests()
	if err != nil {
		t.Fatal(err)
	}
	cfg.CacheDir = compiled
	if cfg.Limits.Wall == 0 {
		cfg.Limits.Wall = time.Minute // a crowded machine is not what is tested
	}
	h, err := NewHost(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	m, err := h.Load(t.Context(), guest, all[guest], o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func get(uri string) *Request {
	return &Request{Method: "GET", URI: uri, Protocol: "HTTP/1.1", Source: netip.MustParseAddrPort("192.0.2.7:1234"),
		Header: http.Header{"X-Two": {"a", "b"}, "Accept": {"*/*"}, "Proxy": {"evil"}}}
}

func TestHTTPHandler(t *testing.T) {
	var logged bytes.Buffer
	m := load(t, "handler", HostConfig{Logger: slog.New(slog.NewTextHandler(&logged, nil))}, ModuleOptions{Config: []byte("cfg")})
	echo := get("/echo")
	echo.Method, echo.Body = "POST", []byte("in small parts")
	for _, tt := range []struct {
		q    *Request
		want string
	}{
		{get("/hello?x=1"), "200 hello GET /hello?x=1 from 192.0.2.7:1234"},
		{get("/config"), "200 cfg 3"},
		{echo, "200 IN SMALL PARTS"},
		{get("/headers"), "200 3 accept|proxy|x-two| 2 a|b|"},
		{get("/tiny"), "200 5"},
		{get("/log"), "200 "},
	} {
		r, err := m.Handle(t.Context(), tt.q, nil)
		if err != nil {
			t.Errorf("%s: %v", tt.q.URI, err)
			continue
		}
		if got := fmt.Sprintf("%d %s", r.Status, r.Body); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.q.URI, got, tt.want)
		}
	}
	if !strings.Contains(logged.String(), `level=WARN msg="a line" module=handler`) {
		t.Errorf("logged %q", logged.String())
	}
}

// TestMiddleware: what the guest lets pass is answered by the next one, as the
// guest changed it, and the guest sees the answer.
func TestMiddleware(t *testing.T) {
	m := load(t, "handler", HostConfig{}, ModuleOptions{})
	q := get("/pass")
	r, err := m.Handle(t.Context(), q, func(q *Request) (*Response, error) {
		r := newResponse()
		r.Status, r.Body = 203, []byte(q.URI+" "+q.Header.Get("X-Guest"))
		r.Header.Set("X-Secret", "1")
		return r, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.Status != 203 || string(r.Body) != "/rewritten was here" || r.Header.Get("X-After") != "7 0 203" || r.Header.Get("X-Secret") != "" {
		t.Errorf("got %d %q %v", r.Status, r.Body, r.Header)
	}
	if q.URI != "/pass" || q.Header.Get("X-Guest") != "" {
		t.Errorf("the caller's request was changed: %v", q)
	}
	r, err = m.Handle(t.Context(), get("/refused"), func(*Request) (*Response, error) { return nil, errors.New("no origin") })
	if err != nil || r.Status != 503 || string(r.Body) != "the next one failed" {
		t.Errorf("a next one that fails: got %v, %v", r, err)
	}
}

// TestWhatAGuestMayNot: each breaks one rule; that request fails with a reason, and
// the next one is answered.
func TestWhatAGuestMayNot(t *testing.T) {
	m := load(t, "handler", HostConfig{Limits: Limits{Wall: 3 * time.Second, Memory: 32 << 20, Response: 1 << 20}}, ModuleOptions{})
	for uri, want := range map[string]struct {
		is   error
		text string
	}{
		"/loop":    {ErrDeadline, "longer than it may (3s)"},
		"/trap":    {ErrTrap, ""},
		"/big":     {ErrResponse, ""},
		"/grow":    {ErrTrap, ""},
		"/pointer": {ErrTrap, "pointer leads out of its memory"},
		"/smuggle": {ErrTrap, "no value of a header field"},
		"/status":  {ErrTrap, "no final status"},
	} {
		r, err := m.Handle(t.Context(), get(uri), nil)
		if !errors.Is(err, want.is) || !strings.Contains(err.Error(), want.text) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, %v; want %v %q", uri, r, err, want.is, want.text)
		}
		if e, ok := errors.AsType[*perto.Error](err); !ok || e.Path != "handler" {
			t.Errorf("%s: the error does not name the module: %v", uri, err)
		}
		if r, err := m.Handle(t.Context(), get("/hello"), nil); err != nil || r.Status != 200 {
			t.Errorf("after %s: %v, %v", uri, r, err)
		}
	}
}

func TestActivation(t *testing.T) {
	for activation, want := range map[Activation]string{Pooled: "1 2 3", PerRequest: "1 1 1", Singleton: "1 2 3"} {
		m := load(t, "handler", HostConfig{}, ModuleOptions{Activation: activation})
		var got []string
		for range 3 {
			r, err := m.Handle(t.Context(), get("/count"), nil)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, string(r.Body))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: got %v, want %s", activation, got, want)
		}
		again, err := ParseActivation(activation.String())
		if err != nil || again != activation {
			t.Errorf("%s: read as %v, %v", activation, again, err)
		}
	}
	if _, err := ParseActivation("sometimes"); err == nil {
		t.Error("an unknown policy was accepted")
	}
}

// TestSingletonWaitsNoLongerThanItMay: who comes while the only instance is in an
// endless loop is told so in the time that a call has.
func TestSingletonWaitsNoLongerThanItMay(t *testing.T) {
	m := load(t, "handler", HostConfig{Limits: Limits{Wall: 2 * time.Second}}, ModuleOptions{Activation: Singleton})
	var wg sync.WaitGroup
	begin := time.Now()
	for range 4 {
		wg.Go(func() {
			if _, err := m.Handle(t.Context(), get("/loop"), nil); !errors.Is(err, ErrDeadline) {
				t.Errorf("got %v", err)
			}
		})
	}
	wg.Wait()
	if took := time.Since(begin); took > 7*time.Second { // one after the other: 8 s
		t.Errorf("four calls of 2 s took %v", took)
	}
}

// TestInstancesShareNothing: many at once, each with memory and random numbers of
// its own.
func TestInstancesShareNothing(t *testing.T) {
	m := load(t, "handler", HostConfig{}, ModuleOptions{Activation: PerRequest})
	var mu sync.Mutex
	seen := make(map[string]bool)
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			q := get("/echo")
			q.Method, q.Body = "POST", fmt.Appendf(nil, "body %d", i)
			if r, err := m.Handle(t.Context(), q, nil); err != nil || string(r.Body) != fmt.Sprintf("BODY %d", i) {
				t.Errorf("%d: got %v, %v", i, r, err)
			}
			r, err := m.Handle(t.Context(), get("/random"), nil)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if seen[string(r.Body)] {
				t.Errorf("%s came twice", r.Body)
			}
			seen[string(r.Body)] = true
		})
	}
	wg.Wait()
}

func TestCommand(t *testing.T) {
	var logged bytes.Buffer
	m := load(t, "command", HostConfig{Limits: Limits{Wall: time.Minute, Response: 1 << 20}, Logger: slog.New(slog.NewTextHandler(&logged, nil))}, ModuleOptions{Activation: Singleton})
	if m.ABI != WAGI || m.pool.activation != PerRequest {
		t.Errorf("got %s, %s", m.ABI, m.pool.activation)
	}
	q := get("/a?b=c")
	q.Method, q.Body = "PUT", []byte("in")
	r, err := m.Handle(t.Context(), q, nil)
	if err != nil || r.Status != 201 || r.Header.Get("Content-Type") != "text/plain" || string(r.Body) != `PUT /a?b=c a, b "in" proxy="" args=[]` {
		t.Errorf("got %+v, %v: %s", r, err, r.Body)
	}
	if r, err := m.Handle(t.Context(), get("/a?one+two"), nil); err != nil || !strings.Contains(string(r.Body), `args=["one" "two"]`) {
		t.Errorf("arguments: got %s, %v", r.Body, err)
	}
	if r, err := m.Handle(t.Context(), get("/moved"), nil); err != nil || r.Status != 302 {
		t.Errorf("a location: got %v, %v", r, err)
	}
	if r, err := m.Handle(t.Context(), get("/file"), nil); err != nil || !strings.Contains(string(r.Body), "open /etc/passwd") {
		t.Errorf("a file: got %v, %v", r, err)
	}
	for uri, want := range map[string]string{"/silent": "does not begin with header fields", "/fail": "ended with code 3", "/big": ErrResponse.Error()} {
		if r, err := m.Handle(t.Context(), get(uri), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, %v; want %q", uri, r, err, want)
		}
	}
	if !strings.Contains(logged.String(), "no luck today") {
		t.Errorf("logged %q", logged.String())
	}
}

func TestLoadRefuses(t *testing.T) {
	h, err := NewHost(t.Context(), HostConfig{Limits: Limits{Module: 1 << 10}})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	header := string(wasmCore)
	for name, tt := range map[string]struct{ wasm, want string }{
		"empty":     {"", "no WebAssembly module"},
		"text":      {"#!/bin/sh", "no WebAssembly module"},
		"component": {string(wasmComponent) + "\x00", "it is a component"},
		"truncated": {header + "\x01\x7f", ""},
		"nothing":   {header, "exports nothing that could answer"},
		"large":     {header + strings.Repeat("\x00", 1<<10), "the limit is 1024"},
		"import":    {header + "\x01\x04\x01\x60\x00\x00\x02\x09\x01\x03env\x01f\x00\x00", "it imports env.f"},
	} {
		m, err := h.Load(t.Context(), name, []byte(tt.wasm), ModuleOptions{})
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v, %v; want %q", name, m, err, tt.want)
		}
	}
}

// TestHostFunctionsWithRandomPointers: whatever a guest gives, the host stands. The
// numbers are those of memory that is there, at its end, and beyond.
func TestHostFunctionsWithRandomPointers(t *testing.T) {
	m := load(t, "handler", HostConfig{}, ModuleOptions{})
	in, put, err := m.get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer put(false)
	mem := in.module.Memory()
	rng := rand.New(rand.NewPCG(1, 2))
	pick := func() uint64 {
		size := uint64(mem.Size())
		return []uint64{0, 1, rng.Uint64N(size), size - 1, size, size + 1, 1<<32 - 1, rng.Uint64() & 0xffffffff, rng.Uint64N(64)}[rng.IntN(9)]
	}
	guest := func(f func()) (err any) {
		defer func() { err = recover() }()
		f()
		return nil
	}
	for range 2_000 {
		c := &call{module: m, instance: in, request: get("/x").clone(), after: rng.IntN(2) == 0}
		c.request.Body = []byte("body")
		s := []uint64{pick(), pick(), pick(), pick(), pick()}
		for _, f := range []func(){
			func() { give(mem, []uint64{s[0], s[1]}, []byte("value")) },
			func() { giveList(mem, []uint64{0, 0, 0}, s[0], s[1], []string{"a", "bc"}) },
			func() { c.readBody(mem, []uint64{s[0] % 3, s[1], s[2]}) },
			func() { c.writeBody(s[0]%3, take(mem, s[1], s[2])) },
			func() { c.changeable(s[0] % 5)[fieldName(mem, s[1], s[2])] = []string{fieldValue(mem, s[3], s[4])} },
		} {
			if err := guest(f); err != nil {
				if _, ok := err.(guestError); !ok {
					t.Fatalf("%v: the host broke: %v", s, err)
				}
			}
		}
	}
}

func BenchmarkHandle(b *testing.B) {
	all, err := guests()
	if err != nil {
		b.Fatal(err)
	}
	for _, activation := range []Activation{Pooled, PerRequest} {
		b.Run("go/"+activation.String(), func(b *testing.B) {
			h, err := NewHost(b.Context(), HostConfig{})
			if err != nil {
				b.Fatal(err)
			}
			defer h.Close()
			m, err := h.Load(b.Context(), "handler", all["handler"], ModuleOptions{Activation: activation})
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if r, err := m.Handle(b.Context(), get("/hello"), nil); err != nil || r.Status != 200 {
					b.Fatal(r, err)
				}
			}
		})
	}
}
