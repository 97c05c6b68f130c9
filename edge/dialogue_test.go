package edge

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"perto"
	"perto/edge/fetch"
	"perto/internal/simnet"
)

// TestDialogues runs the dialogues in testdata/*.edge between a client, the edge and an
// origin, in virtual time. File names begin with a number, so that the first failure is
// the most basic one. A dialogue is a list of commands. Indented lines belong to the
// command above them:
//
//	origin /path [flag...]     the origin's reply from now on:
//	    200                    status, then fields,
//	    Cache-Control: ...
//	    body: text             then the body (all its lines)
//	    flags: delay=1s        wait before the head
//	           stall=1s        wait before the last byte of the body
//	           cut             send all but the last byte, then close
//	           drop            close without a reply
//	           chunked         no Content-Length
//	           if=Name:value   only for requests with this field
//	client METHOD /path        send a request, with fields; body: text
//	clients N METHOD /path     N of them at once; the expectation is for each
//	expect STATUS [cut|close|2s] check the reply, and the time until it came: fields
//	    !Name                  "Name: value", "Name: ~part" or, for absent, "!Name"; body
//	saw N                      requests at the origin since the last "saw"
//	    METHOD /path           and the line and fields of the last of these
//	after 61s                  time passes; the client's connection is closed
//	site OPTION                host=NAME (fixed Host for origins), origin=URL, forwarded,
//	                           keep-urls, strip=PATH (cookies), wild (wildcard hosts)
//	origin-down                close the origin's listener
//	origin-up [PORT]           open it again
func TestDialogues(t *testing.T) {
	files, err := filepath.Glob("testdata/*.edge")
	if err != nil || len(files) == 0 {
		t.Fatal("no dialogues:", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".edge"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				d := &dialogue{t: t, net: simnet.New(0, simnet.Link{})}
				d.start()
				for _, c := range parseDialogue(t, string(text)) {
					d.play(c)
				}
				d.stop()
			})
		})
	}
}

type command struct {
	line  int
	words []string
	args  []string
}

func parseDialogue(t *testing.T, text string) (out []command) {
	for i, l := range strings.Split(text, "\n") {
		switch {
		case strings.TrimSpace(l) == "" || strings.HasPrefix(l, "#"):
		case l[0] == '\t' || l[0] == ' ':
			if len(out) == 0 {
				t.Fatalf("line %d belongs to nothing", i+1)
			}
			c := &out[len(out)-1]
			c.args = append(c.args, strings.TrimSpace(l))
		default:
			out = append(out, command{line: i + 1, words: strings.Fields(l)})
		}
	}
	return out
}

type dialogue struct {
	t      *testing.T
	net    *simnet.Net
	edge   *Edge
	ran    chan error
	client *testClient

	origin   net.Listener
	mu       sync.Mutex
	script   []scripted
	requests []*http.Request
	replies  []reply // of the last client or clients command
}

type scripted struct {
	path, ifName, ifValue string
	status                int
	fields                []string
	body                  string
	delay, stall          time.Duration
	cut, drop, chunked    bool
}

type reply struct {
	res  *http.Response
	body string
	err  error
	took time.Duration
}

func (d *dialogue) start() {
	e, err := New(Config{Name: "gru-1", Network: d.net.Named("edge")})
	if err != nil {
		d.t.Fatal(err)
	}
	d.edge = e
	d.setSite(Site{})
	d.listen(":80")
	d.ran = make(chan error)
	go func() { d.ran <- e.Run(context.Background()) }()
	synctest.Wait()
	d.client = &testClient{net: d.net}
}

func (d *dialogue) setSite(s Site) {
	s.Service, s.Hosts = "shop.example", append(s.Hosts, "www.shop.example")
	if s.Origins == nil {
		s.Origins = []fetch.Origin{{URL: "http://origin"}}
	}
	sites, err := NewSites(s, Site{Service: "other.example", Origins: []fetch.Origin{{URL: "http://origin"}}})
	if err != nil {
		d.t.Fatal(err)
	}
	d.edge.SetSites(sites)
}

func (d *dialogue) stop() {
	d.client.close()
	if err := d.edge.Close(); err != nil {
		d.t.Error(err)
	}
	if err := <-d.ran; err != nil {
		d.t.Error(err)
	}
	if d.origin != nil {
		d.origin.Close()
	}
}

