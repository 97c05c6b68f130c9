package main

import (
	"fmt"
	"io"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"perto/lab"
	"perto/mapping"
	"perto/node"
)

type digCmd struct {
	Name string `arg:"" help:"What to ask for."`
	Type string `arg:"" optional:"" default:"A" help:"Record type."`
	From string `required:"" help:"Vantage that asks (perto lab vantages lists them)." placeholder:"CITY"`
}

// Run asks the lab.
func (c *digCmd) Run(e *env) error {
	var reply lab.DigReply
	if err := e.get("/api/lab/dig", url.Values{"from": {c.From}, "name": {c.Name}, "type": {c.Type}}, &reply); err != nil {
		return err
	}
	return e.print(reply, func(w io.Writer) {
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, rr := range reply.Answer {
			fmt.Fprintf(t, "%s\t%d\t%s\t%s\n", rr.Name, rr.TTL, rr.Type, rr.Data)
		}
		t.Flush()
		fmt.Fprintf(w, ";; %s, from %s by resolver %s, %.0f ms\n", reply.Status, reply.From, reply.Resolver, reply.TookMs)
	})
}

type explainCmd struct {
	Name     string `arg:"" help:"Service name."`
	Client   string `help:"The client's address or subnet, as its resolver would tell it." placeholder:"ADDR"`
	Resolver string `help:"The resolver's address." placeholder:"ADDR"`
	Type     string `help:"A or AAAA." default:"A"`
}

// Run asks a running node or lab.
func (c *explainCmd) Run(e *env) error {
	q := url.Values{"name": {c.Name}, "type": {c.Type}}
	if c.Client != "" {
		q.Set("client", c.Client)
	}
	if c.Resolver != "" {
		q.Set("resolver", c.Resolver)
	}
	var x mapping.Explanation
	if err := e.get("/api/explain", q, &x); err != nil {
		return err
	}
	return e.print(x, func(w io.Writer) { printExplanation(w, &x) })
}

func printExplanation(w io.Writer, x *mapping.Explanation) {
	fmt.Fprintf(w, "%s %s\n\n", x.Service, x.Family)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "  resolver\t%s\n", x.Resolver)
	ecs := x.ECS
	if ecs == "" {
		ecs = "none"
	}
	fmt.Fprintf(t, "  client subnet\t%s\n", ecs)
	fmt.Fprintf(t, "  decided by\t%s (%s)\n", x.Client, x.Source)
	fmt.Fprintf(t, "  place\t%s (cell %d)\n", x.Place, x.Cell)
	fmt.Fprintf(t, "  class\t%d, ECS scope /%d\n", x.Class, x.Scope)
	if x.Fence != "" {
		fmt.Fprintf(t, "  fence\t%s\n", x.Fence)
	}
	var steps []string
	for _, s := range x.Steps {
		steps = append(steps, s.String())
	}
	fmt.Fprintf(t, "  policy\t%s\n", strings.Join(steps, " > "))
	if x.Slots > 1 {
		fmt.Fprintf(t, "  slot\t%d of %d\n", x.Slot, x.Slots)
	}
	t.Flush()
	fmt.Fprintln(w)
	t = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "  POP\tPLACE\tKM\tRTT\tBAND\tUP\tHEADROOM\tVERDICT")
	for _, c := range x.Candidates {
		band := "-"
		if c.Band >= 0 {
			band = fmt.Sprint(c.Band)
		}
		fmt.Fprintf(t, "  %s\t%s\t%.0f\t%d ms\t%s\t%d/%d\t%.0f %%\t%s\n", c.PoP, c.Place, c.DistanceKm, c.RTT.Milliseconds(), band, c.Serving, c.Replicas, 100*c.Headroom, c.Verdict)
	}
	t.Flush()
	fmt.Fprintf(w, "\n%s\n", x.Why)
	if x.Answer == nil {
		fmt.Fprintln(w, "Answer: no address")
		return
	}
	for i, a := range x.Answer.Addrs {
		fmt.Fprintf(w, "Answer: %s (%s), TTL %s\n", a, x.Answer.Replicas[i], x.Answer.TTL)
	}
}

type statusCmd struct{}

// Run shows the status of a running node or lab.
func (c *statusCmd) Run(e *env) error {
	var s node.Status
	if err := e.get("/api/status", nil, &s); err != nil {
		return err
	}
	return e.print(s, func(w io.Writer) {
		fmt.Fprintf(w, "%s (%s), up for %s\n\n", s.Name, strings.Join(s.Roles, ", "), time.Since(s.Started).Round(time.Second))
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "REPLICA\tPOP\tPLACE\tSTATE\tFOR\tLOAD\tWHY")
		for _, r := range s.Replicas {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%.0f %%\t%s\n", r.Name, r.PoP, r.Place, r.State, time.Since(r.Since).Round(time.Second), 100*r.Load, r.Reason)
		}
		t.Flush()
		for _, z := range s.Zones {
			fmt.Fprintf(w, "\nzone %s: serial %d, %d names", z.Name, z.Serial, z.Names)
		}
		for _, v := range s.Services {
			fmt.Fprintf(w, "\nservice %s: %d classes of networks, %d different answers", v.Name, v.Classes, len(v.Answers))
		}
		fmt.Fprintln(w)
	})
}
