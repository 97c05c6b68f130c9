package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"perto/internal/printable"
	"perto/mapping"
	"perto/node"
)

type statusCmd struct{ apiTarget }

// Run shows the status of a running node or lab.
func (c *statusCmd) Run(e *env) error {
	c.use(e)
	var s node.Status
	if err := e.get("/api/status", nil, &s); err != nil {
		return err
	}
	return e.print(s, func(w io.Writer) {
		fmt.Fprintf(w, "%s (%s), up for %s\n\n", s.Name, strings.Join(s.Roles, ", "), time.Since(s.Started).Round(time.Second))
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "REPLICA\tPOP\tPLACE\tPROVIDER\tSTATE\tFOR\tLOAD\tWHY")
		for _, r := range s.Replicas {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%.0f %%\t%s\n", r.Name, r.PoP, r.Place, cmp.Or(r.Provider, "-"), r.State, time.Since(r.Since).Round(time.Second), 100*r.Load, printable.Text(r.Reason))
		}
		t.Flush()
		for _, reason := range fleetProblems(&s) {
			fmt.Fprintf(w, "\n%s", reason)
		}
		if !s.Leaving.IsZero() {
			fmt.Fprintf(w, "\nleaving: serves clients with cached answers for another %s", time.Until(s.Leaving).Round(time.Second))
		}
		if s.Edge != nil {
			for _, o := range s.Edge.Origins {
				fmt.Fprintf(w, "\norigin %s: %s, %d requests running", o.Origin, &o, o.Running)
			}
			for _, r := range s.Edge.NameServers {
				text := "acknowledgements: " + acknowledgedText(r.Acknowledged)
				if r.Rejects != "" {
					text = "it rejects the heartbeats of this edge: " + r.Rejects
				}
				fmt.Fprintf(w, "\nname server %s (%s): %s", r.Name, r.Target, text)
			}
		}
		for _, o := range s.Origins {
			fmt.Fprintf(w, "\norigin %s: %s", o.Origin, printable.Text(o.State))
			if len(o.Failing) > 0 {
				fmt.Fprintf(w, ", at %d edges: %s", len(o.Failing), o.Failing)
			}
		}
		for _, g := range s.Learned {
			fmt.Fprintf(w, "\nresolvers %s: %s", g.Group, learnedText(&g))
		}
		for _, z := range s.Zones {
			fmt.Fprintf(w, "\nzone %s: serial %d, %d names", z.Name, z.Serial, z.Names)
		}
		for _, v := range s.Services {
			fmt.Fprintf(w, "\nservice %s: %d classes of networks, %d distinct answers", v.Name, v.Classes, len(v.Answers))
		}
		if s.Config != 0 {
			fmt.Fprintf(w, "\nconfiguration %s, in effect for %s", s.Config, time.Since(s.Loaded).Round(time.Second))
		}
		fmt.Fprintln(w)
	})
}

// learnedText describes a resolver group and the cost of not knowing its clients.
func learnedText(g *mapping.LearnedGroup) string {
	text := fmt.Sprintf("%d client networks", g.Blocks)
	if g.Used {
		text += fmt.Sprintf(", served by %s at %s instead of %s at %s", g.Best, ms(g.BestRTT), g.Geo, ms(g.GeoRTT))
	} else {
		text += fmt.Sprintf(", served by %s at %s", g.Geo, ms(g.GeoRTT))
	}
	return text + fmt.Sprintf("; they cost their users %s", ms(g.Regret))
}