func (d *dialogue) play(c command) {
	at := fmt.Sprintf("line %d: ", c.line)
	switch c.words[0] {
	case "origin":
		s := parseScript(d.t, c)
		d.mu.Lock()
		d.script = append([]scripted{s}, d.script...)
		d.mu.Unlock()
	case "origin-down":
		d.origin.Close()
		d.edge.client.Abort()
		synctest.Wait()
	case "origin-up":
		d.listen(":" + cmp.Or(strings.Join(c.words[1:], ""), "80"))
	case "site":
		d.setSite(parseSite(c))
	case "after":
		dur, err := time.ParseDuration(c.words[1])
		if err != nil {
			d.t.Fatal(at, err)
		}
		d.client.close()
		time.Sleep(dur)
		synctest.Wait()
	case "client":
		d.replies = []reply{d.client.do(c.words[1], c.words[2], c.args)}
		synctest.Wait()
	case "clients":
		n, _ := strconv.Atoi(c.words[1])
		d.replies = make([]reply, n)
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				tc := &testClient{net: d.net}
				d.replies[i] = tc.do(c.words[2], c.words[3], c.args)
				tc.close()
			})
		}
		wg.Wait()
		synctest.Wait()
	case "expect":
		for _, a := range d.replies {
			expect(d.t, at, c, a)
		}
	case "saw":
		d.saw(at, c)
	default:
		d.t.Fatal(at + "unknown command " + c.words[0])
	}
}

func parseSite(c command) (s Site) {
	for _, w := range c.words[1:] {
		if h, ok := strings.CutPrefix(w, "host="); ok {
			s.Origins = []fetch.Origin{{URL: "http://origin", Host: h}}
		}
		if u, ok := strings.CutPrefix(w, "origin="); ok {
			if s.Origins == nil {
				s.Origins = make([]fetch.Origin, 1)
			}
			s.Origins[0].URL = u
		}
		if w == "forwarded" {
			s.Origins[0].Forwarded = true
		}
		if w == "keep-urls" {
			s.Origins[0].KeepURLs = true
		}
		if w == "wild" {
			s.Hosts = []string{"*.tenants.example", "*.alias.example"}
		}
		if p, ok := strings.CutPrefix(w, "strip="); ok {
			s.Paths = append(s.Paths, PathRule{Path: p, Cookies: StripCookies})
		}
	}
	s.Service = perto.Service("shop.example")
	return s
}

func parseScript(t *testing.T, c command) scripted {
	s := scripted{path: c.words[1], status: 200}
	for _, w := range c.words[2:] {
		name, value, _ := strings.Cut(w, "=")
		switch name {
		case "delay":
			s.delay, _ = time.ParseDuration(value)
		case "stall":
			s.stall, _ = time.ParseDuration(value)
		case "cut":
			s.cut = true
		case "drop":
			s.drop = true
		case "chunked":
			s.chunked = true
		case "if":
			s.ifName, s.ifValue, _ = strings.Cut(value, ":")
		default:
			t.Fatalf("line %d: unknown flag %s", c.line, w)
		}
	}
	for i, a := range c.args {
		if n, err := strconv.Atoi(a); err == nil && i == 0 {
			s.status = n
		} else if body, ok := strings.CutPrefix(a, "body:"); ok {
			s.body = strings.TrimPrefix(body, " ")
		} else {
			s.fields = append(s.fields, a)
		}
	}
	return s
}

func (d *dialogue) listen(address string) {
	d.origin = rawOriginAt(d.t, d.net, address, d.serveOrigin)
}

func (d *dialogue) serveOrigin(c net.Conn) {
	br := bufio.NewReader(c)
	for {
		q, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		io.Copy(io.Discard, q.Body)
		d.mu.Lock()
		d.requests = append(d.requests, q)
		var s scripted
		for _, s = range d.script {
			if s.path == q.URL.Path && (s.ifName == "" || q.Header.Get(s.ifName) == s.ifValue) {
				break
			}
		}
		d.mu.Unlock()
		if !s.reply(c, q) {
			return
		}
	}
}

