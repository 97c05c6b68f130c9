package mobility

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"perto"
	"perto/internal/api"
	"perto/internal/simnet"
)

// node is a Store with its API.
type node struct {
	*Store
	Client
	puts   atomic.Int64 // modules that it received
	server *httptest.Server
	mu     sync.Mutex
	lines  []LogLine
}

func startNode(t *testing.T, cfg StoreConfig) *node {
	t.Helper()
	n := &node{Store: open(t, cfg)}
	handler := Handler(Source{Store: n.Store, Check: func(perto.Service) error { return nil }, WriteError: api.WriteError,
		Observed: func() any { return map[string]int{"running": 1} },
		Logs: func(service perto.Service, path string, after uint64) ([]LogLine, uint64) {
			n.mu.Lock()
			defer n.mu.Unlock()
			if service != "shop.cdn.example" || path != "/greeting" {
				return nil, after
			}
			return n.lines[min(after, uint64(len(n.lines))):], uint64(len(n.lines))
		}})
	mux := http.NewServeMux()
	mux.Handle(ModulePath, ServeModules(n.Store))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			n.puts.Add(1)
		}
		handler.ServeHTTP(w, r)
	})
	n.server = httptest.NewServer(api.Guard(mux))
	t.Cleanup(n.server.Close)
	n.Client = Client{Base: n.server.URL}
	return n
}

// TestPush: to a node that lacks the module, one that has it, a dead one, and one that
// does not trust the key. Then a lazy push to a node that pulls from the origin.
func TestPush(t *testing.T) {
	wasm := module("a")
	origin, has, dead, other := startNode(t, StoreConfig{}), startNode(t, StoreConfig{Dir: t.TempDir()}), startNode(t, StoreConfig{}), startNode(t, StoreConfig{Trust: []PublicKey{key("bob").Public()}})
	if err := has.Declare([]Declared{{Service: "shop.cdn.example", Path: "/greeting", Module: wasm}}); err != nil {
		t.Fatal(err)
	}
	dead.server.Close()
	release := sign(t, greeting(1, wasm))
	results := Push(t.Context(), []Client{dead.Client, origin.Client, has.Client, other.Client}, release, wasm, false)
	for i, want := range []struct {
		sent int64
		kind perto.Kind
		why  string
	}{{0, perto.KindUnavailable, "refused"}, {int64(len(wasm)), 0, ""}, {0, 0, ""}, {0, perto.KindInvalid, `this node does not trust the key "alice"`}} {
		r := results[i]
		if r.Version != 1 || r.SentBytes != want.sent || r.Missing || (r.Err == nil) != (want.why == "") || r.Took <= 0 || !strings.HasPrefix(r.Target, "http://127.0.0.1:") {
			t.Errorf("%d: got %+v", i, r)
		}
		if r.Err != nil {
			rejected(t, r.Target, r.Err, want.kind, want.why)
		}
	}
	if origin.puts.Load() != 1 || has.puts.Load() != 0 {
		t.Errorf("modules sent: %d and %d", origin.puts.Load(), has.puts.Load())
	}

	edge := startNode(t, StoreConfig{Dir: t.TempDir()})
	r := Push(t.Context(), []Client{edge.Client}, release, wasm, true)[0]
	if r.Err != nil || !r.Missing || r.SentBytes != 0 || edge.puts.Load() != 0 {
		t.Fatalf("lazy: got %+v", r)
	}
	p := &Puller{Store: edge.Store, Sources: func(s perto.Service) []string { return []string{dead.Base, origin.Base + "/"} }}
	got, err := p.Get(t.Context(), "shop.cdn.example", Digest(wasm))
	if err != nil || !bytes.Equal(got, wasm) {
		t.Fatalf("got %q, %v", got, err)
	}
	if f := (*edge.Desired().Load())[0]; !f.Present || f.Version != 1 {
		t.Errorf("got %+v", f)
	}

	// A module that the client does not have, and a wrong one.
	r = Push(t.Context(), []Client{edge.Client}, sign(t, greeting(2, module("b"))), nil, false)[0]
	rejected(t, "no module", r.Err, perto.KindUnavailable, "this client has no copy")
	r = Push(t.Context(), []Client{edge.Client}, sign(t, greeting(3, module("b"))), wasm, false)[0]
	rejected(t, "another module", r.Err, perto.KindInvalid, "not the one in the release")
	if h := edge.Store.History("shop.cdn.example", "/greeting"); h[0].Version != 2 {
		t.Errorf("version %d", h[0].Version)
	}
}

