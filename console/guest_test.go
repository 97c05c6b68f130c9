package console

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"perto"
	"perto/functions"
	"perto/internal/fields"
	"perto/internal/test/headless"
)

// guests are the modules that both hosts run: one in C, two in Go, built once.
var guests = sync.OnceValues(func() (map[string][]byte, error) {
	where, err := os.ReadFile("../functions/testdata/guests/where/where.wasm")
	if err != nil {
		return nil, err
	}
	says, err := os.ReadFile("../functions/testdata/guests/says/says.wasm")
	if err != nil {
		return nil, err
	}
	out := map[string][]byte{"where": where, "says": says}
	dir, err := os.MkdirTemp("", "perto-guests-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	for name, from := range map[string]string{"handler": "../functions/testdata/guests/handler", "calls": "./testdata/guests/calls"} {
		file := filepath.Join(dir, name+".wasm")
		cmd := exec.Command("go", "build", "-buildmode=c-shared", "-o", file, from)
		cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=")
		if text, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%v: %s", err, text)
		}
		if out[name], err = os.ReadFile(file); err != nil {
			return nil, err
		}
	}
	return out, nil
})

// asked is a request to a guest, and answered is the result of a host.
type asked struct {
	Guest   string      `json:"guest"`
	Method  string      `json:"method"`
	URI     string      `json:"uri"`
	Headers [][2]string `json:"headers"`
	Body    []byte      `json:"body"`
}

type answered struct {
	Status  int         `json:"status"`
	Headers [][2]string `json:"headers"`
	Body    []byte      `json:"body"`
	Error   string      `json:"error"`
	Logged  []string    `json:"logged"`
}

// settings has the settings of both hosts.
type settings struct {
	config string
	self   functions.Self
	place  perto.Place
	kv     map[string]string
}

var source = netip.MustParseAddrPort("[2001:db8::7]:1234")

// inGo runs the guests in package functions. Requests of one guest go to one instance.
func inGo(t *testing.T, o settings, all []asked) []answered {
	t.Helper()
	modules, err := guests()
	if err != nil {
		t.Fatal(err)
	}
	var logged []string
	h, err := functions.NewHost(t.Context(), functions.HostConfig{Self: o.self, Limits: functions.Limits{Wall: time.Minute}, Logger: slog.New(lines{&logged}),
		Locate: func(netip.Addr) (perto.Place, bool) { return o.place, true }})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	loaded := make(map[string]*functions.Module)
	var out []answered
	for _, a := range all {
		m := loaded[a.Guest]
		if m == nil {
			if m, err = h.Load(t.Context(), a.Guest, modules[a.Guest], functions.ModuleOptions{Config: []byte(o.config), KV: o.kv}); err != nil {
				t.Fatal(err)
			}
			loaded[a.Guest] = m
		}
		var header fields.Header
		for _, l := range a.Headers {
			header = append(header, fields.Field{Name: []byte(l[0]), Value: []byte(l[1])})
		}
		logged = nil
		r, err := m.Handle(t.Context(), &functions.Request{Method: a.Method, URI: a.URI, Protocol: "HTTP/1.1", Source: source, Header: header, Body: a.Body}, next(a))
		got := answered{Logged: logged}
		if err != nil {
			got.Error = err.Error()
		} else {
			got.Status, got.Body = r.Status, r.Body
			for _, f := range r.Header {
				got.Headers = append(got.Headers, [2]string{string(f.Name), string(f.Value)})
			}
		}
		out = append(out, got)
	}
	return out
}

// next returns the responses to passed requests and subrequests. nextJS does the same.
func next(a asked) functions.Next {
	return func(q *functions.Request) (*functions.Response, error) {
		if strings.HasPrefix(q.URI, "/none") || a.URI == "/refused" {
			return nil, errors.New("no origin")
		}
		guest, _ := q.Header.Get("x-guest")
		return &functions.Response{Status: 203, Header: fields.Of("X-Secret", "1", "X-Kept", "2"),
			Body: []byte("next: " + q.Method + " " + q.URI + " " + string(guest) + " " + string(q.Body))}, nil
	}
}

const nextJS = `q => {
	if (q.uri.startsWith("/none") || a.uri === "/refused") throw new Error("no origin");
	const guest = (q.headers.find(([n]) => n.toLowerCase() === "x-guest") ?? [])[1] ?? "";
	return {status: 203, headers: [["X-Secret", "1"], ["X-Kept", "2"]],
		body: Uint8Array.of(...new TextEncoder().encode("next: " + q.method + " " + q.uri + " " + guest + " "), ...q.body)};
}`

