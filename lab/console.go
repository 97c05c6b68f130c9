package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"perto"
	"perto/config"
	"perto/console"
	"perto/internal/api"
	"perto/lab/vantage"
	"perto/mapping"
	"perto/node"
)

// openConsole starts the web console of the lab.
func (l *Lab) openConsole(context.Context) (err error) {
	l.console, err = console.New(console.Config{State: l.consoleState, Totals: l.totals, Visits: &l.visits, Act: l.act,
		Visit: func(ctx context.Context, from, url string, remember bool) (*console.Visit, error) {
			f, err := l.visitFrom(ctx, from, url, remember)
			if err != nil {
				return nil, err
			}
			return vantage.VisitOf(f), nil
		},
		Trace: func(ctx context.Context, from, url string) (*console.Trace, error) {
			v, err := l.Vantage(from)
			if err != nil {
				return nil, err
			}
			t, err := l.Trace(ctx, v, url)
			if t == nil {
				return nil, err
			}
			return t.shown(), err
		}})
	return err
}

// visitFrom is Visit from a vantage with a name. Without remember, the client looks up the
// addresses again.
func (l *Lab) visitFrom(ctx context.Context, from, url string, remember bool) (*Fetched, error) {
	v, err := l.Vantage(from)
	if err != nil {
		return nil, err
	}
	if !remember {
		v.Client.Forget()
	}
	return l.Visit(ctx, v, url)
}

// Visit fetches a URL from a vantage and records its wait for the console.
func (l *Lab) Visit(ctx context.Context, v *Vantage, url string) (*Fetched, error) {
	f, err := v.Fetch(ctx, url)
	if err == nil {
		f.Proximity = l.proximity(v, f)
		l.visits.Add(v.Name, f.Wait())
	}
	return f, err
}

// totals returns the counters of all nodes that run.
func (l *Lab) totals(context.Context) map[string]console.Counters {
	out := make(map[string]console.Counters)
	for _, m := range l.machines {
		if n := m.node.Load(); n != nil {
			out[m.local.Name] = node.ConsoleCounters(n.Counters())
		}
	}
	return out
}

// consoleState returns the state of the lab for its console.
func (l *Lab) consoleState(ctx context.Context) *console.State {
	w := &l.World.World
	ns := l.nameServer()
	var status *node.Status
	if ns != nil {
		status = ns.Status().(*node.Status)
	}
	st := node.ConsoleState(status, w, "The lab")
	st.Visiting = l.visitors.runs()
	for _, m := range l.machines {
		n := m.node.Load()
		fault := faultOf(m, m.host)
		i := slices.IndexFunc(st.Edges, func(e console.Edge) bool { return e.Name == m.local.Name })
		switch {
		case i >= 0:
			st.Edges[i].Fault = fault
			if n != nil {
				own := n.Status().(*node.Status)
				node.CountEdge(&st.Edges[i], own)
				node.AddOrigins(st, own.Edge.Origins)
			}
		case m.local.Roles.Has(config.RoleDNS):
			st.Servers = append(st.Servers, console.Server{Name: m.local.Name, Role: "name server", Place: m.local.Place, Fault: fault})
		}
	}
	st.Servers = append(st.Servers, console.Server{Name: l.origin.host.Name, Role: "origin", Place: l.origin.host.End.Place, Fault: faultOf(l.origin, l.origin.host)})
	service, _, _ := l.Named()
	for i, info := range (shown{l}).Vantages() {
		v := console.Vantage{Name: info.Name, Place: info.Where, Kind: info.Kind, Resolver: info.Resolver, Door: info.Door, SOCKS: info.SOCKS}
		if door, err := l.WebDoor(info.Name); err == nil {
			// Browsers share cookies among the ports of one host, so each has a name.
			v.Web = fmt.Sprintf("http://%s.localhost:%d", info.Name, door.Port())
		}
		var x *mapping.Explanation
		if r := l.ResolverOf(l.vantages[i]); r != nil {
			v.ResolverPlace = r.Host.End.Place
			var ecs mapping.Subnet
			if r.SendECS {
				ecs = mapping.ClientSubnet(info.Addrs[0])
			}
			if ns != nil {
				x, _ = ns.Explain(service, r.Host.Addrs[0], ecs, mapping.IPv4) // without a service nothing serves it
			}
		}
		node.Serve(&v, x, st)
		st.Vantages = append(st.Vantages, v)
	}
	return st
}

