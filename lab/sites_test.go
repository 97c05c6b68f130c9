package lab

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"perto/internal/test/headless"
)

// The tests of this file preview real sites, as users have them: an Express application,
// a build of Vite, Vite's development server, and nginx. testdata/sites has their files.

// modules installs the packages of testdata/sites once for each lock file, in the user's
// cache folder.
var modules = sync.OnceValues(func() (string, error) {
	list, err := os.ReadFile("testdata/sites/package.json")
	if err != nil {
		return "", err
	}
	lock, err := os.ReadFile("testdata/sites/package-lock.json")
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(lock)
	return cached("sites-"+hex.EncodeToString(sum[:6]), func(dir string) error {
		err := errors.Join(os.WriteFile(filepath.Join(dir, "package.json"), list, 0o644), os.WriteFile(filepath.Join(dir, "package-lock.json"), lock, 0o644))
		if err != nil {
			return err
		}
		return command(dir, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	})
})

// cached returns a folder in the user's cache folder. fill fills it when it is not there.
func cached(name string, fill func(dir string) error) (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	base = filepath.Join(base, "perto-test")
	done := filepath.Join(base, name)
	if _, err := os.Stat(done); err == nil {
		return done, nil
	}
	if err := os.MkdirAll(base, 0o755); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(base, name+"-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	if err := fill(dir); err != nil {
		return "", err
	}
	if err := os.Rename(dir, done); err != nil {
		if _, there := os.Stat(done); there != nil { // else another process was faster
			return "", err
		}
	}
	return done, nil
}

// command runs a command in a folder, for three minutes at most.
func command(dir, name string, args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, args[0], err, out[max(0, len(out)-500):])
	}
	return nil
}

// siteFolder returns a folder with a copy of testdata/sites and its packages.
func siteFolder(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("npm"); err != nil {
		t.Skip("npm is not installed; ./scripts/test installs it")
	}
	installed, err := modules()
	if err != nil {
		t.Skip("the packages of the sites cannot be installed:", err)
	}
	dir := t.TempDir()
	must(t, os.CopyFS(dir, os.DirFS("testdata/sites")))
	must(t, os.Symlink(filepath.Join(installed, "node_modules"), filepath.Join(dir, "node_modules")))
	return dir
}

// serve starts a command in a folder and returns the URL that it prints. The command
// ends with the test.
func serve(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	var diagnostics bytes.Buffer
	cmd.Stderr = &diagnostics
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("%s: %s", name, diagnostics.String())
		}
	})
	found := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "http://") {
				found <- lines.Text()
			}
		}
	}()
	select {
	case u := <-found:
		return u
	case <-time.After(time.Minute):
		t.Fatalf("%s %v does not listen", name, args)
		return ""
	}
}

