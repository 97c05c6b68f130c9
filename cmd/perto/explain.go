package main

import (
	"cmp"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"perto/config"
	"perto/edge"
	"perto/internal/api"
	"perto/internal/printable"
	"perto/mapping"
	"perto/node"
)

type explainCmd struct {
	Name     string `arg:"" help:"Service name, or a URL that edges serve; http:// may be left out."`
	Client   string `help:"The client's address or subnet, as its resolver sends it." placeholder:"ADDR"`
	Resolver string `help:"The resolver's address." placeholder:"ADDR"`
	Type     string `help:"A or AAAA." default:"A" complete:"type"`
	Config   string `short:"c" help:"Decide by this configuration, with every edge up, without a running node." placeholder:"FILE"`
}

// Run asks a running node or lab. With a configuration, it decides by itself.
func (c *explainCmd) Run(e *env) error {
	asksURL := strings.Contains(c.Name, "/")
	if asksURL {
		c.Name = withScheme(c.Name)
	}
	if c.Config != "" {
		return c.offline(e, asksURL)
	}
	q := url.Values{"type": {c.Type}}
	if c.Client != "" {
		q.Set("client", c.Client)
	}
	if c.Resolver != "" {
		q.Set("resolver", c.Resolver)
	}
	if asksURL {
		q.Set("url", c.Name)
		var x node.URLExplanation
		if err := e.get("/api/explain", q, &x); err != nil {
			return err
		}
		return e.print(x, func(w io.Writer) { printURL(w, &x) })
	}
	q.Set("name", c.Name)
	var x mapping.Explanation
	if err := e.get("/api/explain", q, &x); err != nil {
		return err
	}
	return e.print(x, func(w io.Writer) { printExplanation(w, &x) })
}

func (c *explainCmd) offline(e *env, asksURL bool) error {
	q, err := api.ParseQuestion(c.Client, c.Resolver, c.Type)
	if err != nil {
		return err
	}
	place, err := places()
	if err != nil {
		return err
	}
	cfg, err := config.Load(c.Config, place)
	if err != nil {
		return err
	}
	geo, err := node.OpenMap(cfg.World.Geodata.Database)
	if err == nil {
		geo, err = node.WithOverrides(geo, &cfg.World.Geodata)
	}
	if err != nil {
		return err
	}
	n, err := node.Offline(cfg.World, geo)
	if err != nil {
		return err
	}
	name := c.Name
	if asksURL { // only a running edge has stored objects
		u, err := api.ParseURL(c.Name)
		if err != nil {
			return err
		}
		name = u.Hostname()
	}
	x, err := n.Explain(name, q.Resolver, q.ECS, q.Family)
	if err != nil {
		return err
	}
	return e.print(x, func(w io.Writer) { printExplanation(w, x) })
}

func printURL(w io.Writer, x *node.URLExplanation) {
	if x.DNS != nil {
		printExplanation(w, x.DNS)
	}
	for _, edge := range x.Edges {
		fmt.Fprintln(w)
		printCache(w, edge)
	}
}

