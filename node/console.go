package node

import (
	"context"
	"math"
	"slices"
	"time"

	"perto"
	"perto/config"
	"perto/console"
	"perto/edge/fetch"
	"perto/mapping"
)

// ConsoleState returns a world as the web console shows it. The status is that of a name
// server or of an edge, and it may be nil when no node replies. Vantages are missing: see
// [Serve].
func ConsoleState(s *Status, w *config.World, title string) *console.State {
	if s == nil {
		s = &Status{}
	}
	st := &console.State{At: time.Now(), Title: title, Site: w.Site(), PoPs: []console.PoP{}, Edges: []console.Edge{}, Servers: []console.Server{},
		Vantages: []console.Vantage{}, Services: []console.Service{}, Origins: []console.Origin{}, Events: []console.Event{}}
	for _, p := range w.PoPs {
		st.PoPs = append(st.PoPs, console.PoP{Name: string(p.Name), Place: p.Place, Provider: p.Provider})
		for _, e := range p.Edges {
			x := console.Edge{Name: string(e.Name), PoP: string(p.Name), State: "unknown", Reason: "no name server reports it here"}
			if len(e.Addresses) > 0 {
				x.Address = e.Addresses[0].String()
			}
			if i := slices.IndexFunc(s.Replicas, func(r ReplicaStatus) bool { return r.Name == e.Name }); i >= 0 {
				r := &s.Replicas[i]
				x.State, x.Reason, x.Since, x.Load = r.State.String(), r.Reason, r.Since, r.Load
			}
			if s.Edge != nil && s.Name == x.Name {
				CountEdge(&x, s)
			}
			st.Edges = append(st.Edges, x)
		}
	}
	for _, svc := range w.Services {
		x := console.Service{Name: string(svc.Name), Aliases: svc.Aliases}
		for _, o := range svc.Origins {
			x.Origins = append(x.Origins, o.URL)
		}
		if i := slices.IndexFunc(s.Services, func(r ServiceStatus) bool { return r.Name == svc.Name }); i >= 0 {
			x.Classes = s.Services[i].Classes
			for _, a := range s.Services[i].Answers {
				x.Answers = append(x.Answers, console.Answer{PoP: string(a.PoP), Edges: namesOf(a.Replicas), TTL: int(a.TTL.Seconds())})
			}
		}
		st.Services = append(st.Services, x)
	}
	if s.Edge != nil {
		AddOrigins(st, s.Edge.Origins)
	}
	for _, e := range slices.Backward(s.Events) {
		st.Events = append(st.Events, console.Event{At: e.Time, Edge: string(e.Replica), From: e.From.String(), To: e.To.String(), Reason: e.Reason})
	}
	return st
}

// CountEdge adds the totals and the cache of an edge's own status.
func CountEdge(e *console.Edge, s *Status) {
	e.Count = ConsoleCounters(s.Counters)
	if s.Edge != nil {
		e.Objects, e.Bytes = s.Edge.Objects, s.Edge.Bytes
	}
}

// ConsoleCounters returns totals in the console's form.
func ConsoleCounters(c Counters) console.Counters {
	return console.Counters{Queries: c.Queries, Requests: c.Requests, Hits: c.Hits, Failed: c.Failed, Sent: c.SentBytes}
}

// AddOrigins adds the origins that one more edge knows. An origin that fails at any edge
// is shown as failing.
func AddOrigins(st *console.State, list []fetch.Health) {
	for _, h := range list {
		o := console.Origin{Name: h.Origin, Well: h.Well(), Text: h.String()}
		i := slices.IndexFunc(st.Origins, func(x console.Origin) bool { return x.Name == o.Name })
		switch {
		case i < 0:
			st.Origins = append(st.Origins, o)
		case st.Origins[i].Well:
			st.Origins[i] = o
		}
	}
}

func namesOf(list []perto.Replica) (out []string) {
	for _, r := range list {
		out = append(out, string(r))
	}
	return out
}

// Serve fills in how a vantage is served, from the explanation of its query. x is nil when
// no name server replies. The nearest PoP is the nearest one with an edge that serves.
func Serve(v *console.Vantage, x *mapping.Explanation, st *console.State) {
	v.NearestKm = math.Inf(1)
	for _, p := range st.PoPs {
		serves := slices.ContainsFunc(st.Edges, func(e console.Edge) bool { return e.PoP == p.Name && e.Serves() })
		if km := v.Place.DistanceKm(p.Place); serves && km < v.NearestKm {
			v.Nearest, v.NearestKm = p.Name, km
		}
	}
	if v.Nearest == "" {
		v.NearestKm = 0
	}
	if x == nil {
		return
	}
	v.Why = x.Why
	if x.Source == "resolver" {
		v.Why = "Seen from its resolver: " + x.Why
	}
	if x.Answer == nil {
		return
	}
	v.Edges, v.PoP = namesOf(x.Answer.Replicas), string(x.Answer.PoP)
	for _, p := range st.PoPs {
		if p.Name == v.PoP {
			v.Km = v.Place.DistanceKm(p.Place)
		}
	}
}

// Console returns the read-only web console of a Node. The caller closes it before the
// Node.
func (n *Node) Console() (*console.Console, error) {
	return console.New(console.Config{
		State: func(context.Context) *console.State {
			cfg := n.cfg()
			return ConsoleState(n.status(), &cfg.World, cfg.Local.Name)
		},
		Totals: func(context.Context) map[string]console.Counters {
			return map[string]console.Counters{n.cfg().Local.Name: ConsoleCounters(n.Counters())}
		},
	})
}
