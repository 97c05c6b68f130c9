package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"perto"
	"perto/node"
)

type healthCmd struct{}

// Run reads the health of a node or lab on this machine. The exit code is 0 when it
// serves, also when it is degraded, for example because an origin is down.
func (c *healthCmd) Run(e *env) error {
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
	if s.Edge == nil {
		return reasons
	}
	for _, o := range s.Edge.Origins {
		if !o.Well() {
			reasons = append(reasons, fmt.Sprintf("origin %s: %s", o.Origin, &o))
		}
	}
	for _, r := range s.Edge.Rejections {
		reasons = append(reasons, fmt.Sprintf("the name server %s rejects the heartbeats of this edge: %s", r.Target, r.Reason))
	}
	return reasons
}
