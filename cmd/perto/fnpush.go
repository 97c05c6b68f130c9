package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"perto"
	"perto/functions"
	"perto/internal/printable"
	"perto/lab"
	"perto/mobility"
	"perto/node"
)

// fnTargets selects the nodes of a command.
type fnTargets struct {
	To []string `help:"Nodes: names in a lab, or HOST:PORT of APIs (default: all nodes of the lab, or the node of --api)." placeholder:"NODE" complete:"node"`
}

// target is a node that runs functions.
type target struct {
	name   string
	client mobility.Client
}

// targets returns the nodes. A lab lists its own.
func (t *fnTargets) targets(e *env) ([]target, error) {
	var nodes []lab.FunctionNode
	if err := e.resolve(); err != nil {
		return nil, err
	}
	inLab := e.get("/api/lab/functions", nil, &nodes) == nil
	known := func(name string) bool {
		return slices.ContainsFunc(nodes, func(n lab.FunctionNode) bool { return n.Name == name })
	}
	at := func(name string) target {
		return target{name, mobility.Client{Base: "http://" + e.api + "/api/nodes/" + url.PathEscape(name)}}
	}
	var out []target
	for _, to := range t.To {
		switch {
		case strings.Contains(to, ":"):
			out = append(out, target{to, mobility.Client{Base: "http://" + to, HTTP: e.client()}})
		case inLab && known(to):
			out = append(out, at(to))
		default:
			hint := "use the HOST:PORT of its API"
			if inLab {
				var names []string
				for _, n := range nodes {
					names = append(names, n.Name)
				}
				hint = "the lab has " + strings.Join(names, ", ")
			}
			return nil, &perto.Error{Op: "find node", Path: to, Kind: perto.KindNotFound, Err: errors.New("no node of that name is known here"), Hint: hint}
		}
	}
	if len(t.To) > 0 {
		return out, nil
	}
	if inLab {
		for _, n := range nodes {
			out = append(out, at(n.Name))
		}
		return out, nil
	}
	return []target{{e.api, mobility.Client{Base: "http://" + e.api, HTTP: e.client()}}}, nil
}

// of returns a function's service and path, and the nodes.
func (t *fnTargets) of(e *env, f fnName) (service perto.Service, path string, targets []target, err error) {
	if service, path, err = f.split(); err == nil {
		targets, err = t.targets(e)
	}
	return service, path, targets, err
}

func clients(targets []target) (out []mobility.Client) {
	for _, t := range targets {
		out = append(out, t.client)
	}
	return out
}

// fnName is a function: "shop.cdn.example/greeting", or its URL.
type fnName string

func (f fnName) split() (perto.Service, string, error) {
	s := strings.TrimPrefix(strings.TrimPrefix(string(f), "http://"), "https://")
	service, path, ok := strings.Cut(s, "/")
	if !ok || service == "" {
		return "", "", &perto.Error{Op: "read function", Path: string(f), Kind: perto.KindInvalid, Err: errors.New(`it takes a service and a path, such as shop.cdn.example/greeting`)}
	}
	return perto.Service(perto.CanonicalName(service)), "/" + path, nil
}

// fnKey selects the signing key: a file, or that of a lab.
type fnKey struct {
	Key string `help:"Signing key, made by perto key new --sign NAME (default in a lab: the lab's key)." placeholder:"FILE" env:"PERTO_SIGN_KEY"`
}

func (k *fnKey) load(e *env) (mobility.SigningKey, error) {
	if k.Key != "" {
		return mobility.LoadSigningKey(k.Key)
	}
	fail := func(err error) (mobility.SigningKey, error) {
		return mobility.SigningKey{}, &perto.Error{Op: "sign release", Kind: perto.KindInvalid, Err: err, Hint: "give a key with --key; perto key new --sign NAME makes one"}
	}
	q, err := http.NewRequestWithContext(e.ctx, "GET", "http://"+e.api+"/api/lab/key", nil)
	if err != nil {
		return fail(err)
	}
	r, err := http.DefaultClient.Do(q)
	if err != nil {
		return fail(errors.New("no key is given, and no lab is running at --api"))
	}
	defer r.Body.Close()
	text, err := io.ReadAll(io.LimitReader(r.Body, 4096))
	if err != nil || r.StatusCode != http.StatusOK {
		return fail(errors.New("no key is given, and the node at --api is not a lab"))
	}
	return mobility.ParseSigningKey(text)
}

// nextVersion returns the highest version at the nodes, plus one.
func nextVersion(e *env, targets []target, service perto.Service, path string) (uint64, error) {
	newest := uint64(0)
	answered := false
	var last error
	for _, t := range targets {
		h, err := t.client.History(e.ctx, service, path)
		if e, ok := errors.AsType[*perto.Error](err); ok && e.Kind == perto.KindNotFound {
			err = nil // not pushed to this node yet
		}
		if err != nil {
			last = err
			continue
		}
		answered = true
		if len(h) > 0 {
			newest = max(newest, h[0].Version)
		}
	}
	if !answered {
		return 0, last
	}
	return newest + 1, nil
}

