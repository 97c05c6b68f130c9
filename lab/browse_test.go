package lab

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"perto/internal/test/headless"
)

// TestBrowse runs "perto lab browse" without a window. A browser in Tokyo loads the
// shop with its pictures from Tokyo's edge, and then again from the cache of the edge.
func TestBrowse(t *testing.T) {
	l := sharedLab(t)
	tokyo, err := l.SOCKSDoor("tokyo")
	if err != nil {
		t.Fatal(err)
	}
	ctx := headless.Chromium(t, chromedp.ProxyServer("socks5://"+tokyo.String()), chromedp.Flag("proxy-bypass-list", "<-loopback>"),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"))
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

// TestSameCodeInThreePlaces runs one module from the page's panel: at the origin, at
// the edge of a vantage and in the browser. The responses must be the same.
func TestSameCodeInThreePlaces(t *testing.T) {
	ctx := labPage(t)
	const run = `new Promise(done => {
		const section = document.getElementById("functions");
		let clicked = false;
		const look = () => {
			if (!section.hidden && !clicked) {
				clicked = true;
				section.querySelector(".choice button").click();
			}
			const answers = [...section.querySelectorAll("dl, .failed")];
			if (answers.length < 3) return;
			watch.disconnect();
			done({text: [...section.querySelectorAll("pre")].map(p => p.textContent), facts: answers.map(d => d.innerText).join(" | ")});
		};
		const watch = new MutationObserver(look);
		watch.observe(section, {childList: true, subtree: true, attributes: true});
		look();
	})`
	type answers struct {
		Text  []string
		Facts string
	}
	got, err := chromedp.Run(ctx, chromedp.Evaluate[answers](run, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Repeat("<p>Good to see you.</p>\n", 3); strings.Join(got.Text, "") != want {
		t.Errorf("got %q", got.Text)
	}
	for _, want := range []string{"origin, requested from", "gru-", "this page", "of code"} {
		if !strings.Contains(got.Facts, want) {
			t.Errorf("%q is not in %q", want, got.Facts)
		}
	}
}
