package console

import (
	"context"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"perto"
	"perto/internal/test/headless"
)

// TestPageFollowsAnotherWorld: a page says that it has no connection. When the server is
// back with another PoP, also behind a server that replied with errors, the page shows it.
func TestPageFollowsAnotherWorld(t *testing.T) {
	ctx := headless.Chromium(t)
	var state atomic.Pointer[State]
	world := func(pops ...string) *State {
		s := &State{Title: "A test", PoPs: []PoP{}, Edges: []Edge{}, Servers: []Server{}, Vantages: []Vantage{}, Services: []Service{}, Origins: []Origin{}, Events: []Event{}}
		for _, name := range pops {
			s.PoPs = append(s.PoPs, PoP{Name: name, Place: perto.Place{Name: name, Lat: 10, Lon: 10}})
			s.Edges = append(s.Edges, Edge{Name: name + "-1", PoP: name, State: "up", Since: time.Unix(1, 0)})
		}
		return s
	}
	state.Store(world("rec"))
	c := testConsole(t, Config{State: func(context.Context) *State { s := *state.Load(); return &s }})
	mux := http.NewServeMux()
	c.Register(mux)
	open := func(address string, h http.Handler) (string, func()) {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		s := &http.Server{Handler: h}
		go s.Serve(l)
		t.Cleanup(func() { s.Close() })
		return l.Addr().String(), func() { s.Close() }
	}
	until := func(condition string) {
		t.Helper()
		script := `new Promise(done => { const look = () => (` + condition + `) ? done(true) : setTimeout(look, 20); look(); })`
		for end := time.Now().Add(time.Minute); ; { // a script ends when its page is loaded again
			ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool](script, chromedp.EvalAwaitPromise))
			if ok {
				return
			}
			if time.Now().After(end) || ctx.Err() != nil {
				t.Fatalf("waiting for %s: %v", condition, err)
			}
		}
	}
	address, stop := open("127.0.0.1:0", mux)
	if err := chromedp.Do(ctx, chromedp.Navigate("http://"+address+"/")); err != nil {
		t.Fatal(err)
	}
	until(`document.body?.dataset.live === "yes"`)
	stop()
	until(`document.getElementById("summary").textContent.startsWith("No connection")`)

	asked := make(chan bool, 1)
	_, stop = open(address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "not yet", http.StatusServiceUnavailable)
		select {
		case asked <- true:
		default:
		}
	}))
	<-asked
	stop()
	state.Store(world("rec", "nrt"))
	open(address, mux)
	until(`document.body?.dataset.live === "yes" && document.querySelector('[data-edge="nrt-1"]') && document.getElementById("summary").textContent === "2 of 2 edges serve"`)
	state.Store(world("nrt"))
	until(`document.body?.dataset.live === "yes" && !document.querySelector('[data-edge="rec-1"]')`)
}