// faultOf returns the fault of a process and its host in a word. "" is none.
func faultOf(p process, h *Host) string {
	switch {
	case !p.alive():
		return "killed"
	case h.State() == "cut":
		return "cut off"
	case h.State() == "frozen":
		return "frozen"
	}
	return ""
}

// act runs an action of the console.
func (l *Lab) act(ctx context.Context, host, action string) error {
	switch action {
	case "purge":
		_, err := l.Purge(ctx, api.Purge{All: true})
		return err
	case "visitors":
		return l.StartVisitors()
	case "no-visitors":
		l.StopVisitors()
		return nil
	}
	if host == "" {
		return &perto.Error{Op: "act", Path: action, Kind: perto.KindInvalid, Err: errors.New("no host is named")}
	}
	return l.Do(ctx, host, Fault(action))
}

// Learned reports whether every name server that runs ranks PoPs for the clients of some
// resolvers.
func (l *Lab) Learned() bool {
	for _, m := range l.machines {
		if n := m.node.Load(); n != nil && len(n.DNSAddrs()) > 0 && !slices.ContainsFunc(n.Status().(*node.Status).Learned, func(g mapping.LearnedGroup) bool { return g.Used }) {
			return false
		}
	}
	return true
}

// StartVisitors lets every client load the front page again and again.
func (l *Lab) StartVisitors() error { return l.visitors.start(l) }

// StopVisitors ends these visits.
func (l *Lab) StopVisitors() { l.visitors.stop() }

// visitEvery is the interval at which each visitor loads the page.
const visitEvery = 2 * time.Second

// visitors load the site from every vantage, so that there is something to see.
type visitors struct {
	mu      sync.Mutex
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// start begins the visits, unless they run already.
func (v *visitors) start(l *Lab) error {
	site := l.World.World.Site()
	if site == "" {
		return &perto.Error{Op: "visit", Kind: perto.KindInvalid, Err: errors.New("this world has no service")}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.cancel != nil {
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	v.cancel = cancel
	all := l.Clients()
	for i, from := range all {
		v.running.Go(func() {
			first := time.NewTimer(visitEvery * time.Duration(i) / time.Duration(len(all)))
			defer first.Stop()
			select {
			case <-first.C:
			case <-ctx.Done():
				return
			}
			tick := time.NewTicker(visitEvery)
			defer tick.Stop()
			for {
				_, _ = l.Visit(ctx, from, "http://"+site+"/") // failures are seen in the series
				select {
				case <-tick.C:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	return nil
}

// runs reports whether there are visits.
func (v *visitors) runs() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.cancel != nil
}

// stop ends the visits and waits for their end.
func (v *visitors) stop() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.cancel != nil {
		v.cancel()
		v.running.Wait()
		v.cancel = nil
	}
}

// shown returns the trace as the console shows it.
func (t *Trace) shown() *console.Trace {
	out := &console.Trace{URL: t.URL, Total: t.Total.Float()}
	for i := range t.Steps {
		s := &t.Steps[i]
		x := console.Step{Number: s.Number, Depth: t.Depth(s), From: s.From, To: s.To, What: s.What, Result: s.Result, Took: s.Took.Float(), FromPlace: s.FromPlace, ToPlace: s.ToPlace}
		out.Steps = append(out.Steps, x)
	}
	if p := t.Proximity; p != nil && p.PoP != p.Nearest {
		out.Lost = fmt.Sprintf("Each round trip to %s takes %.0f ms longer than one to %s in %s.", p.PoP, p.Lost.Float(), p.Nearest, p.NearestPlace)
	}
	return out
}
