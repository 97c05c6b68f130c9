package main

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"perto"
	"perto/functions"
	"perto/internal/fields"
	"perto/internal/printable"
	"perto/mobility"
)

type fnCmd struct {
	New      fnNewCmd      `cmd:"" help:"Write a project for a new function, in C, Go or Rust."`
	Dev      fnDevCmd      `cmd:"" help:"Serve a module on this machine and reload it after each build."`
	Inspect  fnInspectCmd  `cmd:"" help:"Check and describe a module or an image."`
	Invoke   fnInvokeCmd   `cmd:"" help:"Run a module for one request, on this machine."`
	Push     fnPushCmd     `cmd:"" help:"Push a module to nodes, which run it from then on."`
	List     fnListCmd     `cmd:"" help:"List the functions of nodes with their state."`
	History  fnHistoryCmd  `cmd:"" help:"List the versions of a function that nodes keep."`
	Rollback fnRollbackCmd `cmd:"" help:"Go back to an older version."`
	Remove   fnRemoveCmd   `cmd:"" help:"Remove a function. Its requests then go to the cache and the origin."`
	Logs     fnLogsCmd     `cmd:"" help:"Show the log of a function at a node."`
}

// fnHost loads a module from a file into a new host. When loading fails, it prints the
// module's output.
func (e *env) fnHost(file string, limits functions.Limits, o functions.ModuleOptions) (*functions.Host, *functions.Module, error) {
	wasm, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, &perto.Error{Op: "read module", Path: file, Kind: perto.KindInvalid, Err: err}
	}
	cfg := functions.HostConfig{Limits: limits}
	if dir, err := os.UserCacheDir(); err == nil { // without a folder it is compiled each time
		if cfg.Cache, err = functions.NewCache(filepath.Join(dir, "perto", "wasm")); err != nil {
			return nil, nil, err
		}
	}
	h, err := functions.NewHost(e.ctx, cfg)
	if err != nil {
		return nil, nil, err
	}
	name := strings.TrimSuffix(filepath.Base(file), ".wasm")
	if o.Logs == nil {
		o.Logs = new(functions.Logs)
	}
	m, err := h.Load(e.ctx, name, wasm, o)
	if err != nil {
		e.printLines(o.Logs, 0)
		h.Close()
		return nil, nil, err
	}
	return h, m, nil
}

// printLines prints the lines that a function logged after line number after, and returns
// the number of the last.
func (e *env) printLines(logs *functions.Logs, after uint64) uint64 {
	lines, _ := logs.After(after)
	for _, l := range lines {
		fmt.Fprintf(e.err, "%s %s\n", l.Level, printable.Text(l.Text))
		after = l.Number
	}
	return after
}

type fnInspectCmd struct {
	File  string `arg:"" help:"A module (.wasm), or an image of one." placeholder:"FILE"`
	Image string `help:"Write the image of a new instance, signed with --key." placeholder:"OUT"`
	Key   string `help:"Key that signs the image." placeholder:"FILE"`
}

// Run describes a module or an image.
func (c *fnInspectCmd) Run(e *env) error {
	if data, err := os.ReadFile(c.File); err == nil && functions.IsImage(data) {
		return inspectImage(e, c.File, data)
	}
	start := time.Now()
	h, m, err := e.fnHost(c.File, functions.Limits{}, functions.ModuleOptions{})
	if err != nil {
		return err
	}
	defer h.Close()
	compiled := time.Since(start)
	if c.Image != "" {
		if err := writeImage(c.Image, c.Key, m); err != nil {
			return err
		}
	}
	about := m.About()
	return e.print(about, func(w io.Writer) {
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintf(t, "module\t%s, %d bytes, sha256 %s\n", about.Name, about.Bytes, about.Digest)
		fmt.Fprintf(t, "ABI\t%s\n", about.ABI)
		fmt.Fprintf(t, "activation\t%s\n", about.Activation)
		fmt.Fprintf(t, "concurrency\t%d instances; each handles one request at a time\n", about.Concurrency)
		if about.NoImage == "" {
			fmt.Fprintf(t, "image\tafter initialisation: %d KiB of %d KiB of memory; instances are copies of it\n", about.ImageBytes>>10, about.MemoryBytes>>10)
		} else {
			fmt.Fprintf(t, "image\tnone, because %s; each instance initialises itself\n", about.NoImage)
		}
		fmt.Fprintf(t, "random\t%s\n", randomness(about))
		fmt.Fprintf(t, "imports\t%s\n", printable.Text(strings.Join(about.Imports, " ")))
		l := about.Limits
		fmt.Fprintf(t, "limits\t%s wall, %d MiB memory, %d KiB response, %d KiB log, %d subrequests\n", l.Wall, l.Memory>>20, l.Response>>10, l.Log>>10, l.Subrequests)
		fmt.Fprintf(t, "compiled\tin %s\n", compiled.Round(time.Millisecond))
		t.Flush()
	})
}

// randomness describes the random numbers of instances.
func randomness(a functions.About) string {
	switch {
	case a.NoImage != "":
		return "each instance has its own random numbers"
	case a.Seeded:
		return "each instance has a seed of its own (Go's runtime)"
	case a.Reseeds:
		return "each instance gets a random number (perto_reseed)"
	case slices.Contains(a.Imports, "wasi_snapshot_preview1.random_get"):
		return "random numbers that it read at its start are the same in all instances; if that matters, export perto_reseed"
	}
	return "it uses no random numbers"
}