func (s *scripted) reply(c net.Conn, q *http.Request) (keep bool) {
	if s.drop {
		return false
	}
	time.Sleep(s.delay)
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", s.status, http.StatusText(s.status))
	for _, f := range s.fields {
		b.WriteString(f + "\r\n")
	}
	body := s.body
	switch {
	case s.status == 304 || s.status == 204:
		body = ""
	case s.chunked:
		fmt.Fprintf(&b, "Transfer-Encoding: chunked\r\n")
		body = fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	default:
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n")
	if q.Method == "HEAD" {
		body = ""
	}
	io.WriteString(c, b.String())
	if n := len(body); n > 0 {
		io.WriteString(c, body[:n-1])
		time.Sleep(s.stall)
		if s.cut {
			return false
		}
		io.WriteString(c, body[n-1:])
	}
	return true
}

// testClient is one client with one connection at a time.
type testClient struct {
	net  *simnet.Net
	conn net.Conn
	br   *bufio.Reader
}

func (c *testClient) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

func (c *testClient) do(method, target string, args []string) reply {
	if c.conn == nil {
		conn, err := c.net.Named("client").DialContext(context.Background(), "tcp", "edge:80")
		if err != nil {
			return reply{err: err}
		}
		c.conn, c.br = conn, bufio.NewReader(conn)
	}
	host, body, rest := "www.shop.example", "", ""
	for _, a := range args {
		if v, ok := strings.CutPrefix(a, "Host: "); ok {
			host = v
		} else if v, ok := strings.CutPrefix(a, "body: "); ok {
			body = v
		} else {
			rest += a + "\r\n"
		}
	}
	if body != "" {
		rest += fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	began := time.Now()
	fmt.Fprintf(c.conn, "%s %s HTTP/1.1\r\nHost: %s\r\n%s\r\n%s", method, target, host, rest, body)
	for {
		res, err := http.ReadResponse(c.br, &http.Request{Method: method})
		if err != nil {
			c.close()
			return reply{err: err}
		}
		if res.StatusCode < 200 {
			continue
		}
		b, err := io.ReadAll(res.Body)
		if err != nil || res.Close {
			c.close()
		}
		return reply{res, string(b), err, time.Since(began)}
	}
}

func expect(t *testing.T, at string, c command, a reply) {
	if a.res == nil {
		t.Errorf("%sno reply: %v", at, a.err)
		return
	}
	if want := c.words[1]; strconv.Itoa(a.res.StatusCode) != want {
		t.Errorf("%sstatus %d, want %s; Cache-Status: %s", at, a.res.StatusCode, want, a.res.Header["Cache-Status"])
	}
	flag := ""
	if len(c.words) > 2 {
		flag = c.words[2]
	}
	if d, err := time.ParseDuration(flag); err == nil && a.took.Truncate(time.Second) != d {
		t.Errorf("%sit took %v, want %v", at, a.took, d)
	}
	if flag == "close" && !a.res.Close {
		t.Errorf("%sthe connection stays open", at)
	}
	if wantCut := flag == "cut"; wantCut != (a.err != nil) {
		t.Errorf("%sthe body ended with %v, want cut=%v", at, a.err, wantCut)
	}
	for _, arg := range c.args {
		if body, ok := strings.CutPrefix(arg, "body:"); ok {
			if want := strings.TrimPrefix(body, " "); a.body != want {
				t.Errorf("%sbody %q, want %q", at, a.body, want)
			}
			continue
		}
		checkField(t, at, arg, a.res.Header)
	}
}

func checkField(t *testing.T, at, want string, h http.Header) {
	if name, ok := strings.CutPrefix(want, "!"); ok {
		if v := h.Values(name); len(v) > 0 {
			t.Errorf("%s%s: %q, want none", at, name, v)
		}
		return
	}
	name, value, _ := strings.Cut(want, ": ")
	got := strings.Join(h.Values(name), ", ")
	if part, ok := strings.CutPrefix(value, "~"); ok {
		if !strings.Contains(got, part) {
			t.Errorf("%s%s: %q, want it to contain %q", at, name, got, part)
		}
	} else if got != value {
		t.Errorf("%s%s: %q, want %q", at, name, got, value)
	}
}

func (d *dialogue) saw(at string, c command) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n, _ := strconv.Atoi(c.words[1]); n != len(d.requests) {
		d.t.Errorf("%sthe origin saw %d requests, want %d", at, len(d.requests), n)
	}
	if len(c.args) > 0 && len(d.requests) > 0 {
		q := d.requests[len(d.requests)-1]
		for _, arg := range c.args {
			if strings.HasPrefix(arg, q.Method+" ") {
				if got := q.Method + " " + q.RequestURI; got != arg {
					d.t.Errorf("%s%s, want %s", at, got, arg)
				}
				continue
			}
			q.Header.Set("Host", q.Host)
			checkField(d.t, at, arg, q.Header)
		}
	}
	d.requests = nil
}
