package lab

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"perto/internal/test/headless"
)

// webDoorOf returns the URL of a vantage's web door.
func webDoorOf(t *testing.T, l *Lab, vantage string) string {
	t.Helper()
	at, err := l.WebDoor(vantage)
	if err != nil {
		t.Fatal(err)
	}
	return "http://" + at.String()
}

// browser is an HTTP client with its own cookies, which follows no redirects.
func browser(t *testing.T) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Jar: jar, Timeout: 30 * time.Second, Transport: &http.Transport{DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// read sends a request and reads the whole reply.
func read(t *testing.T, c *http.Client, req *http.Request) (*http.Response, string) {
	t.Helper()
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	return resp, string(body)
}

func get(t *testing.T, c *http.Client, target string, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", target, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		if req.Header.Set(header[i], header[i+1]); header[i] == "Host" {
			req.Host = header[i+1]
		}
	}
	return read(t, c, req)
}

// TestWebDoorShowsTheVantagesEdge: each door shows the site from the edge of its
// vantage, with the times of the steps.
func TestWebDoorShowsTheVantagesEdge(t *testing.T) {
	l := sharedLab(t)
	for from, edge := range map[string]string{"sao-paulo": "gru-", "tokyo": "nrt-1"} {
		door := webDoorOf(t, l, from)
		c := browser(t)
		for i := range 2 {
			resp, body := get(t, c, door+"/style.css")
			timing := strings.Join(resp.Header.Values("Server-Timing"), ", ")
			if resp.StatusCode != 200 || len(body) == 0 || !strings.Contains(timing, `edge;desc="`+edge) {
				t.Errorf("%s: %s with %q, want the site from %s", from, resp.Status, timing, edge)
			}
			for _, want := range []string{"dns;dur=", "connect;dur=", "first-byte;dur=", "cache;desc="} {
				if !strings.Contains(timing, want) {
					t.Errorf("%s: %q lacks %q", from, timing, want)
				}
			}
			if i == 1 && !strings.Contains(timing, `cache;desc="hit"`) {
				t.Errorf("%s: the second fetch has %q", from, timing)
			}
		}
	}
	if v := (shown{l}).Vantages()[0]; v.Web != webDoorOf(t, l, v.Name) {
		t.Errorf("the API has %q", v.Web)
	}
	if _, err := l.WebDoor("nowhere"); err == nil {
		t.Error("a door of a vantage that is not there")
	}
}

// TestWebDoorRejectsOtherHosts: only the door's own names are served.
func TestWebDoorRejectsOtherHosts(t *testing.T) {
	door := webDoorOf(t, sharedLab(t), "tokyo")
	port := door[strings.LastIndexByte(door, ':'):]
	for host, want := range map[string]int{
		"127.0.0.1" + port: 200, "localhost" + port: 200, "tokyo.localhost" + port: 200,
		"rebound.example" + port: 421, "www.shop.example": 421, "127.0.0.1": 421, "127.0.0.1:1": 421, "sao-paulo.localhost" + port: 421,
	} {
		if resp, _ := get(t, browser(t), door+"/style.css", "Host", host); resp.StatusCode != want {
			t.Errorf("Host %s: %s, want %d", host, resp.Status, want)
		}
	}
}

// doorSite is a site of the user with the features that a door must pass.
func doorSite() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Content-Type"] = nil
		w.Header().Set("X-Asked", r.Method+" "+r.Header.Get("Origin")+" "+r.Header.Get("Referer"))
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Write(body)
	})
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "user", Value: r.FormValue("user"), Path: "/", Domain: "www.shop.example"})
		w.Header().Set("Location", "http://"+r.Header.Get("X-Forwarded-Host")+"/me?x=%41")
		w.WriteHeader(http.StatusSeeOther)
	})
	mux.HandleFunc("GET /me", func(w http.ResponseWriter, r *http.Request) {
		user, err := r.Cookie("user")
		if err != nil {
			http.Error(w, "log in", http.StatusUnauthorized)
			return
		}
		fmt.Fprintf(w, "%s asked %s", user.Value, r.RequestURI)
	})
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-time.After(300 * time.Millisecond):
			}
		}
	})
	mux.HandleFunc("GET /hints", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "<http://www.shop.example/a.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		io.WriteString(w, "hinted")
	})
	mux.HandleFunc("GET /framed", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Frame-Options", "DENY")
		w.Header().Set("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none', img-src *")
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, `<title>framed</title><p id=p>plain</p><script src="/app.js"></script>`)
	})
	mux.HandleFunc("GET /app.js", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		io.WriteString(w, `document.getElementById("p").textContent = "made by " + location.port; top.postMessage(document.body.innerText, "*")`)
	})
	mux.HandleFunc("GET /file", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		http.ServeContent(w, r, "file.bin", time.Unix(1e9, 0), bytes.NewReader(bytes.Repeat([]byte("0123456789"), 300_000)))
	})
	return mux
}