type fnPushCmd struct {
	File      string `arg:"" help:"The module (.wasm)." placeholder:"FILE"`
	Function  fnName `arg:"" help:"Its path: SERVICE/PATH. With /* at the end it covers all paths below." placeholder:"FUNCTION" complete:"function"`
	OnDemand  bool   `help:"Send edges only the release. They pull the code from the origin at the first request. The code goes to the origin, so --to must name it too."`
	Policy    string `name:"activation" default:"pooled" enum:"pooled,per-request,singleton" help:"Instance for a request: pooled, per-request or singleton."`
	Phase     string `default:"client" enum:"client,origin" help:"Before the cache (client) or behind it (origin)."`
	Place     string `name:"placement" default:"edge" enum:"edge,origin" help:"Where it runs: at the edges or at the origin."`
	fnData    `embed:""`
	fnLimits  `embed:""`
	fnTargets `embed:""`
	fnKey     `embed:""`
}

// Run pushes a module.
func (c *fnPushCmd) Run(e *env) error {
	service, path, err := c.Function.split()
	if err != nil {
		return err
	}
	limits, err := c.limits()
	if err != nil {
		return err
	}
	kv, err := c.pairs()
	if err != nil {
		return err
	}
	settings := mobility.Settings{Activation: c.Policy, Phase: c.Phase, Placement: c.Place, Config: c.Config, KV: kv,
		Wall: perto.Millis(limits.Wall), Memory: limits.Memory, Subrequests: limits.Subrequests}
	// Check here first: a module that does not load here loads nowhere.
	h, _, err := e.fnHost(c.File, limits, functions.ModuleOptions{Config: []byte(c.Config), KV: kv})
	if err != nil {
		return err
	}
	h.Close()
	wasm, err := os.ReadFile(c.File)
	if err != nil {
		return &perto.Error{Op: "read module", Path: c.File, Kind: perto.KindInvalid, Err: err}
	}
	return release(e, &c.fnTargets, &c.fnKey, mobility.Release{Service: service, Path: path, Digest: mobility.Digest(wasm), Bytes: int64(len(wasm)), Settings: settings}, wasm, c.OnDemand)
}

// release signs a release with the next version and pushes it to the nodes.
func release(e *env, to *fnTargets, with *fnKey, r mobility.Release, wasm []byte, lazy bool) error {
	targets, err := to.targets(e)
	if err != nil {
		return err
	}
	key, err := with.load(e)
	if err != nil {
		return err
	}
	if r.Version, err = nextVersion(e, targets, r.Service, r.Path); err != nil {
		return err
	}
	r.Time = time.Now().UTC()
	signed, err := mobility.Sign(key, r)
	if err != nil {
		return err
	}
	var results []mobility.Result
	if lazy { // the code goes to the nodes from which the others pull it
		eager, rest := split(targets, func(t target) bool { return t.name == "origin" })
		results = append(mobility.Push(e.ctx, clients(eager), signed, wasm, false), mobility.Push(e.ctx, clients(rest), signed, wasm, true)...)
		targets = append(eager, rest...)
	} else {
		results = mobility.Push(e.ctx, clients(targets), signed, wasm, false)
	}
	return reportPush(e, r, targets, results)
}

func split(targets []target, first func(target) bool) (a, b []target) {
	for _, t := range targets {
		if first(t) {
			a = append(a, t)
		} else {
			b = append(b, t)
		}
	}
	return a, b
}

// pushed is the result of a push at a node.
type pushed struct {
	Node    string       `json:"node"`
	Version uint64       `json:"version"`
	Bytes   int64        `json:"sent_bytes"`
	Pulls   bool         `json:"pulls"` // it has no code yet
	Took    perto.Millis `json:"took_ms"`
	Error   string       `json:"error,omitempty"`
}

// pushResult is the result of a push at all nodes.
type pushResult struct {
	Function string   `json:"function"`
	Version  uint64   `json:"version"`
	Digest   string   `json:"digest"`
	Nodes    []pushed `json:"nodes"`
}