// TestExpressBehindTheCDN previews an Express application with sessions.
func TestExpressBehindTheCDN(t *testing.T) {
	t.Parallel()
	dir := siteFolder(t)
	site := serve(t, dir, "node", "shop.js")
	l := startLab(t, func(c *Config) { c.Origin = site })
	tokyo, paulo := webDoorOf(t, l, "tokyo"), webDoorOf(t, l, "sao-paulo")
	ana, bob := browser(t), browser(t)

	t.Run("sessions", func(t *testing.T) {
		first, _ := get(t, ana, tokyo+"/assets/a.css")
		if got := first.Header.Get("Cache-Status"); first.Header.Get("Set-Cookie") == "" || !strings.Contains(got, "detail=set-cookie") {
			t.Errorf("a first style sheet: %q with the cookie %q", got, first.Header.Get("Set-Cookie"))
		}
		resp, err := ana.PostForm(tokyo+"/login", url.Values{"user": {"ana"}})
		must(t, err)
		resp.Body.Close()
		if got := resp.Header.Get("Location"); resp.StatusCode != 303 || got != tokyo+"/me" {
			t.Errorf("the login leads with %s to %q", resp.Status, got)
		}
		if got := strings.Join(resp.Header.Values("Set-Cookie"), " | "); !strings.Contains(got, "theme=dark") || strings.Contains(strings.ToLower(got), "domain") {
			t.Errorf("cookies for the door: %s", got)
		}
		for _, door := range []string{paulo, tokyo} { // bob gets no cookie of ana, also where she was
			if resp, _ := get(t, bob, door+"/assets/a.css"); resp.Header.Get("Set-Cookie") == first.Header.Get("Set-Cookie") {
				t.Error("two visitors have one cookie")
			}
			if resp, body := get(t, bob, door+"/me"); resp.StatusCode != 401 {
				t.Errorf("another visitor is %q", body)
			}
		}
		if _, body := get(t, ana, tokyo+"/me"); body != "ana" {
			t.Errorf("ana is %q", body)
		}
	})
	t.Run("client", func(t *testing.T) {
		_, body := get(t, bob, tokyo+"/asked")
		var asked struct{ Host, Hostname, Protocol, IP string }
		must(t, json.Unmarshal([]byte(body), &asked))
		addrs := fmt.Sprint(at(t, l, "tokyo").Host.Addrs)
		if asked.Host != strings.TrimPrefix(site, "http://") || asked.Hostname != "www.shop.example" || asked.Protocol != "http" || !strings.Contains(addrs, asked.IP) {
			t.Errorf("the application saw %+v, want a client of %s", asked, addrs)
		}
	})
	t.Run("events", func(t *testing.T) {
		resp, err := bob.Get(tokyo + "/events")
		must(t, err)
		defer resp.Body.Close()
		var came []time.Duration
		began := time.Now()
		lines := bufio.NewScanner(resp.Body)
		for lines.Scan() {
			if lines.Text() == fmt.Sprintf("data: %d", len(came)) {
				came = append(came, time.Since(began))
			}
		}
		if len(came) != 4 || came[3]-came[0] < 500*time.Millisecond {
			t.Errorf("events came after %v, want one by one", came)
		}
	})
	t.Run("bodies", func(t *testing.T) { testBodies(t, ana, tokyo) })
	t.Run("heads", func(t *testing.T) { testHeads(t, bob, tokyo) })
}

// testBodies sends and receives bodies byte for byte, also in parts.
func testBodies(t *testing.T, c *http.Client, door string) {
	const size = 1_500_000
	want := make([]byte, size)
	for i := range want {
		want[i] = byte(i*7 + i>>8)
	}
	sum := sha256.Sum256(want)
	resp, err := c.Post(door+"/upload", "application/octet-stream", bytes.NewReader(want))
	must(t, err)
	defer resp.Body.Close()
	if got, err := io.ReadAll(resp.Body); err != nil || string(got) != hex.EncodeToString(sum[:]) {
		t.Errorf("the upload has the digest %s, %v", got, err)
	}
	file := door + "/file/" + strconv.Itoa(size)
	whole, got := get(t, c, file)
	if whole.StatusCode != 200 || sha256.Sum256([]byte(got)) != sum {
		t.Errorf("the download: %s, %d bytes", whole.Status, len(got))
	}
	const have = 1_000_001 // a download that broke off there goes on
	rest, got := get(t, c, file, "Range", fmt.Sprintf("bytes=%d-", have), "If-Range", whole.Header.Get("ETag"))
	if rest.StatusCode != 206 || got != string(want[have:]) {
		t.Errorf("the resumed download: %s, %d bytes", rest.Status, len(got))
	}
}