func writeImage(file, keyFile string, m *functions.Module) error {
	fail := func(kind perto.Kind, err error, hint string) error {
		return &perto.Error{Op: "write image", Path: file, Kind: kind, Err: err, Hint: hint}
	}
	image := m.Image()
	if image == nil {
		return fail(perto.KindInvalid, errors.New(m.About().NoImage), "")
	}
	if keyFile == "" {
		return fail(perto.KindInvalid, errors.New("an image is signed"), "name a key with --key; perto key new --sign NAME makes one")
	}
	key, err := mobility.LoadSigningKey(keyFile)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, image.Append(nil, key.Signer()), 0o644); err != nil {
		return fail(perto.KindUnavailable, err, "")
	}
	return nil
}

// aboutImage describes an image.
type aboutImage struct {
	Module  string        `json:"module"` // digest
	ABI     functions.ABI `json:"abi"`
	Epoch   uint64        `json:"epoch"`
	Memory  int           `json:"memory_bytes"`
	Held    int           `json:"held_bytes"` // bytes that are not zero
	Globals int           `json:"globals"`
	Signer  string        `json:"signer"` // public key
}

// inspectImage describes an image.
func inspectImage(e *env, file string, data []byte) error {
	i, signer, err := functions.ParseImage(data)
	if err != nil {
		return &perto.Error{Op: "read image", Path: file, Kind: perto.KindInvalid, Err: err}
	}
	about := aboutImage{hex.EncodeToString(i.Module[:]), i.ABI, i.Epoch, int(i.Pages) << 16, i.Size(), len(i.Globals), base64.StdEncoding.EncodeToString(signer)}
	return e.print(about, func(w io.Writer) {
		fmt.Fprintf(w, "image of module sha256 %s (%s), epoch %d\n%d KiB of %d KiB of memory, %d globals\nsigned by %s\n",
			about.Module, about.ABI, about.Epoch, about.Held>>10, about.Memory>>10, about.Globals, about.Signer)
	})
}

type fnInvokeCmd struct {
	File     string   `arg:"" help:"The module (.wasm)." placeholder:"FILE"`
	URI      string   `arg:"" optional:"" default:"/" help:"Path and query."`
	Method   string   `short:"X" default:"GET" help:"Method."`
	Header   []string `short:"H" sep:"none" help:"A header field: \"Name: value\"." placeholder:"FIELD"`
	Data     string   `short:"d" help:"Body." placeholder:"TEXT"`
	Policy   string   `name:"activation" default:"pooled" help:"Instance for a request: pooled, per-request or singleton."`
	Repeat   int      `default:"1" help:"Number of requests, one after the other." placeholder:"N"`
	fnData   `embed:""`
	fnLimits `embed:""`
}

// Run runs the module once or several times. Requests that it lets pass get a 404.
func (c *fnInvokeCmd) Run(e *env) error {
	q := &functions.Request{Method: c.Method, URI: c.URI, Protocol: "HTTP/1.1", Source: netip.MustParseAddrPort("127.0.0.1:0"), Body: []byte(c.Data)}
	for _, field := range c.Header {
		name, value, ok := strings.Cut(field, ":")
		if !ok {
			return &perto.Error{Op: "read header", Path: field, Kind: perto.KindInvalid, Err: fmt.Errorf(`use the form "Name: value"`)}
		}
		q.Header = append(q.Header, fields.Field{Name: []byte(strings.TrimSpace(name)), Value: []byte(strings.TrimSpace(value))})
	}
	activation, err := functions.ParseActivation(c.Policy)
	if err != nil {
		return &perto.Error{Op: "read activation", Path: c.Policy, Kind: perto.KindInvalid, Err: err}
	}
	limits, err := c.limits()
	if err != nil {
		return err
	}
	kv, err := c.pairs()
	if err != nil {
		return err
	}
	logs := new(functions.Logs)
	h, m, err := e.fnHost(c.File, limits, functions.ModuleOptions{Activation: activation, Config: []byte(c.Config), KV: kv, Logs: logs})
	if err != nil {
		return err
	}
	defer h.Close()
	seen := uint64(0)
	for range max(1, c.Repeat) {
		err := c.once(e, m, q)
		seen = e.printLines(logs, seen)
		if err != nil {
			return err
		}
	}
	return nil
}

// invoked is the response of a module.
type invoked struct {
	Status int          `json:"status"`
	Header http.Header  `json:"header"`
	Body   string       `json:"body"`
	Took   perto.Millis `json:"took_ms"`
}

// once runs the module and prints the response.
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
	result := invoked{r.Status, header, string(r.Body), perto.Millis(took)}
	return e.print(result, func(w io.Writer) {
		fmt.Fprintf(e.err, "%d, %d bytes, in %s\n", r.Status, len(r.Body), took.Round(time.Microsecond))
		for _, f := range r.Header {
			fmt.Fprintf(e.err, "%s: %s\n", printable.Text(f.Name), printable.Text(f.Value))
		}
		e.body(r.Body)
		if c.Repeat > 1 {
			fmt.Fprintln(w)
		}
	})
}
