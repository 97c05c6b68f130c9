package functions

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"perto"
	"perto/internal/fields"
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
	cache, err := NewCache(compiled)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Cache = cache
	if cfg.Limits.Wall == 0 {
		cfg.Limits.Wall = time.Minute // a crowded machine is not what is tested
	}
	h, err := NewHost(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(h.Close(), cache.Close()); err != nil {
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
		Header: fields.Of("X-Two", "a", "X-Two", "b", "Accept", "*/*", "Proxy", "evil")}
}

func field(h fields.Header, name string) string {
	v, _ := h.Get(name)
	return string(v)
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
		return &Response{Status: 203, Body: []byte(q.URI + " " + field(q.Header, "x-guest")), Header: fields.Of("X-Secret", "1")}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.Status != 203 || string(r.Body) != "/rewritten was here" || field(r.Header, "x-after") != "7 0 203" || r.Header.Has("x-secret") {
		t.Errorf("got %d %q %v", r.Status, r.Body, r.Header)
	}
	if q.URI != "/pass" || q.Header.Has("x-guest") {
		t.Errorf("the caller's request was changed: %v", q)
	}
	r, err = m.Handle(t.Context(), get("/refused"), func(*Request) (*Response, error) { return nil, errors.New("no origin") })
	if err != nil || r.Status != 503 || string(r.Body) != "the next one failed" {
		t.Errorf("a next one that fails: got %v, %v", r, err)
	}
}

// TestStatusesWithoutABody: RFC 9110, sections 15.3.5, 15.3.6 and 15.4.5.
func TestStatusesWithoutABody(t *testing.T) {
	m := load(t, "handler", HostConfig{}, ModuleOptions{})
	for status, want := range map[int]string{200: "body", 204: "", 205: "", 304: "", 404: "body"} {
		r, err := m.Handle(t.Context(), get("/hello/"+strconv.Itoa(status)), nil)
		if err != nil || r.Status != status || string(r.Body) != want {
			t.Errorf("%d: got %+v, %v", status, r, err)
		}
	}
}

