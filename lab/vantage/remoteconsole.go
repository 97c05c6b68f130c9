package vantage

import (
	"context"
	"net/url"
	"slices"
	"sync"
	"time"

	"perto/console"
	"perto/internal/api"
	"perto/mapping"
	"perto/node"
)

// Pages returns the web console of the world. It is read-only, because no process can
// kill another container. The caller closes it.
func (r *Remote) Pages() (*console.Console, error) {
	visits := new(console.Visits)
	return console.New(console.Config{State: r.state, Fresh: stateFor, Totals: r.totals, Visits: visits,
		Visit: func(ctx context.Context, from, target string, remember bool) (*console.Visit, error) {
			f, err := r.Fetch(ctx, from, target, remember)
			if err != nil {
				return nil, err
			}
			visits.Add(from, f.Wait())
			return VisitOf(f), nil
		}})
}

// statuses asks the name server and all edges at once. Nodes without a reply are missing.
func (r *Remote) statuses(ctx context.Context) (ns *node.Status, edges []*node.Status) {
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	all := make([]*node.Status, len(r.Nodes))
	var asking sync.WaitGroup
	for i, at := range r.Nodes {
		asking.Go(func() { all[i] = statusOf(ctx, at) })
	}
	ns = r.Status(ctx)
	asking.Wait()
	return ns, slices.DeleteFunc(all, func(s *node.Status) bool { return s == nil })
}

func (r *Remote) totals(ctx context.Context) map[string]console.Counters {
	out := make(map[string]console.Counters)
	ns, edges := r.statuses(ctx)
	if ns != nil {
		edges = append(edges, ns)
	}
	for _, s := range edges {
		out[s.Name] = node.ConsoleCounters(s.Counters)
	}
	return out
}

// stateFor is the time for which viewers see the same state. Asking takes some requests.
const stateFor = 500 * time.Millisecond

// state returns how the name server serves each vantage, and the counters of the edges.
func (r *Remote) state(ctx context.Context) *console.State {
	ns, edges := r.statuses(ctx)
	st := node.ConsoleState(ns, r.World, "The world in containers")
	for _, s := range edges {
		for i := range st.Edges {
			if st.Edges[i].Name == s.Name {
				node.CountEdge(&st.Edges[i], s)
			}
		}
		if s.Edge != nil {
			node.AddOrigins(st, s.Edge.Origins)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	list := r.Vantages()
	st.Vantages = make([]console.Vantage, len(list))
	service := ""
	if len(r.World.Services) > 0 {
		service = string(r.World.Services[0].Name)
	}
	var asking sync.WaitGroup
	for i, info := range list {
		asking.Go(func() {
			v := &st.Vantages[i]
			*v = console.Vantage{Name: info.Name, Place: info.Where, Kind: info.Kind, Resolver: info.Resolver, SOCKS: info.SOCKS,
				ResolverPlace: info.Where} // containers of one region are at one place
			var x mapping.Explanation
			if api.Call(ctx, "GET", r.Console, "/api/explain", url.Values{"name": {service}, "resolver": {info.Resolver}}, &x, "") != nil {
				node.Serve(v, nil, st)
				return
			}
			node.Serve(v, &x, st)
		})
	}
	asking.Wait()
	return st
}
