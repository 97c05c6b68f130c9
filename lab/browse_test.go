package lab

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// browser starts headless Chromium; proxy "" is none.
func browser(t *testing.T, proxy string) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is not installed; ./scripts/test installs it")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))
	if proxy != "" {
		options = append(options, chromedp.ProxyServer("socks5://"+proxy), chromedp.Flag("proxy-bypass-list", "<-loopback>"),
			chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"))
	}
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	return ctx
}

// TestBrowse is "perto lab browse" without a window: a browser that is in Tokyo
// loads the shop with its pictures, from Tokyo's edge, and again from its cache.
func TestBrowse(t *testing.T) {
	l := sharedLab(t)
	tokyo, err := l.SOCKSDoor("tokyo")
	if err != nil {
		t.Fatal(err)
	}
	ctx := browser(t, tokyo.String())
	// The pictures below the fold load lazily: ask for them all.
	const facts = `Promise.allSettled([...document.images].map(i => (i.loading = "eager", i.decode()))).then(all => ({
		title: document.title,
		images: all.filter(i => i.status == "fulfilled").length,
		broken: all.filter(i => i.status != "fulfilled").length,
		server: performance.getEntriesByType("navigation")[0].serverTiming.map(t => t.name + "=" + t.description).join(" "),
	}))`
	type shop struct {
		Title, Server  string
		Images, Broken int
	}
	for range 2 {
		if err := chromedp.Do(ctx, chromedp.Navigate(shopURL)); err != nil {
			t.Fatal(err)
		}
		page, err := chromedp.Run(ctx, chromedp.Evaluate[shop](facts, chromedp.EvalAwaitPromise))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(page.Title, "near shop") || page.Images == 0 || page.Broken != 0 || !strings.Contains(page.Server, "nrt-1") {
			t.Errorf("got %+v, want the shop with its pictures from nrt-1", page)
		}
	}
	if err := chromedp.Do(ctx, chromedp.Navigate("http://no.such.example/")); err == nil || !strings.Contains(err.Error(), "ERR_") {
		t.Errorf("a name that is not there: got %v", err)
	}
}

// TestPageInABrowser looks at the lab's own page: the map, who is served by whom,
// and the site in six cities.
func TestPageInABrowser(t *testing.T) {
	l := sharedLab(t)
	api, err := l.API()
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(http.Handler(api))
	t.Cleanup(s.Close)
	ctx := browser(t, "")
	const facts = `({
		pops: document.querySelectorAll("svg .pop").length,
		vantages: document.querySelectorAll("svg .vantage").length,
		ways: document.querySelectorAll("svg .way").length,
		far: document.querySelectorAll("svg .far").length,
		frames: document.querySelectorAll("iframe").length,
		attribution: document.body.innerText.includes("DB-IP"),
	})`
	type overview struct {
		PoPs, Vantages, Ways, Far, Frames int
		Attribution                       bool
	}
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(1200, 1600), chromedp.Navigate(s.URL)); err != nil {
		t.Fatal(err)
	}
	page, err := chromedp.Run(ctx, chromedp.Evaluate[overview](facts))
	if err != nil {
		t.Fatal(err)
	}
	if page.PoPs < 10 || page.Vantages < 24 || page.Ways < 24 || page.Far == 0 || page.Frames != 6 || !page.Attribution {
		t.Errorf("the page shows %+v", page)
	}
	if file := os.Getenv("PERTO_SCREENSHOT"); file != "" {
		shot, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, shot, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSameCodeInThreePlaces: the page's panel lets one module answer at the origin, at
// the edge of a vantage and in the browser itself, and the answers are the same.
func TestSameCodeInThreePlaces(t *testing.T) {
	l := sharedLab(t)
	api, err := l.API()
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(http.Handler(api))
	t.Cleanup(s.Close)
	ctx := browser(t, "")
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(1200, 1600), chromedp.Navigate(s.URL)); err != nil {
		t.Fatal(err)
	}
	type answers struct {
		Functions int
		Text      []string
		Facts     string
	}
	const look = `({
		functions: document.querySelectorAll("#functions select option").length,
		text: [...document.querySelectorAll("#functions pre")].map(p => p.textContent),
		facts: [...document.querySelectorAll("#functions dl, #functions .failed")].map(d => d.innerText).join(" | "),
	})`
	clicked, deadline := false, time.Now().Add(60*time.Second)
	for {
		got, err := chromedp.Run(ctx, chromedp.Evaluate[answers](look))
		if err != nil {
			t.Fatal(err)
		}
		if !clicked && got.Functions > 0 {
			clicked = true
			if _, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`document.querySelector("#functions .choice button").click(), true`)); err != nil {
				t.Fatal(err)
			}
		}
		if len(got.Text) == 3 {
			if want := "<p>Good to see you.</p>\n"; got.Text[0] != want || got.Text[1] != want || got.Text[2] != want {
				t.Errorf("got %q", got.Text)
			}
			for _, want := range []string{"origin, asked from", "gru-", "this page", "of code"} {
				if !strings.Contains(got.Facts, want) {
					t.Errorf("%q is not in %q", want, got.Facts)
				}
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after a minute: %+v", got)
		}
		time.Sleep(50 * time.Millisecond) // the page works
	}
}
