package functions

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"perto"
	"perto/internal/fields"
)

// compiled is the folder of compiled guests for all tests. With the race detector,
// compiling one takes seconds.
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

// guests builds the test guests once for all tests.
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
		cfg.Limits.Wall = time.Minute // the tests do not fail on a slow machine
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

// TestMiddleware: the next handler receives the request as the guest changed it, and
// the guest sees the response.
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

// TestResponsesWithoutBody: RFC 9110, sections 15.3.5, 15.3.6 and 15.4.5.
func TestResponsesWithoutBody(t *testing.T) {
	m := load(t, "handler", HostConfig{}, ModuleOptions{})
	for status, want := range map[int]string{200: "body", 204: "", 205: "", 304: "", 404: "body"} {
		r, err := m.Handle(t.Context(), get("/hello/"+strconv.Itoa(status)), nil)
		if err != nil || r.Status != status || string(r.Body) != want {
			t.Errorf("%d: got %+v, %v", status, r, err)
		}
	}
}

// TestHEADKeepsContentLength: Content-Length stays when the guest leaves the body
// alone. It is removed when the guest has changed the body, because the length for GET
// is then unknown.
func TestHEADKeepsContentLength(t *testing.T) {
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

// TestLimitsEndGuest: each path breaks one rule. That request fails with a reason, and
// the next one succeeds.
func TestLimitsEndGuest(t *testing.T) {
	m := load(t, "handler", HostConfig{Limits: Limits{Wall: 3 * time.Second, Memory: 32 << 20, Response: 1 << 20}}, ModuleOptions{})
	for uri, want := range map[string]struct {
		is   error
		text string
	}{
		"/loop":    {ErrDeadline, "exceeded its time limit (3s)"},
		"/trap":    {ErrTrap, ""},
		"/big":     {ErrResponse, ""},
		"/grow":    {ErrTrap, ""},
		"/pointer": {ErrTrap, "pointer is outside of its memory"},
		"/smuggle": {ErrTrap, "invalid value of a header field"},
		"/status":  {ErrTrap, "not a final status"},
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

// TestSingletonReturnsBusy: when the only instance is in an endless loop, other calls
// return ErrBusy within the time limit of a call.
func TestSingletonReturnsBusy(t *testing.T) {
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

// TestInstancesAreIsolated: concurrent instances have their own memory and their own
// random numbers.
func TestInstancesAreIsolated(t *testing.T) {
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

// TestHostFunctionsWithRandomPointers: with any parameters, a host function returns or
// ends the guest, and the host does not crash. The numbers point into the memory, to
// its end, and beyond it.
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
						t.Fatalf("%s%v: the host panicked: %v", f.name, s, err)
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
			t.Errorf("%s never received a pointer outside of memory", name)
		}
	}
}

// TestPertoImports: the host functions of module "perto".
func TestPertoImports(t *testing.T) {
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

// TestCopiesOfAnImage: with per-request activation each request finds the memory as
// the image has it. Each copy receives a random number of its own.
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
		t.Errorf("20 copies received %d numbers", len(seeds))
	}
	if n := m.stats.Cold.Value(); n > 40 {
		t.Errorf("%d instances were made for 60 requests", n)
	}
	if n := m.stats.Ended[Answered].Value(); n != 60 {
		t.Errorf("%d requests were counted", n)
	}
}

// TestLoopsYield: with more endless loops than threads, the garbage collector and other
// requests still run.
func TestLoopsYield(t *testing.T) {
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
	if took := time.Since(begin); took > 15*time.Second { // without yields, it would take until the loops end
		t.Errorf("three collections and requests took %v", took)
	}
	stop()
	loops.Wait()
}

// TestCloseKeepsModuleUsable: a caller that has a replaced module can still call it.
func TestCloseKeepsModuleUsable(t *testing.T) {
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
