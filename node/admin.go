package node

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"perto"
	"perto/internal/api"
)

var _ api.Admin = (*Node)(nil)

// Drain sets an administrator's state of edges for the answers of this name server.
// Each name server has its own states.
func (n *Node) Drain(ctx context.Context, d api.Drain) ([]perto.Replica, error) {
	if n.registry == nil {
		return nil, &perto.Error{Op: "drain", Path: string(d.Edge) + d.Provider, Kind: perto.KindUnavailable,
			Err: errors.New("this node does not serve DNS"), Hint: "send the request to every node with the role dns"}
	}
	edges := []perto.Replica{d.Edge}
	if d.Provider != "" {
		var err error
		if edges, err = n.edgesOf(d.Provider); err != nil {
			return nil, err
		}
	}
	for _, e := range edges {
		if err := n.registry.SetAdmin(ctx, e, d.State, d.Until); err != nil {
			return nil, err
		}
	}
	n.publisher.update(n.registry.Fleet()) // the next answer already has the change
	n.cfg().Logger.Info("administrator's state", "edges", edges, "state", d.State, "until", d.Until)
	return edges, nil
}

// Forgive lets an edge return without a hold-down in the answers of this name server.
func (n *Node) Forgive(ctx context.Context, edge perto.Replica) error {
	if n.registry == nil {
		return nil
	}
	return n.registry.Forgive(ctx, edge)
}

// edgesOf returns the edges of the PoPs of a provider.
func (n *Node) edgesOf(provider string) (out []perto.Replica, err error) {
	var known []string
	for _, p := range n.cfg().World.PoPs {
		if p.Provider != "" && !slices.Contains(known, p.Provider) {
			known = append(known, p.Provider)
		}
		if p.Provider != provider {
			continue
		}
		for _, e := range p.Edges {
			out = append(out, e.Name)
		}
	}
	if len(out) == 0 {
		return nil, &perto.Error{Op: "drain", Path: provider, Kind: perto.KindNotFound, Err: fmt.Errorf("no PoP has this provider; configured providers: %v", known)}
	}
	return out, nil
}

// Purge removes stored responses from this node's edge. It also prevents the storing of
// matching responses that are being fetched.
func (n *Node) Purge(_ context.Context, p api.Purge) (map[perto.Replica]int, error) {
	if n.edge == nil {
		return nil, &perto.Error{Op: "purge", Kind: perto.KindUnavailable, Err: errors.New("this node is not an edge"), Hint: "send the request to every node with the role edge"}
	}
	var objects int
	switch {
	case p.All:
		objects = n.edge.PurgeAll()
	case p.Tag != "":
		objects = n.edge.PurgeTag(p.Tag)
	default:
		var err error
		if objects, err = n.edge.Purge(p.URL.Host, p.URL.RequestURI()); err != nil {
			return nil, err
		}
	}
	n.cfg().Logger.Info("purged", "url", p.URL, "tag", p.Tag, "all", p.All, "objects", objects)
	return map[perto.Replica]int{perto.Replica(n.cfg().Local.Name): objects}, nil
}
