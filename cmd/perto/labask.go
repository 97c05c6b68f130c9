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
	"text/tabwriter"
	"time"

	"perto"
	"perto/internal/printable"
	"perto/lab"
)

func ms(d perto.Millis) string { return fmt.Sprintf("%.0f ms", float64(d)/float64(time.Millisecond)) }

type labFetchCmd struct {
	URL     string `arg:"" help:"URL to fetch (http)."`
	From    string `required:"" help:"Vantage that fetches." placeholder:"CITY"`
	Headers bool   `short:"i" help:"Show the response's header fields."`
}

// Run fetches once and shows the time of each step.
func (c *labFetchCmd) Run(e *env) error {
	var f lab.Fetched
	if err := e.get("/api/lab/fetch", url.Values{"from": {c.From}, "url": {c.URL}}, &f); err != nil {
		return err
	}
	return e.print(f, func(w io.Writer) {
		fmt.Fprintf(w, "%d, %d bytes, from %s (%s)\n", f.Status, f.Bytes, printable.Text(f.Server), f.Address)
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintf(t, "  DNS\t%s\n  connect\t%s\n  first byte\t%s\n  total\t%s\n", ms(f.DNS), ms(f.Connect), ms(f.FirstByte), ms(f.Total))
		t.Flush()
		fmt.Fprintf(w, "  %s\n", printable.Text(f.Header.Get("Cache-Status")))
		if !c.Headers {
			return
		}
		var names []string
		for name := range f.Header {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			for _, v := range f.Header[name] {
				fmt.Fprintf(w, "%s: %s\n", printable.Text(name), printable.Text(v))
			}
		}
	})
}

type labCompareCmd struct {
	URL string `arg:"" help:"URL to fetch (http)."`
}

// Run fetches from every vantage at once.
func (c *labCompareCmd) Run(e *env) error {
	var list []lab.Fetched
	if err := e.get("/api/lab/compare", url.Values{"url": {c.URL}}, &list); err != nil {
		return err
	}
	failed := 0
	for _, f := range list {
		if f.Error != "" {
			failed++
		}
	}
	if err := e.print(list, func(w io.Writer) {
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "VANTAGE\tSERVED BY\tDNS\tCONNECT\tFIRST BYTE\tTOTAL\tCACHE")
		for _, f := range list {
			if f.Error != "" {
				fmt.Fprintf(t, "%s\t%s\n", f.Vantage, printable.Text(f.Error))
				continue
			}
			cache := "miss"
			if strings.Contains(f.Header.Get("Cache-Status"), "; hit") {
				cache = "hit"
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", f.Vantage, printable.Text(f.Server), ms(f.DNS), ms(f.Connect), ms(f.FirstByte), ms(f.Total), cache)
		}
		t.Flush()
	}); err != nil {
		return err
	}
	if failed > 0 {
		return &perto.Error{Op: "compare", Path: c.URL, Kind: perto.KindUnavailable, Err: fmt.Errorf("%d of %d fetches failed", failed, len(list))}
	}
	return nil
}

type labTraceCmd struct {
	URL  string `arg:"" help:"URL to fetch (http)."`
	From string `required:"" help:"Vantage that fetches." placeholder:"CITY"`
	SVG  string `help:"Draw the steps on a map, to this file." placeholder:"FILE"`
}

// Run prints the numbered steps of a request, as in the common picture of Akamai's
// network.
func (c *labTraceCmd) Run(e *env) error {
	var tr lab.Trace
	if err := e.get("/api/lab/trace", url.Values{"from": {c.From}, "url": {c.URL}}, &tr); err != nil {
		return err
	}
	if c.SVG != "" {
		if err := os.WriteFile(c.SVG, tr.SVG(), 0o644); err != nil {
			return &perto.Error{Op: "write", Path: c.SVG, Kind: perto.KindInvalid, Err: err}
		}
	}
	return e.print(tr, func(w io.Writer) {
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, s := range tr.Steps {
			fmt.Fprintf(t, "%d\t%s\t-> %s\t%s\t%s\n\t\t\t\t= %s\n", s.Number, s.From, printable.Text(s.To), printable.Text(s.What), ms(s.Took), printable.Text(s.Result))
		}
		t.Flush()
	})
}

type labFaultCmd struct {
	Host string `arg:"" help:"Host, or a PoP for all of its edges (perto status lists them)."`
}

func (c *labFaultCmd) apply(e *env, f lab.Fault) error {
	var done lab.FaultResult
	if err := e.post("/api/lab/hosts/"+url.PathEscape(c.Host), url.Values{"do": {string(f)}}, &done); err != nil {
		return err
	}
	return e.print(done, func(w io.Writer) { fmt.Fprintf(w, "%s: %s\n", done.Host, done.Did) })
}

type (
	labKillCmd   struct{ labFaultCmd }
	labFreezeCmd struct{ labFaultCmd }
	labCutCmd    struct{ labFaultCmd }
	labHealCmd   struct{ labFaultCmd }
)

// Run kills a host's process.
func (c *labKillCmd) Run(e *env) error { return c.apply(e, lab.Kill) }

// Run freezes a host.
func (c *labFreezeCmd) Run(e *env) error { return c.apply(e, lab.Freeze) }

// Run disconnects a host from the network.
func (c *labCutCmd) Run(e *env) error { return c.apply(e, lab.Cut) }

// Run reverts kill, freeze and cut.
func (c *labHealCmd) Run(e *env) error { return c.apply(e, lab.Heal) }

type labBrowseCmd struct {
	URL     string `arg:"" optional:"" default:"http://www.shop.example/" help:"URL to open."`
	From    string `required:"" help:"Vantage to browse from." placeholder:"CITY"`
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
	args := []string{"--user-data-dir=" + profile, "--proxy-server=socks5://" + vantage.SOCKS, "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
		"--no-first-run", "--no-default-browser-check", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic", c.URL}
	if os.Geteuid() == 0 {
		args = append([]string{"--no-sandbox"}, args...)
	}
	fmt.Fprintf(e.err, "browsing from %s; close the window or press Ctrl-C to end\n", vantage.Place)
	browser := exec.CommandContext(e.ctx, path, args...)
	browser.Stdout, browser.Stderr = io.Discard, io.Discard
	if err := browser.Run(); err != nil && e.ctx.Err() == nil {
		return &perto.Error{Op: "run browser", Path: path, Kind: perto.KindUnavailable, Err: err}
	}
	return nil
}
