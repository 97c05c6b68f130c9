package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"perto"
	"perto/internal/api"
	"perto/internal/test/headless"
	"perto/mobility"
)

// fetched is a reply of the API of vantages.
type fetched struct {
	Vantage string      `json:"vantage"`
	Place   string      `json:"place"`
	Server  string      `json:"server"`
	Total   float64     `json:"total_ms"`
	Status  int         `json:"status"`
	Bytes   int         `json:"bytes"`
	Header  http.Header `json:"header"`
	Body    []byte      `json:"body"`
}

// TestFunctionsPanel uses the panel with several functions: one at three places, one
// that makes an image, one that never ends, and one with a wrong digest.
func TestFunctionsPanel(t *testing.T) {
	modules, err := guests()
	if err != nil {
		t.Fatal(err)
	}
	picture := image.NewRGBA(image.Rect(0, 0, 640, 320))
	for i := range 640 * 320 {
		picture.Set(i%640, i/640, color.RGBA{uint8(i % 640 / 3), 120, uint8(i / 640), 255})
	}
	var encoded bytes.Buffer
	if err := png.Encode(&encoded, picture); err != nil {
		t.Fatal(err)
	}
	fetch := func(from, url string) (*fetched, error) {
		f := &fetched{Server: "rec-1", Total: 12, Body: []byte("olá from rec-1"), Header: http.Header{"Content-Type": {"text/plain"}}}
		switch {
		case strings.HasPrefix(url, "http://origin.shop.example/"):
			f.Server, f.Total, f.Body = "origin", 243, []byte("olá from the origin, "+strings.Repeat("which has a long line to say ", 8))
		case strings.HasSuffix(url, "/map/"):
			f.Header, f.Body = http.Header{"Content-Type": {"image/png"}}, encoded.Bytes()
		case strings.HasSuffix(url, "!"):
			return nil, &perto.Error{Op: "fetch", Path: url, Kind: perto.KindUnavailable, Err: errors.New("no edge answered")}
		}
		f.Vantage, f.Place, f.Status, f.Bytes = from, "Recife, BR", 200, len(f.Body)
		return f, nil
	}
	digest := mobility.Digest(modules["where"])
	wrong := strings.Repeat("0", 64)
	list := mobility.List{}
	mux := http.NewServeMux()
	c := testConsole(t, Config{})
	c.Register(mux)
	mux.HandleFunc("GET /api/lab/vantages", func(w http.ResponseWriter, _ *http.Request) {
		var out []map[string]any
		for _, v := range testState().Vantages {
			out = append(out, map[string]any{"name": v.Name, "place": v.Place.String(), "where": v.Place, "addresses": []string{"198.51.100.7"}})
		}
		api.WriteJSON(w, out)
	})
	mux.HandleFunc("GET /api/lab/fetch", func(w http.ResponseWriter, r *http.Request) {
		f, err := fetch(r.FormValue("from"), r.FormValue("url"))
		if err != nil {
			api.WriteError(w, err)
			return
		}
		api.WriteJSON(w, f)
	})
	mux.HandleFunc("GET /api/functions", func(w http.ResponseWriter, _ *http.Request) { api.WriteJSON(w, list) })
	mux.HandleFunc("GET /api/functions/modules/{digest}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/wasm")
		w.Write(modules["where"])
	})
	s := httptest.NewServer(api.Guard(mux))
	t.Cleanup(s.Close)

	ctx := headless.Chromium(t)
	open := func(ctx context.Context) {
		t.Helper()
		if err := chromedp.Do(ctx, chromedp.EmulateViewport(1280, 900), chromedp.Navigate(s.URL)); err != nil {
			t.Fatal(err)
		}
	}
	open(ctx)
	hidden, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`new Promise(done => setTimeout(() => done(document.getElementById("functions").hidden), 500))`, chromedp.EvalAwaitPromise))
	if err != nil || !hidden {
		t.Errorf("without functions the panel is shown: %v, %v", hidden, err)
	}
	for _, path := range []string{"/where", "/map/*", "/never!", "/forged"} {
		f := mobility.Function{Service: "shop.cdn.example", Path: path, Version: 3, Digest: digest, Settings: mobility.Settings{Config: "olá from here "}}
		if path == "/forged" {
			f.Digest = wrong
		}
		list.Desired = append(list.Desired, f)
	}

	// run selects a function and returns the texts of the three columns.
	run := func(ctx context.Context, n int) (at map[string]string) {
		t.Helper()
		text, err := chromedp.Run(ctx, chromedp.Evaluate[string](fmt.Sprintf(`(async () => {
			const until = async ok => { while (!ok()) await new Promise(done => setTimeout(done, 20)); };
			const section = document.getElementById("functions");
			await until(() => !section.hidden);
			const which = section.querySelector("select");
			which.value = %d;
			which.onchange();
			section.querySelector(".choice button").click();
			const outs = [...section.querySelectorAll("article > div")];
			await until(() => outs.every(o => o.children.length > 0));
			await Promise.all([...section.querySelectorAll("img")].map(i => i.decode().catch(() => {})));
			return JSON.stringify(Object.fromEntries(outs.map(o => [o.parentNode.id, (o.querySelector("img")?.naturalWidth ?? "") + " " + o.innerText])));
		})()`, n), chromedp.EvalAwaitPromise))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(text), &at); err != nil {
			t.Fatal(err)
		}
		return at
	}
	open(ctx)
	code := fmt.Sprintf("%d B of code", len(modules["where"]))
	if len(modules["where"]) >= 1000 {
		code = fmt.Sprintf("%.1f kB of code", float64(len(modules["where"]))/1000)
	}
	for _, tt := range []struct {
		n                  int
		origin, edge, here []string
	}{
		{0, []string{"olá from the origin", "243 ms", "origin, requested from Recife, BR"}, []string{"olá from rec-1", "12 ms", "rec-1, requested from", "15 B"},
			[]string{`olá from here {"name":"browser"`, `"address":"198.51.100.7","city":"Recife","country":"BR"`, "200", "this page", code}},
		{0, nil, nil, []string{"0 B: the code is here"}},
		{1, nil, []string{"640 "}, []string{"olá from here"}},
		{2, nil, []string{"no edge answered"}, []string{"no response within 5 s"}},
		{3, nil, nil, []string{"Failed to fetch"}},
		{0, nil, nil, []string{code}}, // the worker was terminated, so a new one has no code
	} {
		got := run(ctx, tt.n)
		for id, want := range map[string][]string{"run-origin": tt.origin, "run-edge": tt.edge, "run-here": tt.here} {
			for _, w := range want {
				if !strings.Contains(got[id], w) {
					t.Errorf("function %d, %s: got %q, want %q", tt.n, id, got[id], w)
				}
			}
		}
	}

	// The page must be legible and not wider than the window, in both colour schemes.
	for _, scheme := range []string{"dark", "light"} {
		ctx := headless.Chromium(t, chromedp.Flag("blink-settings", map[string]string{"dark": "preferredColorScheme=0", "light": "preferredColorScheme=1"}[scheme]))
		open(ctx)
		dark, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`matchMedia("(prefers-color-scheme: dark)").matches`))
		if err != nil || dark != (scheme == "dark") {
			t.Fatalf("the browser is not %s: %v", scheme, err)
		}
		for _, width := range []int64{1280, 390} {
			if err := chromedp.Do(ctx, chromedp.EmulateViewport(width, 900)); err != nil {
				t.Fatal(err)
			}
			run(ctx, int(1280/width)%2)
			over, err := chromedp.Run(ctx, chromedp.Evaluate[[]string](`[...document.querySelectorAll("#functions, #functions *"), document.documentElement]
				.filter(e => e.getBoundingClientRect().right > innerWidth + .5 || e.tagName !== "PRE" && e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0)
				.map(e => e.tagName + "." + e.className + " " + e.scrollWidth + " of " + e.clientWidth)`))
			if err != nil || len(over) > 0 {
				t.Errorf("%s, %d wide: too wide: %q, %v", scheme, width, over, err)
			}
			dir := os.Getenv("PERTO_SCREENSHOTS")
			if dir == "" {
				continue
			}
			shot, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, fmt.Sprintf("functions-%s-%d.png", scheme, width)), shot, 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}
