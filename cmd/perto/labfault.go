package main

import (
	"fmt"
	"io"
	"net/url"

	"perto/lab"
)

type labFaultCmd struct {
	Host string `arg:"" help:"Host, or a PoP for all of its edges (perto status lists them)." complete:"host"`
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
