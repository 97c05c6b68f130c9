package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"perto"
	"perto/node"
	"perto/replicas"
)

type healthCmd struct{ apiTarget }

// Run reads the health of a node or lab on this machine. The exit code is 0 when it
// serves, also when it is degraded, for example because an origin is down.
func (c *healthCmd) Run(e *env) error {
	c.use(e)
	ctx, cancel := context.WithTimeout(e.ctx, 3*time.Second)
	defer cancel()
	asking := *e
	asking.ctx = ctx
	var s node.Status
	if err := asking.get("/api/status", nil, &s); err != nil {
		return err
	}
	if s.Edge != nil && !s.Edge.Listening {
		return &perto.Error{Op: "check health of", Path: s.Name, Kind: perto.KindUnavailable, Err: errors.New("its edge does not listen")}
	}
	result := healthResult{s.Name, "well", degraded(&s)}
	if len(result.Reasons) > 0 {
		result.Health = "degraded"
	}
	return e.print(result, func(w io.Writer) {
		fmt.Fprintf(w, "%s is %s\n", s.Name, result.Health)
		for _, reason := range result.Reasons {
			fmt.Fprintf(w, "  %s\n", reason)
		}
	})
}

// healthResult is the health of a node.
type healthResult struct {
	Name    string   `json:"name"`
	Health  string   `json:"health"` // "well" or "degraded"
	Reasons []string `json:"reasons,omitempty"`
}

// degraded returns the problems around a node that itself serves. A restart would not
// help, so the exit code stays 0.
func degraded(s *node.Status) (reasons []string) {
	if !s.Leaving.IsZero() {
		reasons = append(reasons, "it leaves, and serves clients with cached answers until "+s.Leaving.Format(time.TimeOnly))
	}
	reasons = append(reasons, fleetProblems(s)...)
	if s.Edge == nil {
		return reasons
	}
	reasons = append(reasons, nameServerProblems(s)...)
	for _, o := range s.Edge.Origins {
		if !o.Well() {
			reasons = append(reasons, fmt.Sprintf("origin %s: %s", o.Origin, &o))
		}
	}
	return reasons
}

// fleetProblems returns the problems of a name server with its network, and with machines
// that run another configuration.
func fleetProblems(s *node.Status) (reasons []string) {
	if s.Isolated {
		reasons = append(reasons, "no heartbeat or probe of another replica arrives: the network of this node is suspected")
	}
	for _, r := range s.Replicas {
		if differs(s, r.Config) {
			reasons = append(reasons, fmt.Sprintf("%s runs another configuration (digest %s, here %s)", r.Name, r.Config, s.Config))
		}
	}
	return reasons
}

// settling is the time after the start in which name servers need not have acknowledged
// heartbeats.
const settling = 10 * time.Second

// nameServerProblems returns the problems of an edge with the name servers.
func nameServerProblems(s *node.Status) (reasons []string) {
	for _, r := range s.Edge.NameServers {
		name := fmt.Sprintf("name server %s (%s)", r.Name, r.Target)
		switch {
		case r.Rejects != "":
			reasons = append(reasons, fmt.Sprintf("the %s rejects the heartbeats of this edge: %s", name, r.Rejects))
		case !r.Fresh(time.Now()) && time.Since(s.Started) >= settling:
			reasons = append(reasons, fmt.Sprintf("the %s does not acknowledge the heartbeats of this edge: %s", name, acknowledgedText(r.Acknowledged)))
		case differs(s, r.World):
			reasons = append(reasons, fmt.Sprintf("the %s runs another configuration (digest %s, here %s)", name, r.World, s.Config))
		}
	}
	return reasons
}

func acknowledgedText(at time.Time) string {
	if at.IsZero() {
		return "none arrived"
	}
	return "the last arrived " + time.Since(at).Round(time.Second).String() + " ago"
}

// differs reports whether another machine runs another configuration than a node.
func differs(s *node.Status, other replicas.Digest) bool {
	return other != 0 && s.Config != 0 && other != s.Config
}