// lines is a log handler that records levels and texts.
type lines struct{ to *[]string }

func (l lines) Enabled(context.Context, slog.Level) bool { return true }
func (l lines) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l lines) WithGroup(string) slog.Handler            { return l }
func (l lines) Handle(_ context.Context, r slog.Record) error {
	*l.to = append(*l.to, strings.ToLower(r.Level.String())+" "+r.Message)
	return nil
}

// inBrowser runs the guests in guest.js, with the page's own policy.
func inBrowser(t *testing.T, o settings, all []asked) []answered {
	t.Helper()
	modules, err := guests()
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", policy)
		io.WriteString(w, "<!doctype html><title>guests</title>")
	})
	mux.HandleFunc("GET /static/guest.js", func(w http.ResponseWriter, r *http.Request) { serveFile(w, r, "guest.js") })
	mux.HandleFunc("GET /{name}", func(w http.ResponseWriter, r *http.Request) { w.Write(modules[r.PathValue("name")]) })
	// All requests together are too long for the text of one evaluation.
	mux.HandleFunc("GET /asked", func(w http.ResponseWriter, _ *http.Request) { json.NewEncoder(w).Encode(all) })
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	given, err := json.Marshal(map[string]any{"config": o.config, "kv": o.kv, "info": o.self,
		"client": map[string]any{"address": source.Addr(), "port": source.Port(), "city": o.place.Name, "country": o.place.Country, "lat": o.place.Lat, "lon": o.place.Lon}})
	if err != nil {
		t.Fatal(err)
	}
	script := `(async () => {
		const {load} = await import("/static/guest.js");
		const bytes = text => Uint8Array.from(atob(text ?? ""), c => c.charCodeAt(0));
		const base64 = b => { let s = ""; for (const c of b) s += String.fromCharCode(c); return btoa(s); };
		const loaded = {}, out = [];
		let logged = [], a;
		for (a of await (await fetch("/asked")).json()) {
			const next = ` + nextJS + `;
			loaded[a.guest] ??= await load(await (await fetch("/" + a.guest)).arrayBuffer(), {
				...` + string(given) + `,
				log: (level, text) => logged.push(level + " " + text),
				fetch: uri => (` + nextJS + `)({method: "GET", uri, headers: [], body: new Uint8Array(0)}),
			});
			logged = [];
			try {
				const r = await loaded[a.guest].handle({method: a.method, uri: a.uri, headers: a.headers ?? [], body: bytes(a.body)}, next);
				out.push({status: r.status, headers: r.headers, body: base64(r.body), logged});
			} catch (err) {
				out.push({error: err.message, logged});
			}
		}
		return JSON.stringify(out);
	})()`
	ctx := headless.Chromium(t)
	if err := chromedp.Do(ctx, chromedp.Navigate(s.URL)); err != nil {
		t.Fatal(err)
	}
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](script, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatal(err)
	}
	var out []answered
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// differ describes the difference of the hosts' results, or returns "". The error of
// the Go host must contain the error of guest.js.
func differ(inGo, inBrowser answered) string {
	switch g, b := inGo, inBrowser; {
	case (g.Error == "") != (b.Error == ""), !strings.Contains(g.Error, b.Error):
		return fmt.Sprintf("error %q in Go, %q in the browser", g.Error, b.Error)
	case g.Status != b.Status:
		return fmt.Sprintf("status %d in Go, %d in the browser", g.Status, b.Status)
	case string(g.Body) != string(b.Body):
		return fmt.Sprintf("body %q in Go, %q in the browser", g.Body, b.Body)
	case !slices.Equal(g.Headers, b.Headers):
		return fmt.Sprintf("header %q in Go, %q in the browser", g.Headers, b.Headers)
	case g.Error == "" && !slices.Equal(g.Logged, b.Logged):
		return fmt.Sprintf("logged %q in Go, %q in the browser", g.Logged, b.Logged)
	}
	return ""
}