// testHeads checks early hints, a stale reply in place of an error, the reason phrase
// and the rules for frames.
func testHeads(t *testing.T, c *http.Client, door string) {
	hint := ""
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		hint = fmt.Sprint(code, " ", h.Get("Link"))
		return nil
	}})
	req, err := http.NewRequestWithContext(ctx, "GET", door+"/hints", nil)
	must(t, err)
	if _, body := read(t, c, req); body != "hinted" || hint != "103 <"+door+"/assets/a.css>; rel=preload; as=style" {
		t.Errorf("%q after the hint %q", body, hint)
	}
	for i, want := range []string{"stored", "detail=origin-error"} {
		resp, body := get(t, c, door+"/flaky")
		if body != "stable" || !strings.Contains(resp.Header.Get("Cache-Status"), want) {
			t.Errorf("reply %d of a failing page: %s %q, %s", i, resp.Status, body, resp.Header.Get("Cache-Status"))
		}
		if i == 0 {
			time.Sleep(2100 * time.Millisecond) // its lifetime of one second ends
		}
	}
	if resp, _ := get(t, c, door+"/odd"); resp.Status != "401 Unauthorized" {
		t.Errorf("an unusual reason phrase became %q", resp.Status)
	}
	resp, _ := get(t, c, door+"/framed")
	if got := resp.Header.Values("Content-Security-Policy"); len(got) != 2 || got[0] != "default-src 'self'" || !strings.HasPrefix(got[1], "frame-ancestors http://127.0.0.1:*") || resp.Header.Get("X-Frame-Options") != "" {
		t.Errorf("the rules for frames are %q and %q", got, resp.Header.Get("X-Frame-Options"))
	}
}

// TestBuildOfVite previews the build of a single page app: deep links, hashed assets,
// and the app in a frame of another page.
func TestBuildOfVite(t *testing.T) {
	t.Parallel()
	dir := siteFolder(t)
	must(t, command(dir, "node", "vite.js", "build", filepath.Join(dir, "dist")))
	site := serve(t, dir, "node", "spa.js", "dist")
	l := startLab(t, func(c *Config) { c.Origin = site })
	door := webDoorOf(t, l, "tokyo")
	if got := framed(t, door+"/about/deep?x=1"); got != "about /about/deep, 40 wide, rgb(1, 2, 3)" {
		t.Errorf("the frame shows %q", got)
	}
	assets, err := filepath.Glob(filepath.Join(dir, "dist/assets/index-*.js"))
	if err != nil || len(assets) != 1 {
		t.Fatal(assets, err)
	}
	asset := door + "/assets/" + filepath.Base(assets[0])
	if resp, body := get(t, browser(t), asset); !strings.Contains(resp.Header.Get("Cache-Status"), "; hit") || len(body) == 0 {
		t.Errorf("an asset that the browser has loaded: %s", resp.Header.Get("Cache-Status"))
	}
}