func reportPush(e *env, r mobility.Release, targets []target, results []mobility.Result) error {
	var out []pushed
	failed := 0
	for i, res := range results {
		p := pushed{Node: targets[i].name, Version: res.Version, Bytes: res.SentBytes, Pulls: res.Missing, Took: perto.Millis(res.Took)}
		if res.Err != nil {
			p.Error = res.Err.Error()
			failed++
		}
		out = append(out, p)
	}
	err := e.print(pushResult{string(r.Service) + r.Path, r.Version, r.Digest, out}, func(w io.Writer) {
		fmt.Fprintf(w, "%s%s version %d, %s\n", r.Service, r.Path, r.Version, codeOf(r))
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, p := range out {
			switch {
			case p.Error != "":
				fmt.Fprintf(t, "%s\tfailed: %s\n", p.Node, printable.Text(p.Error))
			case r.Removed:
				fmt.Fprintf(t, "%s\tremoved\t%s\n", p.Node, p.Took.Duration().Round(time.Millisecond))
			case p.Pulls:
				fmt.Fprintf(t, "%s\thas the release and pulls the code at the first request\t%s\n", p.Node, p.Took.Duration().Round(time.Millisecond))
			case p.Bytes == 0:
				fmt.Fprintf(t, "%s\thad the code\t%s\n", p.Node, p.Took.Duration().Round(time.Millisecond))
			default:
				fmt.Fprintf(t, "%s\t%d bytes\t%s\n", p.Node, p.Bytes, p.Took.Duration().Round(time.Millisecond))
			}
		}
		t.Flush()
	})
	if err == nil && failed > 0 {
		err = &perto.Error{Op: "push", Path: string(r.Service) + r.Path, Kind: perto.KindUnavailable, Err: fmt.Errorf("%d of %d nodes rejected it or did not respond", failed, len(out))}
	}
	return err
}

type fnListCmd struct {
	fnTargets `embed:""`
}

// listed is a function at a node.
type listed struct {
	Node string `json:"node"`
	node.FunctionStatus
}

// Run lists the functions of the nodes.
func (c *fnListCmd) Run(e *env) error {
	targets, err := c.targets(e)
	if err != nil {
		return err
	}
	out := []listed{}
	for _, t := range targets {
		l, err := t.client.List(e.ctx)
		if err != nil {
			return err
		}
		var observed []node.FunctionStatus
		if err := json.Unmarshal(l.Observed, &observed); err != nil {
			return err
		}
		for _, f := range observed {
			out = append(out, listed{t.name, f})
		}
	}
	slices.SortStableFunc(out, func(a, b listed) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Path, b.Path))
	})
	return e.print(out, func(w io.Writer) {
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "FUNCTION\tNODE\tVERSION\tSHA256\tSTATE\tACTIVATION\tANSWERED\tFAILED\tCOLD\tINSTANCES\tMEMORY")
		for _, f := range out {
			state, activation := f.State, ""
			if f.Wanted != "" {
				state += ", not " + f.Wanted
			}
			if f.About != nil {
				activation = f.About.Activation
			}
			failed := uint64(0)
			for end, n := range f.Requests {
				if end != "answered" {
					failed += n
				}
			}
			fmt.Fprintf(t, "%s%s\t%s\t%d\t%.12s\t%s\t%s\t%d\t%d\t%d\t%d\t%d KiB\n", f.Service, printable.Text(f.Path), f.Node, f.Version, f.Digest, state, activation,
				f.Requests["answered"], failed, f.Cold, f.Instances, f.Memory>>10)
		}
		t.Flush()
		for _, f := range out {
			if f.Error != "" {
				fmt.Fprintf(w, "%s%s at %s: %s\n", f.Service, printable.Text(f.Path), f.Node, printable.Text(f.Error))
			}
		}
	})
}

type fnLogsCmd struct {
	Function  fnName `arg:"" help:"SERVICE/PATH." placeholder:"FUNCTION" complete:"function"`
	Follow    bool   `short:"f" help:"Wait for new lines and print them."`
	fnTargets `embed:""`
}

// loggedLine is a line of a function's log at a node.
type loggedLine struct {
	Node string `json:"node"`
	mobility.LogLine
}

// Run prints the lines that the nodes keep.
func (c *fnLogsCmd) Run(e *env) error {
	service, path, targets, err := c.of(e, c.Function)
	if err != nil {
		return err
	}
	if c.Follow && len(targets) > 1 {
		return &perto.Error{Op: "follow logs", Path: string(c.Function), Kind: perto.KindInvalid, Err: errors.New("--follow works with one node only"), Hint: "select it with --to"}
	}
	if err := findFunction(e, "show the log of", targets, service, path); err != nil {
		return err
	}
	show := func(t target, lines []mobility.LogLine) error {
		for _, l := range lines {
			err := e.print(loggedLine{t.name, l}, func(w io.Writer) {
				fmt.Fprintf(w, "%s %s %-5s %s\n", l.Time.Format("15:04:05.000"), t.name, l.Level, printable.Text(l.Text))
			})
			if err != nil {
				return err
			}
		}
		return nil
	}
	for _, t := range targets {
		lines, next, err := t.client.Logs(e.ctx, service, path, 0, false)
		if err == nil {
			err = show(t, lines)
		}
		for c.Follow && err == nil {
			if lines, next, err = t.client.Logs(e.ctx, service, path, next, true); err == nil {
				err = show(t, lines)
			}
		}
		if e.ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}
