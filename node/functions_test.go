package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"perto"
	"perto/config"
	"perto/functions"
	"perto/internal/api"
	"perto/internal/simnet"
	"perto/internal/snapshot"
	"perto/mobility"
)

// where returns a guest that responds with edge_info, client_info and its configuration.
func where(t testing.TB) []byte {
	t.Helper()
	wasm, err := os.ReadFile("../functions/testdata/guests/where/where.wasm")
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

// cdn is two edges of a PoP and an origin, on a simulated network.
type cdn struct {
	*testing.T
	net   *simnet.Net
	cfg   *config.Config
	key   mobility.SigningKey
	nodes map[string]*Node
	api   map[string]mobility.Client
	data  string

	changes snapshot.Var[string] // the node with changed functions
}

const functionWorld = `
node "one" { roles = ["edge"] }
node "two" { roles = ["edge"] }
node "origin" {
  roles = ["origin"]
  place = "São Paulo, SP, BR"
}
pop "gru" {
  place = "São Paulo, SP, BR"
  edge "one" { addresses = ["203.0.113.1"] }
  edge "two" { addresses = ["203.0.113.2"] }
}
zone "cdn.example" { file = "cdn.zone" }
service "shop.cdn.example" {
  origin "http://origin" {}
  FUNCTION
}
`

func newCDN(t *testing.T, function, data string) *cdn {
	t.Helper()
	cfg, err := config.Parse([]byte(strings.Replace(functionWorld, "FUNCTION", function, 1)), "world.hcl",
		func(string) (perto.Place, error) {
			return perto.Place{Name: "São Paulo", Region: "SP", Country: "BR", Lat: -23.5, Lon: -46.6}, nil
		}, func(name string) ([]byte, error) {
			if name == "where.wasm" {
				return where(t), nil
			}
			if name == "says.wasm" {
				return os.ReadFile("../functions/testdata/guests/says/says.wasm")
			}
			return []byte("$TTL 1m\n@ SOA ns hostmaster 1 1h 1h 1h 1m\n@ NS ns\nns A 192.0.2.1\n"), nil
		})
	if err != nil {
		t.Fatal(err)
	}
	key, err := mobility.NewSigningKey("ana")
	if err != nil {
		t.Fatal(err)
	}
	c := &cdn{T: t, net: simnet.New(0, simnet.Link{}), cfg: cfg, key: key, nodes: make(map[string]*Node), api: make(map[string]mobility.Client), data: data}
	for _, name := range []string{"origin", "one", "two"} {
		c.start(name)
	}
	return c
}

func (c *cdn) start(name string) {
	c.Helper()
	local, err := c.cfg.Find(name)
	if err != nil {
		c.Fatal(err)
	}
	host := name
	if len(local.Addresses) > 0 {
		host = local.Addresses[0].String()
	}
	l := *local
	if c.data != "" {
		l.Data = c.data + "/" + name
	}
	geo, err := world()
	if err != nil {
		c.Fatal(err)
	}
	n, err := New(Config{Local: l, World: c.cfg.World, Network: c.net.Named(host), Trust: []mobility.PublicKey{c.key.Public()}, Geo: geo})
	if err != nil {
		c.Fatal(err)
	}
	changed := n.functions.changed
	n.functions.changed = func() {
		changed()
		c.changes.Store(&name)
	}
	if err := n.Start(context.Background()); err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { n.Close() })
	server := httptest.NewServer(n.FunctionAPI(api.WriteError))
	c.Cleanup(server.Close)
	c.nodes[name], c.api[name] = n, mobility.Client{Base: server.URL}
}

// get requests a path of the shop from an edge.
func (c *cdn) get(edge, path string) (status int, body string, header http.Header) {
	c.Helper()
	local, err := c.cfg.Find(edge)
	if err != nil {
		c.Fatal(err)
	}
	return c.ask(local.Addresses[0].String(), "shop.cdn.example", path)
}

// direct requests a path of the shop from the origin.
func (c *cdn) direct(path string) (status int, body string) {
	c.Helper()
	status, body, _ = c.ask("origin", "origin", path)
	return status, body
}

func (c *cdn) ask(host, site, path string) (status int, body string, header http.Header) {
	c.Helper()
	return c.do(http.MethodGet, host, site, path)
}