func TestAPI(t *testing.T) {
	n := startNode(t, StoreConfig{MaxModule: 100})
	wasm := module("a")
	if a, err := n.Client.Apply(t.Context(), sign(t, greeting(1, wasm))); err != nil || a != (Applied{1, true}) {
		t.Fatalf("got %+v, %v", a, err)
	}
	_, err := n.Client.Module(t.Context(), Digest(wasm))
	rejected(t, "module", err, perto.KindNotFound, "does not have it")
	rejected(t, "put", n.Client.Put(t.Context(), Digest(wasm), module("b")), perto.KindInvalid, "the received module has the digest")
	rejected(t, "put more", n.Client.Put(t.Context(), Digest(wasm), make([]byte, 8<<20)), perto.KindInvalid, "it has 8388608 bytes; its release allows 9")
	rejected(t, "put unknown", n.Client.Put(t.Context(), Digest(nil), make([]byte, 8<<20)), perto.KindNotFound, "no release names it")
	rejected(t, "put elsewhere", n.Client.Put(t.Context(), "../../x", wasm), perto.KindInvalid, "digest")
	if err := n.Client.Put(t.Context(), Digest(wasm), wasm); err != nil {
		t.Fatal(err)
	}
	if got, err := n.Client.Module(t.Context(), Digest(wasm)); err != nil || !bytes.Equal(got, wasm) {
		t.Errorf("got %q, %v", got, err)
	}
	_, err = n.Client.Apply(t.Context(), sign(t, greeting(1, module("b"))))
	rejected(t, "older", err, perto.KindConflict, "not newer")
	list, err := n.Client.List(t.Context())
	if err != nil || len(list.Desired) != 1 || !list.Desired[0].Present || list.Desired[0].Signer != "alice" || !strings.Contains(string(list.Observed), `"running": 1`) {
		t.Errorf("got %+v, %v", list, err)
	}
	history, err := n.Client.History(t.Context(), "shop.cdn.example", "/greeting")
	if err != nil || len(history) != 1 || history[0].Digest != Digest(wasm) || history[0].Settings.KV["a"] != "<1>" {
		t.Errorf("got %+v, %v", history, err)
	}
	_, err = n.Client.History(t.Context(), "shop.cdn.example", "/nothing")
	rejected(t, "history", err, perto.KindNotFound, "has no release of it")
	_, err = n.Client.History(t.Context(), "shop.cdn.example", "/../x")
	rejected(t, "history", err, perto.KindInvalid, "has a segment .")

	for _, path := range []string{"/api/functions/modules/", ModulePath} {
		resp, err := http.Get(n.Base + path + Digest(wasm))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		h := resp.Header
		if resp.StatusCode != 200 || h.Get("Content-Type") != "application/wasm" || h.Get("ETag") != `"`+Digest(wasm)+`"` || !strings.Contains(h.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: got %s %v", path, resp.Status, h)
		}
	}
	for what, body := range map[string]string{"no JSON": "hello", "unknown field": `{"x":1}`, "too long": `{"release":"` + strings.Repeat("x", maxSigned) + `"}`} {
		resp, err := http.Post(n.Base+"/api/functions/releases", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 400 || !strings.Contains(string(text), `"kind":"invalid"`) {
			t.Errorf("%s: got %s %s", what, resp.Status, text)
		}
	}
}

func TestLogs(t *testing.T) {
	n := startNode(t, StoreConfig{})
	say := func(text string) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.lines = append(n.lines, LogLine{Number: uint64(len(n.lines)) + 1, Level: "info", Text: text})
	}
	ask := func(after uint64, wait bool) (string, uint64) {
		t.Helper()
		lines, next, err := n.Logs(t.Context(), "shop.cdn.example", "/greeting", after, wait)
		if err != nil {
			t.Fatal(err)
		}
		var texts []string
		for _, l := range lines {
			texts = append(texts, l.Text)
		}
		return strings.Join(texts, "|"), next
	}
	if got, next := ask(0, false); got != "" || next != 0 {
		t.Errorf("got %q, %d", got, next)
	}
	say("one")
	say("two\nlines")
	if got, next := ask(0, true); got != "one|two\nlines" || next != 2 {
		t.Errorf("got %q, %d", got, next)
	}
	time.AfterFunc(300*time.Millisecond, func() { say("three") })
	if got, next := ask(2, true); got != "three" || next != 3 {
		t.Errorf("got %q, %d", got, next)
	}
}