// TestHEADThroughAGuest: the length of what passes stays; it goes when the guest has
// changed the body, whose length for GET it does not tell.
func TestHEADThroughAGuest(t *testing.T) {
	next := func(*Request) (*Response, error) {
		return &Response{Status: 200, Header: fields.Of("Content-Length", "1000")}, nil
	}
	for guest, want := range map[string]string{"says": "1000", "where": ""} {
		wasm, err := os.ReadFile("testdata/guests/" + guest + "/" + guest + ".wasm")
		if err != nil {
			t.Fatal(err)
		}
		h, err := NewHost(t.Context(), HostConfig{})
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		m, err := h.Load(t.Context(), guest, wasm, ModuleOptions{})
		if err != nil {
			t.Fatal(err)
		}
		q := get("/+")
		q.Method = "HEAD"
		if r, err := m.Handle(t.Context(), q, next); err != nil || field(r.Header, "content-length") != want || len(r.Body) != 0 {
			t.Errorf("%s: got %+v, %v", guest, r, err)
		}
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
	var looped atomic.Int32
	begin := time.Now()
	for range 4 {
		wg.Go(func() {
			switch _, err := m.Handle(t.Context(), get("/loop"), nil); {
			case errors.Is(err, ErrDeadline):
				looped.Add(1)
			case !errors.Is(err, ErrBusy):
				t.Errorf("got %v", err)
			}
		})
	}
	wg.Wait()
	if took := time.Since(begin); took > 7*time.Second || looped.Load() == 0 { // one after the other: 8 s
		t.Errorf("four calls of 2 s took %v, %d had their turn", took, looped.Load())
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

// TestCopiesDrawTheirOwnRandomNumbers: Go's math/rand and the order of its maps are
// others in each instance, also in one that became the image again.
func TestCopiesDrawTheirOwnRandomNumbers(t *testing.T) {
	for _, activation := range []Activation{PerRequest, Pooled} {
		m := load(t, "handler", HostConfig{}, ModuleOptions{Activation: activation})
		if !m.About().Seeded {
			t.Fatal("the seed of Go's runtime was not found")
		}
		numbers, orders := make(map[string]bool), make(map[string]bool)
		for range 50 {
			r, err := m.Handle(t.Context(), get("/mathrand"), nil)
			if err != nil {
				t.Fatal(err)
			}
			number, order, _ := strings.Cut(string(r.Body), " ")
			numbers[number], orders[order] = true, true
			if activation == Pooled { // another instance each time
				m.pool.mu.Lock()
				for _, in := range m.pool.idle {
					m.end(in)
				}
				m.pool.idle = nil
				m.pool.mu.Unlock()
			}
		}
		if len(numbers) != 50 || len(orders) < 40 {
			t.Errorf("%s: 50 requests drew %d numbers, in %d orders of a map", activation, len(numbers), len(orders))
		}
	}
}

// TestTheSeedIsFoundLater: after the generator has changed its key some times.
func TestTheSeedIsFoundLater(t *testing.T) {
	s := &seedRecorder{seen: true, key: [seedBytes]byte{1, 2, 3}}
	first := chacha(s.key[:], 8)[4*8:] // the first four are the hash function's
	for _, draws := range []int{0, 1, 123, 124, 125, 248, 249, 5000} {
		g := rand.NewChaCha8([seedBytes]byte(first))
		for range draws {
			g.Uint64()
		}
		text, err := g.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		memory := make([]byte, 4096)
		copy(memory[1024:], text[len(text)-seedBytes:])
		memory[1024+seedHave] = 32
		copy(memory[3000:], first) // a copy without a generator
		if got := s.goSeeds(memory); !slices.Equal(got, []uint32{1024}) {
			t.Errorf("after %d draws: found at %d", draws, got)
		}
	}
	if got := new(seedRecorder).goSeeds(make([]byte, 4096)); got != nil {
		t.Errorf("without a key: found at %d", got)
	}
}

// chacha returns the first numbers of a key's stream.
func chacha(key []byte, n int) (out []byte) {
	g := rand.NewChaCha8([seedBytes]byte(key))
	for range n {
		out = binary.LittleEndian.AppendUint64(out, g.Uint64())
	}
	return out
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
	if err != nil || r.Status != 201 || field(r.Header, "content-type") != "text/plain" || string(r.Body) != `PUT /a?b=c a, b "in" proxy="" args=[]` {
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
	h, err := NewHost(t.Context(), HostConfig{Limits: Limits{Module: 1 << 10, Begin: 1500 * time.Millisecond}})
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
		"unknown":   {header + "\x01\x04\x01\x60\x00\x00\x02\x10\x01\x05perto\x06kv_put\x00\x00", "it imports perto.kv_put; perto has client_info, edge_info, fetch, fetch_body, kv_get, log, now"},
		"type":      {header + "\x01\x04\x01\x60\x00\x00\x02\x0d\x01\x05perto\x03now\x00\x00", "it imports perto.now(); this host has perto.now() -> i64"},
		"terminal":  {header + "\x01\x04\x01\x60\x00\x00" + "\x02\x0b\x01\x05perto\x01\x1b\x00\x00", `it imports perto.\u001b; perto has`},
		"memory":    {header + "\x02\x0a\x01\x03env\x01m\x02\x00\x01", "it imports its memory"},
		"big":       {header + "\x05\x04\x01\x00\xd0\x0f\x07\x05\x01\x01m\x02\x00", "it begins with 128000 KiB of memory; its limit is 65536 (give it more"},
		"big inside": {header + "\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x05\x04\x01\x00\xd0\x0f\x07\x0a\x01\x06_start\x00\x00\x0a\x04\x01\x02\x00\x0b",
			"there is no memory for it"},
		"loop": {header + "\x01\x04\x01\x60\x00\x00\x03\x03\x02\x00\x00\x07\x0a\x01\x06_start\x00\x01\x08\x01\x00\x0a\x0c\x02\x07\x00\x03\x40\x0c\x00\x0b\x0b\x02\x00\x0b",
			"it took longer than it may (1.5s)"},
		"import": {header + "\x01\x04\x01\x60\x00\x00\x02\x09\x01\x03env\x01f\x00\x00", "it imports env.f"},
	} {
		m, err := h.Load(t.Context(), name, []byte(tt.wasm), ModuleOptions{})
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v, %v; want %q", name, m, err, tt.want)
		}
	}
}

// TestHostFunctionsWithRandomPointers: whatever a guest gives, the host stands, and
// ends the guest or answers. The numbers are those of memory that is there, at its
// end, and beyond.
func TestHostFunctionsWithRandomPointers(t *testing.T) {
	m := load(t, "handler", HostConfig{}, ModuleOptions{KV: map[string]string{"": "empty", "k": "v"}})
	first := &call{ctx: t.Context(), module: m, deadline: time.Now().Add(time.Hour)}
	in, err := m.get(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	defer m.put(in, false)
	rng := rand.New(rand.NewPCG(1, 2))
	pick := func() uint64 {
		size := uint64(in.memory.Size())
		return []uint64{0, 1, rng.Uint64N(size), size - 1, size, size + 1, 1<<32 - 1, rng.Uint64() & 0xffffffff, rng.Uint64N(64)}[rng.IntN(9)]
	}
	functions := append(httpHandlerFunctions(), ownFunctions()...)
	if len(functions) < 25 {
		t.Fatalf("there are %d host functions", len(functions))
	}
	ended := make(map[string]int)
	for range 2_000 {
		q := *get("/x")
		q.Body = []byte("body")
		c := &call{ctx: t.Context(), module: m, instance: in, request: &q, after: rng.IntN(2) == 0, deadline: time.Now().Add(time.Hour),
			next: func(*Request) (*Response, error) { return &Response{Status: 200, Body: []byte("other")}, nil }}
		for range 20 {
			f := functions[rng.IntN(len(functions))]
			s := []uint64{pick(), pick(), pick(), pick(), pick()}
			func() {
				defer func() {
					switch err := recover().(type) {
					case nil:
					case guestError:
						ended[f.name]++
					default:
						t.Fatalf("%s%v: the host broke: %v", f.name, s, err)
					}
				}()
				f.run(c, in.memory, s[:max(len(f.params), 1)])
			}()
		}
		if len(q.Header) > maxFields || len(q.Body) > m.limits.Response {
			t.Fatalf("the request grew to %d fields, %d bytes", len(q.Header), len(q.Body))
		}
	}
	for _, name := range []string{"get_uri", "read_body", "write_body", "set_header_value", "kv_get", "fetch", "edge_info"} {
		if ended[name] == 0 {
			t.Errorf("%s never met a pointer that leads out of memory", name)
		}
	}
}

// TestWhatPertoGives: the imports of our own.
func TestWhatPertoGives(t *testing.T) {
	cfg := HostConfig{Self: Self{Name: "gru-1", PoP: "gru", City: "São Paulo", Country: "BR", Placement: "edge"},
		Locate: func(a netip.Addr) (perto.Place, bool) {
			return perto.Place{Name: "Lisboa", Country: "PT", Lat: 38.7, Lon: -9.1}, a == netip.MustParseAddr("192.0.2.7")
		}}
	m := load(t, "handler", cfg, ModuleOptions{KV: map[string]string{"BR": "BRL 5.40", "": "nothing"}, Limits: Limits{Subrequests: 2}})
	elsewhere := get("/where")
	elsewhere.Source = netip.MustParseAddrPort("[2001:db8::1]:1")
	self := `{"name":"gru-1","pop":"gru","city":"São Paulo","country":"BR","placement":"edge"}`
	for _, tt := range []struct {
		q    *Request
		want string
	}{
		{get("/where"), self + `{"address":"192.0.2.7","city":"Lisboa","country":"PT","lat":38.7,"lon":-9.1}`},
		{elsewhere, self + `{"address":"2001:db8::1","city":"","country":"","lat":0,"lon":0}`},
		{get("/kv?BR"), "8 BRL 5.40"},
		{get("/kv?PT"), "-1 "},
		{get("/kv?"), "7 nothing"},
		{get("/fetch?/a"), "200=got /a GET;"},
		{get("/fetch?/a&b&/fails"), "200=got /a GET;-1=;-2=;"},
	} {
		r, err := m.Handle(t.Context(), tt.q, func(q *Request) (*Response, error) {
			if q.URI == "/fails" {
				return nil, errors.New("no")
			}
			return &Response{Status: 200, Body: []byte("got " + q.URI + " " + q.Method)}, nil
		})
		if err != nil || string(r.Body) != tt.want {
			t.Errorf("%s: got %q, %v; want %q", tt.q.URI, r.Body, err, tt.want)
		}
	}
	before := time.Now().UnixNano()
	r, err := m.Handle(t.Context(), get("/now"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if at, err := strconv.ParseInt(string(r.Body), 10, 64); err != nil || at < before || at > time.Now().UnixNano() {
		t.Errorf("now: got %s, %v", r.Body, err)
	}
}

// TestCopiesOfAnImage: an instance that answers one request is what it was before,
// whatever the request did to its memory; each copy hears a number of its own.
func TestCopiesOfAnImage(t *testing.T) {
	m := load(t, "handler", HostConfig{}, ModuleOptions{Activation: PerRequest})
	if m.Image() == nil || m.Image().Size() == 0 || !m.About().Reseeds {
		t.Fatalf("no image was taken: %+v", m.About())
	}
	seeds := make(map[string]bool)
	for i := range 20 {
		for uri, want := range map[string]string{"/count": "1", "/dirty": "1", "/seed": ""} {
			r, err := m.Handle(t.Context(), get(uri), nil)
			if err != nil {
				t.Fatal(err)
			}
			if want != "" && string(r.Body) != want {
				t.Fatalf("%d: %s: got %s", i, uri, r.Body)
			}
			if uri == "/seed" {
				seeds[string(r.Body)] = true
			}
		}
	}
	if len(seeds) != 20 || seeds["0"] {
		t.Errorf("20 copies heard %d numbers", len(seeds))
	}
	if n := m.stats.Cold.Value(); n > 40 {
		t.Errorf("%d instances were made for 60 requests", n)
	}
	if n := m.stats.Ended[Answered].Value(); n != 60 {
		t.Errorf("%d requests were counted", n)
	}
}

// TestGuestsGiveWay: with more endless loops than threads the garbage collector and
// other requests still have their turn.
func TestGuestsGiveWay(t *testing.T) {
	m := load(t, "handler", HostConfig{}, ModuleOptions{Limits: Limits{Wall: 20 * time.Second}})
	ctx, stop := context.WithCancel(t.Context())
	var loops sync.WaitGroup
	for range 2 * runtime.GOMAXPROCS(0) {
		loops.Go(func() {
			if _, err := m.Handle(ctx, get("/loop"), nil); !errors.Is(err, errEnded) {
				t.Errorf("a loop whose caller goes: %v", err)
			}
		})
	}
	begin := time.Now()
	for range 3 {
		runtime.GC()
		if _, err := m.Handle(t.Context(), get("/hello"), nil); err != nil {
			t.Error(err)
		}
	}
	if took := time.Since(begin); took > 15*time.Second { // before, it took until the loops ended
		t.Errorf("three collections and requests took %v", took)
	}
	stop()
	loops.Wait()
}

// TestCloseLeavesCallersAlone: who holds a module that was replaced can finish.
func TestCloseLeavesCallersAlone(t *testing.T) {
	m := load(t, "handler", HostConfig{}, ModuleOptions{})
	began, closed := make(chan struct{}), make(chan struct{})
	go func() {
		<-began
		m.Close()
		close(closed)
	}()
	r, err := m.Handle(t.Context(), get("/pass"), func(*Request) (*Response, error) {
		close(began)
		<-closed
		return &Response{Status: 200}, nil
	})
	if err != nil || r.Status != 200 {
		t.Errorf("got %v, %v", r, err)
	}
	if r, err := m.Handle(t.Context(), get("/hello"), nil); err != nil || r.Status != 200 {
		t.Errorf("a call of a closed module: %v, %v", r, err)
	}
}

// TestCredit: 50 ms at once, and 1 ms comes back in a second.
func TestCredit(t *testing.T) {
	var c credit
	now := time.Unix(1000, 0)
	taken := func() (d time.Duration) {
		for c.take(now) {
			d += slice
		}
		return d
	}
	if d := taken(); d != 50*time.Millisecond {
		t.Errorf("at once %v", d)
	}
	if d := taken(); d != 0 {
		t.Errorf("once more %v", d)
	}
	now = now.Add(2 * time.Second)
	if d := taken(); d != 2*time.Millisecond {
		t.Errorf("after two seconds %v", d)
	}
	now = now.Add(time.Hour)
	if d := taken(); d != 50*time.Millisecond {
		t.Errorf("after an hour %v", d)
	}
}

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
		t.Errorf("after what is to come: %v", lines)
	}
}

// TestWhatAGuestPrintsIsLogged: line by line, also why its runtime has ended.
func TestWhatAGuestPrintsIsLogged(t *testing.T) {
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

// TestAChattyClientReplacesItsOwnLines: the lines of others stay.
func TestAChattyClientReplacesItsOwnLines(t *testing.T) {
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
	for i := range 2 * keptLines { // many clients: the oldest go
		l.Add(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), slog.LevelInfo, "one")
	}
	if lines, _ = l.After(0); len(lines) != keptLines || lines[0].Text != "one" {
		t.Errorf("after many clients: %d lines from %q", len(lines), lines[0].Text)
	}
}

// TestALogLineIsOneLine: text of a client that a guest logs begins no line of its own,
// in a function's log and in the node's, and commands no terminal.
func TestALogLineIsOneLine(t *testing.T) {
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

// TestARequestLogsSoManyLines: one that goes on is said to.
func TestARequestLogsSoManyLines(t *testing.T) {
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

// BenchmarkHandle is a call of the shop's greeting, in C, and of the test guest, in Go:
// by an instance that is idle, by a fresh one (an old one that became the image
// again), and by one that is made anew from the image.
func BenchmarkHandle(b *testing.B) {
	all, err := guests()
	if err != nil {
		b.Fatal(err)
	}
	greeting, err := os.ReadFile("../origin/functions/guests/greeting.wasm")
	if err != nil {
		b.Fatal(err)
	}
	for _, guest := range []struct {
		name, uri string
		wasm      []byte
	}{{"c", "/greeting", greeting}, {"go", "/hello", all["handler"]}} {
		for _, way := range []string{"pooled", "per-request", "made-anew"} {
			b.Run(guest.name+"/"+way, func(b *testing.B) {
				h, err := NewHost(b.Context(), HostConfig{})
				if err != nil {
					b.Fatal(err)
				}
				defer h.Close()
				o := ModuleOptions{}
				if way == "per-request" {
					o.Activation = PerRequest
				}
				m, err := h.Load(b.Context(), guest.name, guest.wasm, o)
				if err != nil {
					b.Fatal(err)
				}
				q := get(guest.uri)
				for b.Loop() {
					if r, err := m.Handle(b.Context(), q, nil); err != nil || r.Status != 200 {
						b.Fatal(r, err)
					}
					if way == "made-anew" {
						m.end(m.pool.idle[0])
						m.pool.idle = nil
					}
				}
			})
		}
	}
}