func (c *cdn) do(method, host, site, path string) (status int, body string, header http.Header) {
	c.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return c.net.Named("client").DialContext(ctx, "tcp", host+":80")
	}}}
	q, err := http.NewRequest(method, "http://"+site+path, nil)
	if err != nil {
		c.Fatal(err)
	}
	r, err := client.Do(q)
	if err != nil {
		c.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		c.Fatal(err)
	}
	return r.StatusCode, string(text), r.Header
}

func (c *cdn) release(version uint64, wasm []byte, settings mobility.Settings) mobility.Signed {
	c.Helper()
	s, err := mobility.Sign(c.key, mobility.Release{Service: "shop.cdn.example", Path: "/where/*", Version: version, Digest: mobility.Digest(wasm), Bytes: int64(len(wasm)),
		Settings: settings, Time: time.Now()})
	if err != nil {
		c.Fatal(err)
	}
	return s
}

// until waits until a condition holds, and checks it at each change of functions.
func (c *cdn) until(what string, holds func() bool) {
	c.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for {
		_, version := c.changes.LoadVersion()
		if holds() {
			return
		}
		if _, _, err := c.changes.Wait(ctx, version); err != nil {
			c.Fatalf("never: %s; %+v", what, c.nodes["one"].FunctionStatus())
		}
	}
}

// answers waits until the response of an edge contains a text.
func (c *cdn) answers(edge, path, want string) {
	c.Helper()
	c.until(edge+path+" "+want, func() bool {
		_, body, _ := c.get(edge, path)
		return strings.Contains(body, want)
	})
}

// TestFunctionPlacement: the same module runs at the edge or at the origin, as
// configured, in front of the shop.
func TestFunctionPlacement(t *testing.T) {
	for _, placement := range []string{"edge", "origin"} {
		c := newCDN(t, `function "/where/*" {
    module    = "where"
    config    = "hello "
    placement = "`+placement+`"
  }
  function "/healthz" {
    module    = "where"
    placement = "`+placement+`"
  }`, "")
		status, body, header := c.get("one", "/where/x")
		if status != 200 || !strings.HasPrefix(body, `hello {"name":"`) || !strings.Contains(body, `"placement":"`+placement+`"`) {
			t.Errorf("%s: got %d %q", placement, status, body)
		}
		if at := header.Get("Server-Timing"); strings.Contains(strings.Join(header.Values("Server-Timing"), " "), "fn;dur=") != (placement == "edge") {
			t.Errorf("%s: Server-Timing %q", placement, at)
		}
		if _, body, _ := c.get("one", "/where/+"); !strings.Contains(body, "<") || !strings.Contains(body, ">") {
			t.Errorf("%s: the shop's response was not wrapped: %q", placement, body)
		}
		if _, body, _ := c.get("one", "/nowhere"); strings.Contains(body, "placement") {
			t.Errorf("%s: another path: %q", placement, body)
		}
		at := map[string]string{"edge": "one", "origin": "origin"}[placement]
		if f := c.nodes[at].FunctionStatus(); len(f) != 2 || f[1].State != "running" || f[1].Requests["answered"] != 2 || f[1].About.ABI != functions.HTTPHandler {
			t.Errorf("%s: status %+v", placement, f)
		}
		if f := c.nodes["origin"].FunctionStatus(); placement == "edge" && (len(f) != 2 || f[1].Requests["answered"] != 0) {
			t.Errorf("the origin ran it once more: %+v", f)
		}
		if _, body := c.direct("/where/x"); !strings.Contains(body, `"placement":"origin"`) {
			t.Errorf("%s: a direct request to the origin gets %q", placement, body)
		}
		if placement == "edge" && (len(c.nodes["one"].edge.Explain("shop.cdn.example", "/where/x").Functions) != 1) {
			t.Error("explain does not show it")
		}
	}
}