// TestSameGuestInTheBrowser sends the same requests to both hosts.
func TestSameGuestInTheBrowser(t *testing.T) {
	o := settings{"the configuração, ", functions.Self{Name: "gru-1", PoP: "gru", City: "São Paulo", Country: "BR", Placement: "browser"},
		perto.Place{Name: "Lisboa <&>", Country: "PT", Lat: 38.7, Lon: -9.1}, map[string]string{"BR": "BRL 5.40", "": "nothing", "olá": "mundo"}}
	header := [][2]string{{"X-Two", "a"}, {"x-two", "b"}, {"Accept", "*/*"}, {"Host", "shop.example"}}
	ask := func(guest, uri string) asked { return asked{Guest: guest, Method: "GET", URI: uri, Headers: header} }
	var all []asked
	want := make(map[int]string)
	add := func(a asked, answer string) {
		want[len(all)] = answer
		all = append(all, a)
	}
	add(ask("where", "/"), `200 the configuração, {"name":"gru-1",`)
	add(ask("where", "/a+"), "203 <next: GET /a+  >")
	add(ask("where", "/0"), "0 ")
	add(ask("where", "/"), `200 the configuração, {"name":"gru-1",`)
	echo := ask("handler", "/echo")
	echo.Method, echo.Body = "POST", []byte("in small parts, às vezes")
	add(echo, "200 IN SMALL PARTS, ")
	for _, c := range [][2]string{
		{"/hello?x=1", "200 hello GET /hello?x=1 from [2001:db8::7]:1234"}, {"/headers", "200 3 accept|host|x-two| 2 a|b|"}, {"/config", "200 the configuração,  3"},
		{"/kv?BR", "200 8 BRL 5.40"}, {"/kv?PT", "200 -1 "}, {"/kv?", "200 7 nothing"}, {"/kv?olá", "200 5 mundo"},
		{"/pass", "203 next: GET /rewritten was here "}, {"/refused", "503 the next one failed"}, {"/tiny", "200 5"}, {"/where", "200 {"},
		{"/fetch?/a&/none&b&/c&/d", "200 203=next: GET /a  ;-1=;-1=;203=next: GET /c  ;-2=;"}, {"/log", "200 "}, {"/hello/205", "205 "}, {"/hello/204", "204 "}, {"/print", "200 "}, {"/logs", "200 "}, {"/nothing", "200 "},
		{"/count", "200 "}, {"/trap", "0 "}, {"/count", "200 1"}, {"/count", "200 2"}, {"/big", "0 "}, {"/pointer", "0 "}, {"/smuggle", "0 "}, {"/status", "0 "}, {"/hello", "200 "},
	} {
		add(ask("handler", c[0]), c[1])
	}
	// Texts that could end a line of a message end the guest.
	for _, text := range []string{"", " ", "/a b", "/\t", "/a\r", "/a\n", "/\x00", "/\x1b", "/\x7f", "/é", "/#", "/\"", "/<", "/>", "/\\", "/\u2028"} {
		for _, f := range []string{"u", "m", "f"} {
			add(ask("says", "/?"+f+url.PathEscape(text)), "0 ")
		}
		status := "200 "
		if strings.ContainsAny(text, "\r\n\x00\x1b\x7f") {
			status = "0 "
		}
		add(ask("says", "/?H%03x-a"+url.PathEscape(text)), status)
	}
	for _, c := range [][2]string{{"uhttp://a/", "0 "}, {"u*", "203 next: GET * "}, {"u/a?b|c", "203 next: GET /a?b|c "}, {"mCONNECT", "0 "}, {"mPUT", "203 next: PUT /"}, {"fa", "502 "}, {"f/a", "203 "}} {
		add(ask("says", "/?"+strings.ReplaceAll(c[0], "?", "%3f")), c[1])
	}
	ours, theirs := inGo(t, o, all), inBrowser(t, o, all)
	for i, a := range all {
		if d := differ(ours[i], theirs[i]); d != "" {
			t.Errorf("%s %s: %s", a.Guest, a.URI, d)
		}
		if got := fmt.Sprintf("%d %s", ours[i].Status, ours[i].Body); !strings.HasPrefix(got, want[i]) {
			t.Errorf("%s %s: got %q, want %q", a.Guest, a.URI, got, want[i])
		}
	}
}

