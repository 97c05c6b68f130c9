package lab

import (
	"context"
	"errors"
	maps0 "maps"

	"perto"
	"perto/internal/api"
)

var _ api.Admin = (*Lab)(nil)

// Drain changes the state of edges at all name servers of the lab.
func (l *Lab) Drain(ctx context.Context, d api.Drain) (edges []perto.Replica, err error) {
	err = &perto.Error{Op: "drain", Kind: perto.KindUnavailable, Err: errors.New("no name server is up in this lab")}
	for _, m := range l.machines {
		n := m.node.Load()
		if n == nil || len(n.DNSAddrs()) == 0 {
			continue
		}
		if edges, err = n.Drain(ctx, d); err != nil {
			return nil, err
		}
	}
	return edges, err
}

// Purge removes stored replies from all edges of the lab that are up.
func (l *Lab) Purge(ctx context.Context, p api.Purge) (map[perto.Replica]int, error) {
	out := make(map[perto.Replica]int)
	err := error(&perto.Error{Op: "purge", Kind: perto.KindUnavailable, Err: errors.New("no edge is up in this lab")})
	for _, m := range l.machines {
		n := m.node.Load()
		if n == nil || n.Edge() == nil {
			continue
		}
		objects, failed := n.Purge(ctx, p)
		if failed != nil {
			err = failed // another edge may serve the URL
			continue
		}
		maps0.Copy(out, objects)
	}
	if len(out) > 0 {
		err = nil
	}
	return out, err
}