// TestGuestsCannotSplitRequests: a guest decodes a query and uses it as target, method or
// path to fetch. A malicious query fails, and later clients get the right pages.
func TestGuestsCannotSplitRequests(t *testing.T) {
	for _, where := range []string{`phase = "client"`, `phase = "origin"`, `placement = "origin"`} {
		c := newCDN(t, `function "/p" {
    module = "says"
    `+where+`
  }`, "")
		const second = "/style.css%3fa=1%20HTTP/1.1%0d%0aHost:%20www.shop.example%0d%0aX:%20y%0d%0a%0d%0aGET%20/product/9"
		for _, text := range []string{"u" + second, "f" + second, "mGET%20" + second + "%20HTTP/1.1%0d%0a%0d%0aGET", "u", "f", "m", "u/%09", "f/%00", "m%7f", "u/%0d", "f/%0a"} {
			for range 2 {
				status, body, header := c.get("one", "/p?"+text)
				if status != 500 || !strings.Contains(header.Get("Cache-Status")+body, "fn-crash") {
					t.Errorf("%s, %s: got %d %q %q", where, text, status, header.Get("Cache-Status"), body)
				}
			}
			for id := 20; id <= 22; id++ {
				page := fmt.Sprintf("/product/%d", id)
				_, want := c.direct(page)
				if _, body, _ := c.get("one", page); body != want || !strings.Contains(body, fmt.Sprintf("%d", id)) {
					t.Fatalf("%s, after %s: %s is %.200q", where, text, page, body)
				}
			}
		}
		if status, body, _ := c.get("one", "/p?f/product/20"); status != 200 {
			t.Errorf("%s: a path that is one: got %d %q", where, status, body)
		}
		for name, n := range c.nodes {
			for _, f := range n.FunctionStatus() {
				if crashed := f.Requests["crash"]; crashed != 0 {
					lines, _, err := c.api[name].Logs(t.Context(), "shop.cdn.example", "/p", 0, false)
					if text := fmt.Sprint(lines); err != nil || !strings.Contains(text, "cannot be part of a request line") {
						t.Errorf("%s at %s: logs %s, %v", where, name, text, err)
					}
				}
			}
		}
	}
}

// TestMostSpecificFunctionHandles: at both placements.
func TestMostSpecificFunctionHandles(t *testing.T) {
	for _, placement := range []string{"edge", "origin"} {
		function := func(path, config string) string {
			return fmt.Sprintf("function %q {\n module = \"where\"\n config = %q\n placement = %q\n}\n", path, config, placement)
		}
		c := newCDN(t, function("/rc/*", "below ")+function("/rc", "itself ")+function("/*", "all "), "")
		for path, want := range map[string]string{"/rc": "itself ", "/rc/": "below ", "/rc/a": "below ", "/rcx": "all "} {
			if _, body, _ := c.get("one", path); !strings.HasPrefix(body, want) {
				t.Errorf("%s at the %s: got %.20q, want %q", path, placement, body, want)
			}
		}
	}
}

// TestHEADOfFunctionAtOrigin: Content-Length is that of GET.
func TestHEADOfFunctionAtOrigin(t *testing.T) {
	c := newCDN(t, `function "/product/*" {
    module    = "says"
    placement = "origin"
  }`, "")
	_, body, _ := c.do("GET", "origin", "origin", "/product/20")
	for host, site := range map[string]string{"origin": "origin", "203.0.113.1": "shop.cdn.example"} {
		if status, none, header := c.do("HEAD", host, site, "/product/20"); status != 200 || none != "" || header.Get("Content-Length") != fmt.Sprint(len(body)) {
			t.Errorf("HEAD to %s: %d %q, %v; GET has %d bytes", host, status, none, header, len(body))
		}
	}
}

