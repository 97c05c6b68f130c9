package main

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"perto"
	"perto/functions"
	"perto/internal/fields"
)

type fnCmd struct {
	Inspect fnInspectCmd `cmd:"" help:"Check a module and say what it is."`
	Invoke  fnInvokeCmd  `cmd:"" help:"Let a module answer one request, here."`
}

// fnHost loads a module from a file into a host of its own.
func (e *env) fnHost(file string, limits functions.Limits, o functions.ModuleOptions) (*functions.Host, *functions.Module, error) {
	wasm, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, &perto.Error{Op: "read module", Path: file, Kind: perto.KindInvalid, Err: err}
	}
	cfg := functions.HostConfig{Limits: limits, Logger: logger(e, false)}
	if dir, err := os.UserCacheDir(); err == nil { // else it is compiled each time
		if cfg.Cache, err = functions.NewCache(filepath.Join(dir, "perto", "wasm")); err != nil {
			return nil, nil, err
		}
	}
	h, err := functions.NewHost(e.ctx, cfg)
	if err != nil {
		return nil, nil, err
	}
	name := strings.TrimSuffix(filepath.Base(file), ".wasm")
	m, err := h.Load(e.ctx, name, wasm, o)
	if err != nil {
		h.Close()
		return nil, nil, err
	}
	return h, m, nil
}

type fnInspectCmd struct {
	File string `arg:"" help:"The module (.wasm)." placeholder:"FILE"`
}

// Run says what a module is and what it asks for.
func (c *fnInspectCmd) Run(e *env) error {
	start := time.Now()
	h, m, err := e.fnHost(c.File, functions.Limits{}, functions.ModuleOptions{})
	if err != nil {
		return err
	}
	defer h.Close()
	compiled := time.Since(start)
	about := m.About()
	return e.print(about, func(w io.Writer) {
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintf(t, "module\t%s, %d bytes, sha256 %s\n", about.Name, about.Bytes, about.Digest)
		fmt.Fprintf(t, "ABI\t%s\n", about.ABI)
		fmt.Fprintf(t, "activation\t%s; an instance answers one request at a time\n", about.Activation)
		fmt.Fprintf(t, "imports\t%s\n", strings.Join(about.Imports, " "))
		fmt.Fprintf(t, "limits\t%s wall, %d MiB memory, %d KiB answer, %d KiB log\n", about.Limits.Wall, about.Limits.Memory>>20, about.Limits.Response>>10, about.Limits.Log>>10)
		fmt.Fprintf(t, "compiled\tin %s\n", compiled.Round(time.Millisecond))
		t.Flush()
	})
}

type fnInvokeCmd struct {
	File   string        `arg:"" help:"The module (.wasm)." placeholder:"FILE"`
	URI    string        `arg:"" optional:"" default:"/" help:"Path and query."`
	Method string        `short:"X" default:"GET" help:"Method."`
	Header []string      `short:"H" sep:"none" help:"A header field: \"Name: value\"." placeholder:"FIELD"`
	Data   string        `short:"d" help:"Body." placeholder:"TEXT"`
	Config string        `help:"What the module's get_config returns." placeholder:"TEXT"`
	Wall   time.Duration `default:"1s" help:"How long it may take."`
	Policy string        `name:"activation" default:"pooled" help:"Which instance answers: pooled, per-request, singleton."`
	Repeat int           `default:"1" help:"How often to ask, one after the other." placeholder:"N"`
}

// Run lets the module answer, once or several times; what it lets pass finds nothing (404).
func (c *fnInvokeCmd) Run(e *env) error {
	q := &functions.Request{Method: c.Method, URI: c.URI, Protocol: "HTTP/1.1", Source: netip.MustParseAddrPort("127.0.0.1:0"), Body: []byte(c.Data)}
	for _, field := range c.Header {
		name, value, ok := strings.Cut(field, ":")
		if !ok {
			return &perto.Error{Op: "read header", Path: field, Kind: perto.KindInvalid, Err: fmt.Errorf(`it takes "Name: value"`)}
		}
		q.Header = append(q.Header, fields.Field{Name: []byte(strings.TrimSpace(name)), Value: []byte(strings.TrimSpace(value))})
	}
	activation, err := functions.ParseActivation(c.Policy)
	if err != nil {
		return &perto.Error{Op: "read activation", Path: c.Policy, Kind: perto.KindInvalid, Err: err}
	}
	h, m, err := e.fnHost(c.File, functions.Limits{Wall: c.Wall}, functions.ModuleOptions{Activation: activation, Config: []byte(c.Config)})
	if err != nil {
		return err
	}
	defer h.Close()
	for range max(1, c.Repeat) {
		if err := c.once(e, m, q); err != nil {
			return err
		}
	}
	return nil
}

// once asks and prints what comes.
func (c *fnInvokeCmd) once(e *env, m *functions.Module, q *functions.Request) error {
	start := time.Now()
	r, err := m.Handle(e.ctx, q, nil)
	if err != nil {
		return err
	}
	took := time.Since(start)
	header := make(http.Header)
	for _, f := range r.Header {
		header.Add(string(f.Name), string(f.Value))
	}
	result := struct {
		Status int           `json:"status"`
		Header http.Header   `json:"header"`
		Body   string        `json:"body"`
		Took   time.Duration `json:"took_ns"`
	}{r.Status, header, string(r.Body), took}
	return e.print(result, func(w io.Writer) {
		fmt.Fprintf(e.err, "%d, %d bytes, in %s\n", r.Status, len(r.Body), took.Round(time.Microsecond))
		e.err.Write(r.Header.Append(nil))
		w.Write(r.Body)
		if c.Repeat > 1 {
			fmt.Fprintln(w)
		}
	})
}