// TestPullFails: the error names each source with its reason. The next attempt comes
// later each time. The module arrives when a source has it.
func TestPullFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wasm := module("a")
		asked, good := 0, false
		network := simnet.New(0, simnet.Link{}).Named("here")
		listener, err := network.Listen(t.Context(), "tcp", "here:80")
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked++
			base := strings.TrimSuffix(r.URL.Path, ModulePath+Digest(wasm))
			switch {
			case good:
				w.Write(wasm)
			case base == "/absent":
				http.NotFound(w, r)
			case base == "/wrong":
				w.Write(module("b"))
			case base == "/long":
				w.Write(make([]byte, 10))
			case base == "/endless":
				for {
					if _, err := w.Write(make([]byte, 1<<10)); err != nil {
						return
					}
				}
			case base == "/away":
				http.Redirect(w, r, "http://here/absent", http.StatusFound)
			}
		})}
		served := make(chan struct{})
		go func() { defer close(served); server.Serve(listener) }()
		transport := &http.Transport{DialContext: network.DialContext, DisableKeepAlives: true}
		defer func() { server.Close(); <-served }()

		s := open(t, StoreConfig{})
		p := &Puller{Store: s, Client: &http.Client{Transport: transport}, Sources: func(perto.Service) []string {
			return []string{"http://here/absent", "http://u:secret@here/wrong", "http://here/long", "http://here/endless", "http://here/away", "ftp:"}
		}}
		get := func() error {
			got, err := p.Get(t.Context(), "shop.cdn.example", Digest(wasm))
			if err == nil && !bytes.Equal(got, wasm) {
				t.Errorf("got %q", got)
			}
			return err
		}
		rejected(t, "no release", get(), perto.KindNotFound, "no release names it")
		apply(t, s, greeting(1, wasm))
		err = get()
		for _, why := range []string{"http://here/absent: 404", "http://u:xxxxx@here/wrong: the received module", "/long: it would send 10 bytes", "/endless: it has more than the 9", "/away: 302", "not a URL"} {
			rejected(t, "pull", err, perto.KindUnavailable, why)
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("the error shows a password: %v", err)
		}
		if asked != 5 {
			t.Errorf("asked %d times", asked)
		}
		for _, wait := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second} {
			before := asked
			rejected(t, "at once", get(), perto.KindUnavailable, "/absent: 404")
			time.Sleep(wait - time.Millisecond)
			rejected(t, "early", get(), perto.KindUnavailable, "next attempt is in 1ms")
			if asked != before {
				t.Errorf("asked %d times within %s", asked-before, wait)
			}
			time.Sleep(2 * time.Millisecond)
			rejected(t, "late", get(), perto.KindUnavailable, "/absent: 404")
			if asked != before+5 {
				t.Errorf("asked %d times after %s", asked-before, wait)
			}
		}
		good = true
		time.Sleep(maxBackoff)
		if err := get(); err != nil {
			t.Error(err)
		}
	})
}

