package vantage

import (
	"context"
	"net/url"
	"sync"

	"perto/console"
	"perto/internal/api"
	"perto/mapping"
	"perto/node"
)

// Pages returns the web console of the world. It is read-only, because no process can
// kill another container. The caller closes it.
func (r *Remote) Pages() (*console.Console, error) {
	visits := new(console.Visits)
	return console.New(console.Config{State: r.state, Visits: visits,
		Totals: func(ctx context.Context) map[string]console.Counters {
			if s := r.Status(ctx); s != nil {
				return map[string]console.Counters{s.Name: node.ConsoleCounters(s.Counters)}
			}
			return nil
		},
		Visit: func(ctx context.Context, from, target string, remember bool) (*console.Visit, error) {
			f, err := r.Fetch(ctx, from, target, remember)
			if err != nil {
				return nil, err
			}
			visits.Add(from, f.DNS+f.Connect+f.FirstByte)
			return VisitOf(f), nil
		}})
}

// state asks the name server how it serves each vantage.
func (r *Remote) state(ctx context.Context) *console.State {
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	st := node.ConsoleState(r.Status(ctx), r.World, "The world in containers")
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