// TestPushAndRollback: no request fails during a push. An older release and an unknown
// key are rejected. A rollback is a new release of older code.
func TestPushAndRollback(t *testing.T) {
	c := newCDN(t, `function "/where/*" {
    module = "where"
    config = "world "
  }`, t.TempDir())
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() { // a client that sends requests all the time
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if status, body, _ := c.get("one", "/where/x"); status != 200 {
				t.Errorf("a request failed meanwhile: %d %s", status, body)
				return
			}
		}
	}()
	second := append(where(t), 0, 2, 1, 'x') // the same code with a custom section: another digest
	for _, r := range mobility.Push(t.Context(), []mobility.Client{c.api["one"], c.api["two"]}, c.release(1, second, mobility.Settings{Config: "first "}), second, false) {
		if r.Err != nil || r.SentBytes != int64(len(second)) {
			t.Errorf("%s: sent %d, %v", r.Target, r.SentBytes, r.Err)
		}
	}
	c.answers("one", "/where/x", "first {")
	c.answers("two", "/where/x", "first {")
	begin := time.Now()
	if r := mobility.Push(t.Context(), []mobility.Client{c.api["one"]}, c.release(2, where(t), mobility.Settings{Config: "back "}), nil, false); r[0].Err != nil {
		t.Error(r[0].Err)
	}
	c.answers("one", "/where/x", "back {")
	if took := time.Since(begin); took > 10*time.Second { // usually some milliseconds
		t.Errorf("a rollback took %v", took)
	}
	if r := mobility.Push(t.Context(), []mobility.Client{c.api["one"]}, c.release(1, second, mobility.Settings{}), second, false); r[0].Err == nil || !strings.Contains(r[0].Err.Error(), "not newer") {
		t.Errorf("an older release: %v", r[0].Err)
	}
	mallory, err := mobility.NewSigningKey("ana") // the same name with another key
	if err != nil {
		t.Fatal(err)
	}
	ana := c.key
	c.key = mallory
	if r := mobility.Push(t.Context(), []mobility.Client{c.api["one"]}, c.release(9, second, mobility.Settings{}), second, false); r[0].Err == nil || !strings.Contains(r[0].Err.Error(), "signature") {
		t.Errorf("a foreign key: %v", r[0].Err)
	}
	c.key = ana
	broken := []byte("\x00asm\x01\x00\x00\x00")
	if r := mobility.Push(t.Context(), []mobility.Client{c.api["one"]}, c.release(3, broken, mobility.Settings{}), broken, false); r[0].Err != nil {
		t.Error(r[0].Err)
	}
	c.until("an error", func() bool { return c.nodes["one"].FunctionStatus()[0].Error != "" })
	if f := c.nodes["one"].FunctionStatus()[0]; f.State != "running" || f.Version != 2 || !strings.HasPrefix(f.Wanted, "3-") || !strings.Contains(f.Error, "exports no function") {
		t.Errorf("after code that does not load: %+v", f)
	}
	close(stop)
	<-stopped
	// Pushed functions survive a restart.
	c.nodes["two"].Close()
	c.start("two")
	if _, body, _ := c.get("two", "/where/x"); !strings.HasPrefix(body, "first {") {
		t.Errorf("after a restart: %q", body)
	}
}