// TestDevelopmentServerOfVite previews a server that checks Host and wants a WebSocket.
// The edge refuses the WebSocket, and the page works without it.
func TestDevelopmentServerOfVite(t *testing.T) {
	t.Parallel()
	dir := siteFolder(t)
	site := serve(t, dir, "node", "vite.js", "serve", filepath.Join(dir, "cache"))
	l := startLab(t, func(c *Config) { c.Origin = site })
	door := webDoorOf(t, l, "sao-paulo")
	if got := framed(t, door+"/about/dev"); got != "about /about/dev, 40 wide, rgb(1, 2, 3)" {
		t.Errorf("the frame shows %q", got)
	}
	resp, body := get(t, browser(t), door+"/", "Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13",
		"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol", "vite-hmr")
	if resp.StatusCode != 501 || !strings.Contains(body, "WebSocket") {
		t.Errorf("a WebSocket gets %s %q", resp.Status, body)
	}
	socks, err := l.SOCKSDoor("tokyo")
	must(t, err)
	// "perto lab browse" has these flags. The browser must not connect to the site itself.
	ctx := headless.Chromium(t, chromedp.ProxyServer("socks5://"+socks.String()), chromedp.Flag("proxy-bypass-list", "<-loopback>"),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"))
	must(t, chromedp.Do(ctx, chromedp.Navigate("http://www.shop.example/about/socks")))
	title, err := chromedp.Run(ctx, chromedp.Evaluate[string](`new Promise(done => {
		const look = () => document.title == "app" ? setTimeout(look, 50) : done(document.title);
		look();
	})`, chromedp.EvalAwaitPromise))
	if err != nil || title != "about /about/socks, 40 wide, rgb(1, 2, 3)" {
		t.Errorf("the browser in Tokyo shows %q, %v", title, err)
	}
	if err := chromedp.Do(ctx, chromedp.Navigate(site+"/")); err == nil {
		t.Error("the browser reaches the site past the CDN")
	}
}

// nginxBinary returns nginx of this machine, or that of a package, unpacked into the
// user's cache folder. Nothing is installed, because the package would start a server.
var nginxBinary = sync.OnceValues(func() (string, error) {
	if path, err := exec.LookPath("nginx"); err == nil {
		return path, nil
	}
	dir, err := cached("nginx", func(dir string) error {
		if err := command(dir, "apt-get", "download", "nginx"); err != nil {
			return err
		}
		packages, err := filepath.Glob(filepath.Join(dir, "*.deb"))
		if err != nil || len(packages) != 1 {
			return fmt.Errorf("downloaded %v, %w", packages, err)
		}
		if err := command(dir, "dpkg", "-x", packages[0], "."); err != nil {
			return err
		}
		return command(dir, "./usr/sbin/nginx", "-v")
	})
	return filepath.Join(dir, "usr/sbin/nginx"), err
})

// startNginx serves a folder with nginx on a free port and returns its URL.
func startNginx(t *testing.T, root string) string {
	t.Helper()
	binary, err := nginxBinary()
	if err != nil {
		t.Skip("nginx is not here and cannot be had:", err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	at := free.Addr().String()
	free.Close()
	conf, err := os.ReadFile("testdata/sites/nginx.conf")
	must(t, err)
	_, port, _ := strings.Cut(at, ":")
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "nginx.conf"), []byte(strings.NewReplacer("PORT", port, "ROOT", root).Replace(string(conf))), 0o644))
	cmd := exec.Command(binary, "-p", dir, "-c", "nginx.conf", "-e", "stderr")
	var diagnostics bytes.Buffer
	cmd.Stderr = &diagnostics
	must(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("tcp", at); err == nil {
			c.Close()
			return "http://" + at
		}
		if time.Since(began) > 10*time.Second {
			t.Fatalf("nginx does not listen: %s", diagnostics.String())
		}
	}
}

// TestNginxWithItsOwnPort previews a static server that writes its port into redirects,
// behind its own host and behind the host of the client.
func TestNginxWithItsOwnPort(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	must(t, os.Chmod(root, 0o755))
	must(t, os.Mkdir(filepath.Join(root, "doc"), 0o755))
	must(t, os.WriteFile(filepath.Join(root, "doc", "read me.txt"), []byte("read"), 0o644))
	site := startNginx(t, root)
	for name, host := range map[string]string{"its own host": "", "the client's host": "www.shop.example"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := startLab(t, func(c *Config) { c.Origin, c.OriginHost = site, host })
			f := fetch(t, at(t, l, "tokyo"), "http://www.shop.example/doc")
			if got := f.Header.Get("Location"); f.Status != 301 || got != "http://www.shop.example/doc/" {
				t.Errorf("%d to %q", f.Status, got)
			}
			door := webDoorOf(t, l, "sao-paulo")
			if resp, _ := get(t, browser(t), door+"/doc?x"); resp.Header.Get("Location") != door+"/doc/?x" {
				t.Errorf("through a door to %q", resp.Header.Get("Location"))
			}
			if _, body := get(t, browser(t), door+"/doc/"); !strings.Contains(body, `<a href="read%20me.txt">`) {
				t.Errorf("the folder is %q", body)
			}
			if _, body := get(t, browser(t), door+"/doc/read%20me.txt"); body != "read" {
				t.Errorf("the file is %q", body)
			}
		})
	}
}