// TestSameCallsInTheBrowser runs a guest that calls both hosts with the same valid and
// invalid arguments in the same order.
func TestSameCallsInTheBrowser(t *testing.T) {
	// All text is ASCII, because guest.js uses strings, which cannot hold bytes that are
	// not UTF-8.
	const ground = "/a/b x-two Accept: host X-Guest olaa/none PUT BR \t v \r\n\"x\"\x00\x00/q?z=1 end"
	o := settings{"configuration", functions.Self{Name: "x"}, perto.Place{Name: "Recife", Lat: -8.05}, map[string]string{"BR": "real", "": "nothing"}}
	rng := rand.New(rand.NewPCG(7, 8))
	starts := []uint32{0, 5, 11, 19, 24, 32, 33, 37, 41, 44, 46, 51, 57, 64, 200, 900, 1 << 10}
	// A mistake ends a guest. Mistakes are rare, so that many calls come before one.
	mistake := func() bool { return rng.IntN(60) == 0 }
	number := func() uint32 {
		if mistake() {
			return []uint32{0, 1 << 31, 1<<32 - 1, 70_000, 1 << 25}[rng.IntN(5)]
		}
		return []uint32{1, 2, 4, 5, 6, 7, 40, 300}[rng.IntN(8)]
	}
	at := func() uint32 {
		if rng.IntN(3_600) == 0 {
			return 1<<32 - 1<<20
		}
		return starts[rng.IntN(len(starts))]
	}
	kind := func() uint32 {
		if mistake() {
			return uint32(rng.IntN(6))
		}
		return uint32(rng.IntN(2))
	}
	word := func() (uint32, uint32) { // address of a word, and its length
		if mistake() {
			return at(), number()
		}
		w := [][2]uint32{{5, 5}, {11, 6}, {19, 4}, {24, 7}, {32, 4}, {41, 3}, {45, 2}, {48, 3}, {0, 4}, {36, 5}}[rng.IntN(10)]
		return w[0], w[1]
	}
	name := func() (uint32, uint32) {
		if mistake() {
			return word()
		}
		w := [][2]uint32{{5, 5}, {11, 6}, {19, 4}, {24, 7}}[rng.IntN(4)]
		return w[0], w[1]
	}
	var all []asked
	for range 1500 {
		a := asked{Guest: "calls", Method: []string{"GET", "POST"}[rng.IntN(2)], URI: []string{"/", "/refused", "/x?y"}[rng.IntN(3)],
			Headers: [][2]string{{"X-Two", "a"}, {"Accept", "*/*"}, {"x-two", "b"}}}
		body := make([]byte, 65)
		copy(body, ground)
		body[64] = byte(rng.IntN(2))
		n := 2 * (1 + rng.IntN(20))
		for i := range n {
			f := byte(rng.IntN(23))
			after := i >= n/2 && body[64] == 1 && !mistake() // the request must not be changed any more
			p := [5]uint32{at(), number(), at(), number(), number()}
			switch f {
			case 3, 5, 21:
				p[0], p[1] = word()
			case 8, 13, 14:
				p[0], p[1], p[2] = kind(), at(), number()
			case 9, 10, 11, 12:
				p[0], p[3], p[4] = kind(), at(), number()
				p[1], p[2] = name()
				if f != 9 {
					p[3], p[4] = word()
				}
			case 16:
				p[0] = []uint32{200, 404, 599, 502, 418}[rng.IntN(5)]
				if mistake() {
					p[0] = []uint32{600, 199, 0, 1 << 31}[rng.IntN(4)]
				}
			case 17:
				p[0] = uint32(rng.IntN(6)) - 2
				p[1], p[2] = word()
			case 20:
				p[0], p[1] = word()
				p[2], p[3] = at(), number()
			}
			if after && (f == 3 || f == 5) {
				f++ // the next function in the list only reads
			}
			if after && (f >= 10 && f <= 12 || f == 14) {
				p[0] |= 1
			}
			body = append(body, f)
			for _, n := range p {
				body = binary.LittleEndian.AppendUint32(body, n)
			}
		}
		a.Body = body
		all = append(all, a)
	}
	ours, theirs := inGo(t, o, all), inBrowser(t, o, all)
	ended, different := make(map[string]int), 0
	for i, a := range all {
		if d := differ(ours[i], theirs[i]); d != "" {
			if different++; different < 6 {
				t.Errorf("%d: %s %s: %s\ncalls %x", i, a.Method, a.URI, d, a.Body[64:])
			}
		}
		ended[theirs[i].Error]++
	}
	t.Logf("of %d requests %d differ; they ended with %v", len(all), different, ended)
	if ended[""] < len(all)/10 || len(ended) < 6 {
		t.Errorf("the calls say little: they ended with %v", ended)
	}
}