// TestRemovedFunctionIsNotReloaded: a request that already has the removed function goes
// to the next handler, and does not load the function again.
func TestRemovedFunctionIsNotReloaded(t *testing.T) {
	c := newCDN(t, "", "")
	if r := mobility.Push(t.Context(), []mobility.Client{c.api["one"]}, c.release(1, where(t), mobility.Settings{}), where(t), false); r[0].Err != nil {
		t.Fatal(r[0].Err)
	}
	c.answers("one", "/where/x", "placement")
	host := c.nodes["one"].functions
	host.mu.Lock()
	s := host.deployments[functionName{"shop.cdn.example", "/where/*"}]
	host.mu.Unlock()
	removal, err := mobility.Sign(c.key, mobility.Release{Service: "shop.cdn.example", Path: "/where/*", Version: 2, Removed: true, Time: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.api["one"].Apply(t.Context(), removal); err != nil {
		t.Fatal(err)
	}
	c.until("it is gone", func() bool { return len(c.nodes["one"].FunctionStatus()) == 0 })
	s.end() // as the Node does in follow
	r, err := s.handle(t.Context(), &functions.Request{Method: "GET", URI: "/where/x"}, func(*functions.Request) (*functions.Response, error) {
		return &functions.Response{Status: 203}, nil
	})
	if err != nil || r.Status != 203 || s.running.Load() != nil {
		t.Errorf("after its removal: %v, %v; it runs: %v", r, err, s.running.Load() != nil)
	}
	if status, body, _ := c.get("one", "/where/x"); status != 404 {
		t.Errorf("a later request: %d %q", status, body)
	}
}

// TestCodeOnDemand: an edge with a release but without its code pulls the code at the
// first request, from another edge of its PoP or from the origin.
func TestCodeOnDemand(t *testing.T) {
	c := newCDN(t, "", "")
	wasm := where(t)
	signed := c.release(1, wasm, mobility.Settings{Config: "pulled "})
	if r := mobility.Push(t.Context(), []mobility.Client{c.api["origin"]}, signed, wasm, false); r[0].Err != nil {
		t.Fatal(r[0].Err)
	}
	for _, r := range mobility.Push(t.Context(), []mobility.Client{c.api["one"], c.api["two"]}, signed, wasm, true) {
		if r.Err != nil || !r.Missing || r.SentBytes != 0 {
			t.Errorf("%+v", r)
		}
	}
	c.until("a function", func() bool { return len(c.nodes["one"].FunctionStatus()) > 0 })
	if f := c.nodes["one"].FunctionStatus(); len(f) != 1 || f[0].State != "absent" {
		t.Fatalf("before the first request: %+v", f)
	}
	c.answers("one", "/where/x", "pulled {")
	c.nodes["origin"].Close() // the other edge has pulled it
	c.answers("two", "/where/x", "pulled {")
}

// TestSilentSourceDelaysNoOtherVersion: one version waits for an origin that does not
// respond. A newer version with its code takes over and also serves the waiting requests.
func TestSilentSourceDelaysNoOtherVersion(t *testing.T) {
	c := newCDN(t, "", "")
	c.nodes["origin"].Close()
	silent, err := c.net.Named("origin").Listen(t.Context(), "tcp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan net.Conn, 16)
	go func() {
		for {
			conn, err := silent.Accept()
			if err != nil {
				return
			}
			asked <- conn
		}
	}()
	defer silent.Close()
	other := append(where(t), 0, 2, 1, 'x')
	if r := mobility.Push(t.Context(), []mobility.Client{c.api["one"]}, c.release(1, other, mobility.Settings{Config: "first "}), other, true); r[0].Err != nil {
		t.Fatal(r[0].Err)
	}
	c.until("a function", func() bool { return len(c.nodes["one"].FunctionStatus()) > 0 })
	waited := make(chan string)
	go func() {
		_, body, _ := c.get("one", "/where/x")
		waited <- body
	}()
	conn := <-asked // the pull is in progress
	if r := mobility.Push(t.Context(), []mobility.Client{c.api["one"]}, c.release(2, where(t), mobility.Settings{Config: "second "}), where(t), false); r[0].Err != nil {
		t.Fatal(r[0].Err)
	}
	c.until("version 2 runs", func() bool {
		f := c.nodes["one"].FunctionStatus()[0]
		return f.State == "running" && f.Version == 2
	})
	conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if _, err := io.Copy(io.Discard, conn); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("version 2 runs only since the pull of version 1 has ended (%v)", err)
	}
	c.answers("one", "/where/x", "second {")
	conn.Close()
	if body := <-waited; !strings.HasPrefix(body, "second {") {
		t.Errorf("the waiting client received %q", body)
	}
}

// TestFunctionFailureIsIsolated: only that request fails, with a status and a reason.
// Metrics and logs show it.
func TestFunctionFailureIsIsolated(t *testing.T) {
	c := newCDN(t, `function "/where/*" {
    module = "where"
    wall   = "300ms"
  }`, "")
	for path, want := range map[string]string{"/where/0": "500 fn-crash", "/where/!": "504 fn-deadline"} {
		status, body, header := c.get("one", path)
		if got := fmt.Sprint(status, " ", header.Get("Cache-Status")); !strings.HasPrefix(got, want[:4]) || !strings.Contains(got, want[4:]) {
			t.Errorf("%s: got %s %s", path, got, body)
		}
		if status, _, _ := c.get("one", "/where/x"); status != 200 {
			t.Errorf("after %s: %d", path, status)
		}
	}
	m, err := c.nodes["one"].metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]float64{"answered_total": 2, "crash_total": 1, "deadline_total": 1, "instances": 1} {
		if got := m[`perto_function_`+name+`{function="shop.cdn.example/where/*"}`]; got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if got := m[`perto_function_seconds{function="shop.cdn.example/where/*"}_count`]; got != 4 {
		t.Errorf("%v calls were timed", got)
	}
	lines, next, err := c.api["one"].Logs(t.Context(), "shop.cdn.example", "/where/*", 0, false)
	if err != nil || len(lines) != 4 || next != 4 {
		t.Fatalf("logs: %v, %v", lines, err)
	}
	text, _ := json.Marshal(lines)
	if !strings.Contains(string(text), "asked") || !strings.Contains(string(text), "exceeded its time limit") {
		t.Errorf("logs: %s", text)
	}
}