func printCache(w io.Writer, x *edge.Explanation) {
	fmt.Fprintf(w, "%s%s at %s\n\n", printable.Text(x.Host), printable.Text(x.Target), x.Edge)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if x.Service != "" {
		fmt.Fprintf(t, "  route\tservice %s\n", x.Service)
	}
	if x.Cookies == "strip" {
		fmt.Fprintf(t, "  cookies\tremoved from replies to GET and HEAD\n")
	}
	for _, f := range x.Functions {
		fmt.Fprintf(t, "  function\t%s, %s phase, version %s\n", printable.Text(f.Path), f.Phase, f.Version)
	}
	for _, o := range x.Origins {
		state := "no failures"
		switch {
		case o.Open:
			state = fmt.Sprintf("not tried for now, after %d failures to connect and %d timeouts in a row", o.Failures, o.Timeouts)
		case o.Failures > 0:
			state = fmt.Sprintf("%d failures to connect in a row", o.Failures)
		case o.Timeouts > 0:
			state = fmt.Sprintf("%d replies in a row did not come in time", o.Timeouts)
		}
		fmt.Fprintf(t, "  origin\t%s, %s, %d running\n", o.Origin, state, o.Running)
	}
	if len(x.Stored) == 0 {
		fmt.Fprintf(t, "  stored\tnothing\n")
	}
	for _, s := range x.Stored {
		fresh := "fresh for " + s.TTL.Duration().Round(time.Second).String()
		if s.TTL <= 0 {
			fresh = "stale for " + (-s.TTL).Duration().Round(time.Second).String()
		}
		fmt.Fprintf(t, "  stored\t%d, %d bytes, %s old, %s of %s", s.Status, s.Bytes, s.Age.Duration().Round(time.Second), fresh, s.Lifetime)
		for _, v := range s.Vary {
			fmt.Fprintf(t, ", varies by %s", printable.Text(v))
		}
		if len(s.Tags) > 0 {
			fmt.Fprintf(t, ", tags %s", printable.Text(strings.Join(s.Tags, " ")))
		}
		fmt.Fprintln(t)
	}
	t.Flush()
	outcome := x.Outcome
	if x.Forward != "" {
		outcome += " (" + x.Forward + ")"
	}
	fmt.Fprintf(w, "\nA GET would be: %s. %s\n", outcome, printable.Text(x.Why))
	if x.Advice != "" {
		fmt.Fprintf(w, "Advice: %s\n", printable.Text(x.Advice))
	}
}

// weightText shows the weight of a PoP beside others that declare one.
func weightText(w uint16) string {
	if w == 0 {
		return "1 (none declared)"
	}
	return strconv.Itoa(int(w))
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
	source := x.Source
	if x.Inside != "" {
		source += ", inside its " + x.Inside + " address"
	}
	fmt.Fprintf(t, "  decided by\t%s (%s)\n", x.Client, source)
	if x.Learned != nil {
		fmt.Fprintf(t, "  resolvers\t%s: %s\n", x.Learned.Group, learnedText(x.Learned))
	}
	switch {
	case x.Anycast:
		fmt.Fprintln(t, "  place\tunknown (anycast)")
	case x.Cell == 0:
		fmt.Fprintln(t, "  place\tunknown")
	default:
		fmt.Fprintf(t, "  place\t%s (cell %d)\n", x.Place, x.Cell)
	}
	fmt.Fprintf(t, "  class\t%d, ECS scope /%d\n", x.Class, x.Scope)
	if x.RegretBound > 0 {
		fmt.Fprintf(t, "  scope regret\t%.1f ms for this client, at most %.0f ms; mean at most %.1f ms\n", x.Regret.Float(), x.RegretMax.Float(), x.RegretBound.Float())
	}
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
	weighted := slices.ContainsFunc(x.Candidates, func(c mapping.Candidate) bool { return c.Weight > 0 })
	weight := func(text string) string {
		if !weighted {
			return ""
		}
		return text + "\t"
	}
	fmt.Fprintf(t, "  POP\tPLACE\tPROVIDER\tKM\tRTT\tBAND\t%sUP\tHEADROOM\tVERDICT\n", weight("WEIGHT"))
	for _, c := range x.Candidates {
		band := "-"
		if c.Band >= 0 {
			band = strconv.Itoa(c.Band)
		}
		km := "-"
		if x.Cell != 0 {
			km = fmt.Sprintf("%.0f", c.DistanceKm)
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\t%s\t%d ms\t%s\t%s%d/%d\t%.0f %%\t%s\n", c.PoP, c.Place, cmp.Or(c.Provider, "-"), km, c.RTT.Duration().Milliseconds(), band, weight(weightText(c.Weight)), c.Serving, c.Replicas, 100*c.Headroom, c.Verdict)
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
