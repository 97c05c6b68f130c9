package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"perto"
	"perto/functions"
	"perto/functions/scaffold"
	"perto/internal/fields"
	"perto/internal/printable"
)

type fnNewCmd struct {
	Dir  string `arg:"" help:"Folder of the project. Its name becomes the name of the function." placeholder:"DIR"`
	Lang string `default:"c" help:"Language: c, go or rust." placeholder:"LANGUAGE"`
}

// newProject lists the files of a new project.
type newProject struct {
	Files []string `json:"files"`
	Needs string   `json:"needs"` // tools that build it
}

// Run writes a project.
func (c *fnNewCmd) Run(e *env) error {
	abs, err := filepath.Abs(c.Dir)
	if err != nil {
		return err
	}
	name := filepath.Base(abs)
	files, needed, err := scaffold.New(c.Lang, c.Dir, name)
	if err != nil {
		return err
	}
	return e.print(newProject{files, needed}, func(w io.Writer) {
		for _, f := range files {
			fmt.Fprintln(w, "wrote", filepath.Join(c.Dir, f))
		}
		fmt.Fprintf(w, "\nIt is built with %s.\nNext:\n  make -C %s\n  %s fn dev %s\n", needed, c.Dir, program(), filepath.Join(c.Dir, name+".wasm"))
	})
}

type fnDevCmd struct {
	File     string   `arg:"" help:"The module (.wasm)." placeholder:"FILE"`
	Listen   hostPort `default:"127.0.0.1:8787" help:"Address to serve on." placeholder:"HOST:PORT"`
	Next     string   `help:"Site for requests that the module lets pass: http://host:port." placeholder:"URL"`
	fnData   `embed:""`
	fnLimits `embed:""`
}

// Run serves a module until it is interrupted. A new build replaces it. When the new
// build does not load, the old one stays.
func (c *fnDevCmd) Run(e *env) error {
	fail := func(kind perto.Kind, err error) error {
		return &perto.Error{Op: "serve module", Path: c.File, Kind: kind, Err: err}
	}
	limits, err := c.limits()
	if err != nil {
		return err
	}
	kv, err := c.pairs()
	if err != nil {
		return err
	}
	options := functions.ModuleOptions{Config: []byte(c.Config), KV: kv, Logs: new(functions.Logs)}
	loaded := c.stamp() // before the file is read: a build that ends meanwhile is a change
	h, first, err := e.fnHost(c.File, limits, options)
	if err != nil {
		return err
	}
	defer h.Close()
	var module atomic.Pointer[functions.Module]
	module.Store(first)
	l, err := net.Listen("tcp", string(c.Listen))
	if err != nil {
		return fail(perto.KindUnavailable, err)
	}
	server := &http.Server{Handler: c.handler(e, &module), ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(logger(e, false).Handler(), slog.LevelWarn)}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	fmt.Fprintf(e.out, "%s is served at http://%s/ (Ctrl-C stops it)\n", first.Name, l.Addr())
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	go c.showLogs(ctx, e, options.Logs)
	c.watch(ctx, loaded, func() {
		wasm, err := os.ReadFile(c.File)
		if err != nil {
			fmt.Fprintln(e.err, "perto:", err)
			return
		}
		next, err := h.Load(ctx, first.Name, wasm, options)
		if err != nil {
			fmt.Fprintln(e.err, "perto:", err)
			return
		}
		old := module.Swap(next)
		old.Close()
		fmt.Fprintf(e.out, "a new build: sha256 %.12s\n", next.Digest)
	})
	server.Close()
	if err := <-served; err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fail(perto.KindUnavailable, err)
	}
	return nil
}

// watchEvery is the interval at which the module's file is checked.
const watchEvery = 300 * time.Millisecond

// stamp identifies a state of the module's file. It is empty when there is no file.
func (c *fnDevCmd) stamp() string {
	s, err := os.Stat(c.File)
	if err != nil {
		return ""
	}
	return fmt.Sprint(s.ModTime().UnixNano(), s.Size())
}

// watch calls changed when the file is no longer in the state seen and then stays the
// same for an interval.
func (c *fnDevCmd) watch(ctx context.Context, seen string, changed func()) {
	pending := ""
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := c.stamp()
		if now != "" && now != seen && now == pending {
			seen = now
			changed()
		}
		pending = now
	}
}

func (c *fnDevCmd) showLogs(ctx context.Context, e *env, logs *functions.Logs) {
	last := uint64(0)
	for {
		_, more := logs.After(last)
		last = e.printLines(logs, last)
		select {
		case <-more:
		case <-ctx.Done():
			return
		}
	}
}

// maxDevBody is the largest body of a request and of a response, in bytes.
const maxDevBody = 16 << 20

// handler runs the module for each request and prints the result.
func (c *fnDevCmd) handler(e *env, module *atomic.Pointer[functions.Module]) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxDevBody))
		if err != nil {
			http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
			return
		}
		source, _ := netip.ParseAddrPort(r.RemoteAddr)
		q := &functions.Request{Method: r.Method, URI: r.URL.RequestURI(), Protocol: r.Proto, Source: source, Body: body}
		for name, values := range r.Header {
			for _, v := range values {
				q.Header = append(q.Header, fields.Field{Name: []byte(name), Value: []byte(v)})
			}
		}
		q.Header = append(q.Header, fields.Field{Name: []byte("Host"), Value: []byte(r.Host)})
		a, err := module.Load().Handle(r.Context(), q, c.next(r))
		if err != nil {
			fmt.Fprintf(e.err, "%s %s: %s\n", r.Method, printable.Text(r.RequestURI), printable.Text(err.Error()))
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		for _, f := range a.Header {
			if fields.Equal(f.Name, "content-length") && (r.Method != http.MethodHead || len(a.Body) > 0) {
				continue
			}
			w.Header().Add(string(f.Name), string(f.Value))
		}
		w.WriteHeader(a.Status)
		w.Write(a.Body)
		fmt.Fprintf(e.err, "%s %s: %d, %d bytes, %s\n", r.Method, printable.Text(r.RequestURI), a.Status, len(a.Body), time.Since(start).Round(time.Microsecond))
	})
}

// next forwards requests to the site behind the module. It is nil without a site.
func (c *fnDevCmd) next(r *http.Request) functions.Next {
	if c.Next == "" {
		return nil
	}
	return func(q *functions.Request) (*functions.Response, error) {
		out, err := http.NewRequestWithContext(r.Context(), q.Method, strings.TrimSuffix(c.Next, "/")+q.URI, strings.NewReader(string(q.Body)))
		if err != nil {
			return nil, err
		}
		for _, f := range q.Header {
			if !fields.Equal(f.Name, "host") && !fields.Equal(f.Name, "accept-encoding") {
				out.Header.Add(string(f.Name), string(f.Value))
			}
		}
		resp, err := http.DefaultTransport.RoundTrip(out)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		a := &functions.Response{Status: resp.StatusCode}
		for name, values := range resp.Header {
			for _, v := range values {
				if name != "Content-Length" || q.Method == http.MethodHead {
					a.Header = append(a.Header, fields.Field{Name: []byte(name), Value: []byte(v)})
				}
			}
		}
		a.Body, err = io.ReadAll(io.LimitReader(resp.Body, maxDevBody))
		return a, err
	}
}