// TestWebDoorPassesASite: forms with cookies, redirects, events, hints, ranges and
// bodies pass through a door, and the rules for frames allow the lab's page.
func TestWebDoorPassesASite(t *testing.T) {
	t.Parallel()
	site := httptest.NewServer(doorSite())
	t.Cleanup(site.Close)
	l := startLab(t, func(c *Config) { c.Origin = site.URL })
	door := webDoorOf(t, l, "tokyo")
	c := browser(t)

	t.Run("sessions", func(t *testing.T) {
		resp, err := c.PostForm(door+"/login", url.Values{"user": {"ana"}})
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := resp.Header.Get("Location"); resp.StatusCode != 303 || got != door+"/me?x=%41" {
			t.Fatalf("%s to %q, want the door", resp.Status, got)
		}
		if _, body := get(t, c, resp.Header.Get("Location")); body != "ana asked /me?x=%41" {
			t.Errorf("got %q", body)
		}
		if resp, _ := get(t, browser(t), webDoorOf(t, l, "sao-paulo")+"/me"); resp.StatusCode != 401 {
			t.Errorf("another browser at another vantage: %s", resp.Status)
		}
	})
	t.Run("bodies", func(t *testing.T) {
		sent := bytes.Repeat([]byte("a byte for byte body\r\n"), 100_000)
		req, err := http.NewRequestWithContext(t.Context(), "PUT", door+"/echo", io.MultiReader(bytes.NewReader(sent))) // chunked
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", door)
		req.Header.Set("Referer", door+"/form")
		resp, body := read(t, c, req)
		if sha256.Sum256([]byte(body)) != sha256.Sum256(sent) {
			t.Errorf("%s with %d bytes, want the %d sent bytes", resp.Status, len(body), len(sent))
		}
		if got := resp.Header.Get("X-Asked"); got != "PUT http://www.shop.example http://www.shop.example/form" {
			t.Errorf("the site saw %q", got)
		}
		if kind, ok := resp.Header["Content-Type"]; ok {
			t.Errorf("a content type was made up: %q", kind)
		}
		resp, body = get(t, c, door+"/file", "Range", "bytes=1000005-1000009")
		if resp.StatusCode != 206 || body != "56789" {
			t.Errorf("range: %s with %.20q", resp.Status, body)
		}
	})
	t.Run("events", func(t *testing.T) {
		resp, err := c.Get(door + "/events")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var came []time.Time
		lines := bufio.NewScanner(resp.Body)
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "data: ") {
				came = append(came, time.Now())
			}
		}
		if len(came) != 3 || came[2].Sub(came[0]) < 300*time.Millisecond {
			t.Errorf("events came at %v, want one by one", came)
		}
	})
	t.Run("hints", func(t *testing.T) {
		hint := ""
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			hint = fmt.Sprint(code, " ", h.Get("Link"))
			return nil
		}})
		req, err := http.NewRequestWithContext(ctx, "GET", door+"/hints", nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, body := read(t, c, req); body != "hinted" || hint != "103 <"+door+"/a.css>; rel=preload" {
			t.Errorf("got %q after %q", body, hint)
		}
	})
	t.Run("frames", func(t *testing.T) {
		resp, _ := get(t, c, door+"/framed")
		if got := resp.Header.Get("X-Frame-Options"); got != "" {
			t.Errorf("X-Frame-Options: %s", got)
		}
		if got := strings.Join(resp.Header.Values("Content-Security-Policy"), " | "); !strings.HasPrefix(got, "default-src 'self' | img-src * | frame-ancestors http://127.0.0.1:*") {
			t.Errorf("policy %q", got)
		}
		if resp, _ := get(t, c, door+"/app.js"); resp.Header.Get("Content-Security-Policy") != "" {
			t.Error("the door made up a policy")
		}
		if got := framed(t, door+"/framed"); got != "made by "+door[strings.LastIndexByte(door, ':')+1:] {
			t.Errorf("the frame shows %q", got)
		}
	})
}

// framed shows a page in a frame of a page with another loopback origin, in Chromium. It
// returns the text that the framed page posts to its parent.
func framed(t *testing.T, target string) string {
	t.Helper()
	outer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<script>window.shown = new Promise(done => { onmessage = m => done(m.data) })</script><iframe src=%q></iframe>`, target)
	}))
	t.Cleanup(outer.Close)
	ctx, cancel := context.WithTimeout(headless.Chromium(t), 30*time.Second)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.Navigate(outer.URL)); err != nil {
		t.Fatal(err)
	}
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string]("window.shown", chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatal(err)
	}
	return text
}