// TestPullSkipsSilentSource: a source that does not respond costs its time limit. Then
// the next source is tried.
func TestPullSkipsSilentSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wasm := module("a")
		network := simnet.New(0, simnet.Link{}).Named("here")
		listener, err := network.Listen(t.Context(), "tcp", "here:80")
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/silent") {
				<-r.Context().Done()
				return
			}
			w.Write(wasm)
		})}
		served := make(chan struct{})
		go func() { defer close(served); server.Serve(listener) }()
		defer func() { server.Close(); <-served }()
		s := open(t, StoreConfig{})
		apply(t, s, greeting(1, wasm))
		p := &Puller{Store: s, Client: &http.Client{Transport: &http.Transport{DialContext: network.DialContext, DisableKeepAlives: true}},
			Sources: func(perto.Service) []string { return []string{"http://here/silent", "http://here/good"} }}
		begin := time.Now()
		got, err := p.Get(t.Context(), "shop.cdn.example", Digest(wasm))
		if took := time.Since(begin); err != nil || !bytes.Equal(got, wasm) || took != sourceTime {
			t.Errorf("got %q, %v after %s", got, err, took)
		}
	})
}

// TestPullOnce: concurrent requests for a module share one fetch, also when the first
// request is canceled.
func TestPullOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wasm := module("a")
		asked := 0
		release := make(chan struct{})
		network := simnet.New(0, simnet.Link{}).Named("here")
		listener, err := network.Listen(t.Context(), "tcp", "here:80")
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked++
			<-release
			w.Write(wasm)
		})}
		served := make(chan struct{})
		go func() { defer close(served); server.Serve(listener) }()
		defer func() { server.Close(); <-served }()
		s := open(t, StoreConfig{Dir: t.TempDir()})
		apply(t, s, greeting(1, wasm))
		p := &Puller{Store: s, Client: &http.Client{Transport: &http.Transport{DialContext: network.DialContext, DisableKeepAlives: true}},
			Sources: func(perto.Service) []string { return []string{"http://here"} }}
		first, leave := context.WithCancelCause(t.Context())
		left := make(chan error)
		go func() {
			_, err := p.Get(first, "shop.cdn.example", Digest(wasm))
			left <- err
		}()
		synctest.Wait() // the origin has received the request
		leave(errors.New("went away"))
		rejected(t, "canceled", <-left, perto.KindUnavailable, "went away")
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if got, err := p.Get(t.Context(), "shop.cdn.example", Digest(wasm)); err != nil || !bytes.Equal(got, wasm) {
					t.Errorf("got %q, %v", got, err)
				}
			})
		}
		synctest.Wait() // they wait
		close(release)
		wg.Wait()
		if asked != 1 {
			t.Errorf("asked %d times", asked)
		}
	})
}

// TestPushToMany: to more nodes than are contacted at a time. Results keep the order.
func TestPushToMany(t *testing.T) {
	wasm := module("a")
	var nodes []Client
	for range maxPush + 8 {
		nodes = append(nodes, startNode(t, StoreConfig{}).Client)
	}
	for i, r := range Push(t.Context(), nodes, sign(t, greeting(1, wasm)), wasm, false) {
		if r.Err != nil || r.Target != nodes[i].Base || r.SentBytes != int64(len(wasm)) {
			t.Errorf("%d: %+v", i, r)
		}
	}
}

func ExampleSign() {
	key, err := NewSigningKey("ci")
	if err != nil {
		fmt.Println(err)
		return
	}
	wasm := []byte("\x00asm\x01\x00\x00\x00")
	signed, err := Sign(key, Release{Service: "shop.cdn.example", Path: "/greeting", Version: 1, Digest: Digest(wasm), Bytes: int64(len(wasm))})
	if err != nil {
		fmt.Println(err)
		return
	}
	r, err := signed.Verify([]PublicKey{key.Public()})
	fmt.Println(r.Service, r.Path, r.Version, err)
	// Output: shop.cdn.example /greeting 1 <nil>
}
