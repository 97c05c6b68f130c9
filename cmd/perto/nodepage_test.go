package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/chromedp/chromedp"

	testbrowser "perto/internal/test/headless"
)

// TestPageOfANode: the web console of a real node is on its control socket, and on TCP
// behind the token. It is read-only in both places.
func TestPageOfANode(t *testing.T) {
	n := startNode(t, "http://127.0.0.1:9")
	base := fmt.Sprintf("http://127.0.0.1:%d", n.apiPort)
	socket := filepath.Join(n.dir, "data", "perto.sock")
	onSocket := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	ask := func(c *http.Client, method, url string) (int, string) {
		t.Helper()
		q, err := http.NewRequest(method, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Accept", "text/html,*/*")
		r, err := c.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return r.StatusCode, string(b)
	}
	if code, body := ask(http.DefaultClient, "GET", base+"/"); code != 403 || !strings.Contains(body, "ssh -L 8080:"+socket) {
		t.Errorf("on TCP without a token: got %d %s", code, body)
	}
	if code, body := ask(http.DefaultClient, "GET", base+"/events"); code != 404 {
		t.Errorf("the events on TCP without a token: got %d %s", code, body)
	}
	for path, want := range map[string]string{"/": "Map of PoPs", "/pop/here": "Lisbon", "/service/shop.cdn.example": "127.0.0.1:9"} {
		if code, body := ask(onSocket, "GET", "http://localhost"+path); code != 200 || !strings.Contains(body, want) || strings.Contains(body, "<button") {
			t.Errorf("%s on the control socket: got %d %s", path, code, body)
		}
	}
	if code, _ := ask(onSocket, "POST", "http://localhost/act?host=one&do=kill"); code != 403 {
		t.Errorf("an action: got %d", code)
	}

	n.write("token", "0123456789-abcdefghij\n")
	if err := os.Chmod(filepath.Join(n.dir, "token"), 0o600); err != nil {
		t.Fatal(err)
	}
	n.write("perto.hcl", n.config("http://127.0.0.1:9", `api_token = "token"`, ""))
	n.process.Process.Signal(syscall.SIGHUP)
	n.log.waitFor(t, "the configuration is reloaded")
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar}
	if code, body := ask(browser, "GET", base+"/pop/here"); code != 200 || !strings.Contains(body, `type="password"`) {
		t.Errorf("a browser without the token: got %d %s", code, body)
	}
	for _, tt := range []struct {
		token string
		code  int
		want  string
	}{{"wrong", 403, "not the token"}, {"", 403, "not the token"}, {"0123456789-abcdefghij", 200, "Map of PoPs"}} {
		r, err := browser.PostForm(base+"/login", url.Values{"token": {tt.token}})
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(r.Body)
		r.Body.Close()
		if r.StatusCode != tt.code || !strings.Contains(string(body), tt.want) {
			t.Errorf("token %q: got %d %s", tt.token, r.StatusCode, body)
		}
	}
	if code, body := ask(browser, "GET", base+"/pop/here"); code != 200 || !strings.Contains(body, "Lisbon") {
		t.Errorf("after the log-in: got %d %s", code, body)
	}
	if code, _ := ask(http.DefaultClient, "GET", base+"/events"); code != 200 { // redirected to the log-in
		t.Errorf("the events without a session: got %d", code)
	}
	for _, c := range jar.Cookies(&url.URL{Scheme: "http", Host: fmt.Sprintf("127.0.0.1:%d", n.apiPort), Path: "/"}) {
		if strings.Contains(c.Value, "0123456789") {
			t.Error("the cookie contains the token")
		}
	}

	ctx := testbrowser.Chromium(t)
	script := `new Promise(done => {
		const look = () => document.body?.dataset.live === "yes" ? done(document.body.innerText) : setTimeout(look, 20);
		look();
	})`
	if err := chromedp.Do(ctx, chromedp.Navigate(base+"/"), chromedp.WaitVisible("input[name=token]"), chromedp.SendKeys("input[name=token]", "0123456789-abcdefghij\r"), chromedp.WaitVisible("#map")); err != nil {
		t.Fatal(err)
	}
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](script, chromedp.EvalAwaitPromise))
	if err != nil || !strings.Contains(text, "1 of 1 edges serve") {
		t.Errorf("in Chromium: %v %s", err, text)
	}
	if dir := os.Getenv("PERTO_SCREENSHOTS"); dir != "" {
		if shot, err := chromedp.Run(ctx, chromedp.FullScreenshot(100)); err == nil {
			_ = os.WriteFile(filepath.Join(dir, "node.png"), shot, 0o644)
		}
	}

	// Another token ends the sessions, also their streams of events. The page asks for it.
	n.write("token", "9876543210-abcdefghij\n")
	n.process.Process.Signal(syscall.SIGHUP)
	n.log.waitForMany(t, "the configuration is reloaded", 2)
	if err := chromedp.Do(ctx, chromedp.WaitVisible("input[name=token]")); err != nil {
		t.Error(err)
	}
	n.process.Process.Signal(syscall.SIGTERM)
	n.process.Wait()
}
