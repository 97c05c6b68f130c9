package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"perto"
	"perto/internal/api"
	"perto/node"
)

// adminTarget selects the node that a command changes: by its control socket, which a
// configuration names, or by --api.
type adminTarget struct {
	Config string `short:"c" help:"Configuration of the node on this machine, which names its control socket." env:"PERTO_CONFIG" placeholder:"FILE"`
	Node   string `help:"Name of this machine in the file (default: the only one, or the host name)." env:"PERTO_NODE" placeholder:"NAME"`
}

// use sends the requests of e to the target.
func (t *adminTarget) use(e *env) error {
	if t.Config == "" || e.apiGiven {
		return nil
	}
	_, local, err := (&runCmd{Config: t.Config, Node: t.Node}).outline()
	if err != nil {
		return err
	}
	path := node.ControlSocket(local)
	if path == "" {
		return &perto.Error{Op: "find the control socket of", Path: local.Name, Kind: perto.KindInvalid, Err: errors.New("its node block has no data folder"), Hint: `set data = "/var/lib/perto"`}
	}
	e.api, e.resolved = api.UnixPrefix+path, true // its mode is the access control
	return nil
}

type drainCmd struct {
	Edge     string        `arg:"" optional:"" help:"The edge." placeholder:"EDGE" complete:"edge"`
	Provider string        `help:"All edges of the PoPs of this provider." placeholder:"NAME" complete:"provider"`
	State    string        `enum:"drain,down,up" default:"drain" help:"drain: new answers do not name it; down: it counts as dead; up: it counts as up, without regard to probes (${enum})." placeholder:"STATE"`
	For      time.Duration `help:"Revert it after this time." placeholder:"DURATION"`
	adminTarget
}

// Run changes the state of edges at one name server, or at all of a lab.
func (c *drainCmd) Run(e *env) error {
	return drain(e, &c.adminTarget, c.Edge, c.Provider, c.State, c.For)
}

type undrainCmd struct {
	Edge     string `arg:"" optional:"" help:"The edge." placeholder:"EDGE" complete:"edge"`
	Provider string `help:"All edges of the PoPs of this provider." placeholder:"NAME" complete:"provider"`
	adminTarget
}

// Run reverts drain.
func (c *undrainCmd) Run(e *env) error { return drain(e, &c.adminTarget, c.Edge, c.Provider, "", 0) }

func drain(e *env, t *adminTarget, edge, provider, state string, lasts time.Duration) error {
	if err := t.use(e); err != nil {
		return err
	}
	query := url.Values{"edge": {edge}, "provider": {provider}, "state": {state}}
	if lasts > 0 {
		query.Set("for", lasts.String())
	}
	var result api.DrainResult
	if err := e.post("/api/drain", query, &result); err != nil {
		return err
	}
	return e.print(result, func(w io.Writer) {
		var names []string
		for _, n := range result.Edges {
			names = append(names, string(n))
		}
		does := map[string]string{"": "decided by heartbeats and probes", "drain": "draining", "down": "down", "up": "up"}[state]
		fmt.Fprintf(w, "%s: %s", strings.Join(names, ", "), does)
		if lasts > 0 {
			fmt.Fprintf(w, " for %s", lasts)
		}
		fmt.Fprintln(w)
	})
}

type purgeCmd struct {
	URL string `arg:"" optional:"" help:"The URL, as clients request it; http:// may be left out." placeholder:"URL"`
	Tag string `help:"Responses with this surrogate key." placeholder:"TAG"`
	All bool   `help:"All responses."`
	adminTarget
}

// Run purges at one edge, or at all of a lab.
func (c *purgeCmd) Run(e *env) error {
	if err := c.use(e); err != nil {
		return err
	}
	query := url.Values{"url": {withScheme(c.URL)}, "tag": {c.Tag}}
	if c.All {
		query.Set("all", "yes")
	}
	var result api.PurgeResult
	if err := e.post("/api/purge", query, &result); err != nil {
		return err
	}
	return e.print(result, func(w io.Writer) {
		fmt.Fprintf(w, "%d objects purged\n", result.Objects)
		if len(result.Edges) < 2 {
			return
		}
		for _, name := range slices.Sorted(maps.Keys(result.Edges)) {
			if n := result.Edges[name]; n > 0 {
				fmt.Fprintf(w, "  %s: %d\n", name, n)
			}
		}
	})
}
