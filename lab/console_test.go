package lab

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"perto/internal/test/headless"
)

// labPage opens the lab's web console in a browser.
func labPage(t *testing.T) context.Context {
	t.Helper()
	return pageOf(t, sharedLab(t))
}

func pageOf(t *testing.T, l *Lab) context.Context {
	t.Helper()
	api, err := l.API()
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(api)
	t.Cleanup(s.Close)
	ctx := headless.Chromium(t)
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(1280, 1000), chromedp.Navigate(s.URL)); err != nil {
		t.Fatal(err)
	}
	return ctx
}

// inPage runs a script that returns a value or a promise.
func inPage[T any](t *testing.T, ctx context.Context, script string) T {
	t.Helper()
	out, err := chromedp.Run(ctx, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	return out
}

// until waits in the page until a condition is true, and returns the ms that it took.
func until(t *testing.T, ctx context.Context, condition string) float64 {
	t.Helper()
	return inPage[float64](t, ctx, fmt.Sprintf(`new Promise((done, fail) => {
		const start = performance.now();
		const look = () => {
			if (%s) done(performance.now() - start);
			else if (performance.now() - start > 30_000) fail(new Error("timeout"));
			else requestAnimationFrame(look);
		};
		look();
	})`, condition))
}

// shoot writes a screenshot of the whole page to the folder PERTO_SCREENSHOTS.
func shoot(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	dir := os.Getenv("PERTO_SCREENSHOTS")
	if dir == "" {
		return
	}
	shot, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), shot, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestConsoleShowsTheResolverProblem: the map shows all cities. Jakarta's office is drawn
// by its resolver in London, and its trace is played step by step.
func TestConsoleShowsTheResolverProblem(t *testing.T) {
	ctx := labPage(t)
	got := inPage[struct {
		PoPs, Vantages, Arcs, Far int
		Attribution               bool
	}](t, ctx, `({
		pops: document.querySelectorAll("#map .pop").length,
		vantages: document.querySelectorAll("#map .vantage").length,
		arcs: [...document.querySelectorAll("#map .vantage .data")].filter(p => p.getAttribute("d").startsWith("M")).length,
		far: document.querySelectorAll("#map .far").length,
		attribution: document.body.innerText.includes("DB-IP"),
	})`)
	if got.PoPs != 10 || got.Vantages != 40 || got.Arcs != 40 || got.Far < 3 || !got.Attribution {
		t.Errorf("the map shows %+v", got)
	}
	// The keyboard reaches a city, and Enter selects it.
	inPage[any](t, ctx, `document.querySelector("[data-vantage=jakarta-office]").focus()`)
	if err := chromedp.Do(ctx, chromedp.KeyEvent("\r")); err != nil {
		t.Fatal(err)
	}
	until(t, ctx, `document.querySelector("#detail .steps")?.dataset.played`)
	detail := inPage[string](t, ctx, `document.getElementById("detail").innerText`)
	for _, want := range []string{"jakarta-office", "lhr-1", "sin", "not used", "office-lhr in London", "jakarta-office → office-lhr", "jakarta-office → lhr-1", " ms"} {
		if !strings.Contains(detail, want) {
			t.Errorf("no %q in %s", want, detail)
		}
	}
	legs := inPage[struct {
		Selected bool
		Resolver string
		Opacity  string
	}](t, ctx, `(() => { const a = document.querySelector("[data-vantage=jakarta-office]"), r = a.querySelector(".resolver");
		return {selected: a.classList.contains("selected"), resolver: r.getAttribute("cx") + " " + r.getAttribute("cy"), opacity: getComputedStyle(a.querySelector(".ask")).opacity}; })()`)
	if !legs.Selected || legs.Resolver != "-0.13 -51.51" || legs.Opacity != "1" {
		t.Errorf("the legs to the resolver: %+v", legs)
	}
	shoot(t, ctx, "console-trace")
}

// TestConsoleKillsAPoP: after a click on kill, the arcs of São Paulo go to another PoP
// within two seconds, and they return after heal. Then the origin is killed.
func TestConsoleKillsAPoP(t *testing.T) {
	l := startLab(t, nil)
	ctx := pageOf(t, l)
	until(t, ctx, `document.querySelector("[data-vantage=sao-paulo]").dataset.to === "gru"`)
	inPage[any](t, ctx, `document.querySelector("[data-pop=gru]").dispatchEvent(new MouseEvent("click", {bubbles: true, cancelable: true}))`)
	until(t, ctx, `document.querySelector("#detail button[value=kill]")`)
	inPage[any](t, ctx, `document.querySelector("#detail button[value=kill]").click()`)
	took := until(t, ctx, `document.querySelector("[data-vantage=sao-paulo]").dataset.to !== "gru" && document.querySelector("[data-pop=gru]").classList.contains("down")`)
	t.Logf("the arc swung %.0f ms after the click", took)
	if took > 2000+slack {
		t.Errorf("the arc swung after %.0f ms, want at most 2000", took)
	}
	until(t, ctx, `[...document.querySelectorAll("#edge-table [data-edge^=gru] button")].every(b => b.value === "heal")`)
	until(t, ctx, `document.getElementById("summary").textContent.startsWith("11 of 13 edges serve")`)
	until(t, ctx, `document.getElementById("detail").innerText.includes("no city now")`) // the panel follows
	shoot(t, ctx, "console-killed")
	inPage[any](t, ctx, `document.querySelectorAll("#edge-table [data-edge^=gru] button").forEach(b => b.click())`)
	until(t, ctx, `document.querySelector("[data-vantage=sao-paulo]").dataset.to === "gru"`)
	inPage[any](t, ctx, `document.querySelector("[data-server=origin] button[value=kill]").click()`)
	until(t, ctx, `document.querySelector("[data-origin]").classList.contains("failing")`)
	if text := inPage[string](t, ctx, `document.getElementById("notice").textContent`); text != "origin was killed." {
		t.Errorf("the notice is %q", text)
	}
}

// slack is the time that a crowded machine may add to a bound, in ms.
const slack = 1500

// TestConsoleLoadsTheSite: the first visit from six cities misses, the second hits. At
// the width of a phone nothing is wider than the page. The visitors make series.
func TestConsoleLoadsTheSite(t *testing.T) {
	l := startLab(t, nil)
	ctx := pageOf(t, l)
	inPage[any](t, ctx, `(() => {
		const form = document.getElementById("visit-form");
		form.url.value = "/product/7";
		form.again.checked = true;
		form.querySelector("button").click();
	})()`)
	until(t, ctx, `document.querySelectorAll(".visits tbody tr").length === 12`)
	verdicts := inPage[string](t, ctx, `[...document.querySelectorAll(".visits tbody tr")].map(r => (r.innerText.includes("second") ? 2 : 1) + r.querySelector(".verdict").innerText).sort().join(" ")`)
	if strings.Count(verdicts, "1MISS") < 4 || strings.Count(verdicts, "2HIT") < 4 { // a second visit may reach the PoP's other edge
		t.Errorf("got %s", verdicts)
	}
	if bars := inPage[int](t, ctx, `document.querySelectorAll(".visits .fall rect").length`); bars < 30 {
		t.Errorf("the waterfalls have %d bars", bars)
	}
	link := inPage[string](t, ctx, `document.getElementById("share").getAttribute("href")`)
	if link != "/visit?again=1&url=%2Fproduct%2F7" {
		t.Errorf("the link to share is %q", link)
	}
	inPage[any](t, ctx, `document.querySelector("#visitors button[value=visitors]").click()`)
	until(t, ctx, `parseFloat([...document.querySelectorAll("#charts output")].at(1)?.textContent) > 5 && [...document.querySelectorAll("#charts output")].at(3).textContent.match(/^\d/)`)
	shoot(t, ctx, "console-live")
	inPage[any](t, ctx, `document.querySelector("#visitors button[value=no-visitors]").click()`)
	until(t, ctx, `document.getElementById("visitors").dataset.visiting === "false"`)
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(390, 844)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/", link, "/vantage/jakarta-office?trace=/", "/pop/gru", "/service/shop.cdn.example"} {
		if err := chromedp.Do(ctx, chromedp.Navigate(inPage[string](t, ctx, `location.origin`)+path)); err != nil {
			t.Fatal(err)
		}
		wide := inPage[[]string](t, ctx, `[...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > innerWidth + .5 && !e.closest(".wide, svg"))
			.map(e => e.tagName + "." + e.className)`)
		if len(wide) > 0 {
			t.Errorf("%s at 390 px: too wide: %q", path, wide)
		}
		shoot(t, ctx, "console-390-"+strings.Trim(strings.NewReplacer("/", "-", "?", "-", "&", "-", "=", "-", "%", "").Replace(path), "-"))
	}
}

// BenchmarkConsoleState makes the state of the demo world, as for each viewer twice a
// second.
func BenchmarkConsoleState(b *testing.B) {
	l := sharedLab(b)
	for b.Loop() {
		if st := l.consoleState(b.Context()); len(st.Vantages) != 40 {
			b.Fatal("no vantages")
		}
	}
}
