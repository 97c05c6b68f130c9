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

// Run asks the API of a node or lab on this machine whether it is there; the
// exit code is the answer.
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
	return e.print(map[string]string{"name": s.Name, "health": "well"}, func(w io.Writer) { fmt.Fprintf(w, "%s is well\n", s.Name) })
}
