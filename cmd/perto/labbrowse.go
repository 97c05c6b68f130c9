package main

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"

	"perto"
	"perto/internal/printable"
	"perto/lab"
)

type labBrowseCmd struct {
	URL     webURL `arg:"" optional:"" default:"http://www.shop.example/" help:"URL to open; http:// may be left out." placeholder:"URL"`
	From    string `required:"" help:"Vantage to browse from." placeholder:"CITY" complete:"vantage"`
	Browser string `help:"Browser to start (Chromium or Chrome)." env:"PERTO_BROWSER" placeholder:"COMMAND"`
}

// vantage returns a vantage of the running lab.
func (e *env) vantage(name string) (*lab.VantageInfo, error) {
	var list []lab.VantageInfo
	if err := e.get("/api/lab/vantages", nil, &list); err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(list, func(v lab.VantageInfo) bool { return v.Name == name }); i >= 0 {
		return &list[i], nil
	}
	// The lab offers similar names. A world of containers does not.
	err := e.get("/api/lab/vantages/"+url.PathEscape(name), nil, new(lab.VantageInfo))
	if f, ok := errors.AsType[*perto.Error](err); ok && f.Kind == perto.KindNotFound {
		return nil, err
	}
	return nil, &perto.Error{Op: "find vantage", Path: name, Kind: perto.KindNotFound, Err: errors.New("there is no such vantage"), Hint: "perto lab vantages lists them"}
}

// browsers returns the browsers that are tried in order.
func browsers() []string {
	return []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"}
}

// Run opens a browser. Its connections and name queries go through a vantage.
func (c *labBrowseCmd) Run(e *env) error {
	vantage, err := e.vantage(c.From)
	if err != nil {
		return err
	}
	path := c.Browser
	for _, b := range browsers() {
		if path == "" {
			path, _ = exec.LookPath(b)
		}
	}
	if path == "" {
		return &perto.Error{Op: "start a browser", Kind: perto.KindUnavailable, Err: fmt.Errorf("found neither Chromium nor Chrome"),
			Hint: "set a SOCKS 5 proxy with remote names to " + vantage.SOCKS + " in yours, or name one with --browser"}
	}
	profile, err := os.MkdirTemp("", "perto-browse-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(profile)
	// Chromium would reach loopback addresses directly. With "<-loopback>" a redirect to
	// 127.0.0.1 stays in the lab.
	args := []string{"--user-data-dir=" + profile, "--proxy-server=socks5://" + vantage.SOCKS, "--proxy-bypass-list=<-loopback>", "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
		"--no-first-run", "--no-default-browser-check", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic", string(c.URL)}
	if os.Geteuid() == 0 {
		args = append([]string{"--no-sandbox"}, args...)
	}
	fmt.Fprintf(e.err, "browsing from %s; close the window or press Ctrl-C to end\n", vantage.Place)
	browser := exec.CommandContext(e.ctx, path, args...)
	said := new(tail)
	browser.Stdout, browser.Stderr = io.Discard, said
	if err := browser.Run(); err != nil && e.ctx.Err() == nil {
		if lines := said.lines(maxBrowserLines); len(lines) > 0 {
			err = fmt.Errorf("%w; its last lines:\n  %s", err, strings.Join(lines, "\n  "))
		}
		return &perto.Error{Op: "run browser", Path: path, Kind: perto.KindUnavailable, Err: err}
	}
	return nil
}

// maxBrowserLines is how many lines of a browser that failed are shown.
const maxBrowserLines = 8

// tail keeps the end of a text.
type tail struct{ text []byte }

// tailBytes is the size of the end that is kept.
const tailBytes = 8 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.text = append(t.text, b...)
	t.text = t.text[max(0, len(t.text)-tailBytes):]
	return len(b), nil
}

// lines returns the last lines that are not empty, at most n.
func (t *tail) lines(n int) (out []string) {
	for line := range strings.Lines(string(t.text)) {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, printable.Text(line))
		}
	}
	return out[max(0, len(out)-n):]
}
