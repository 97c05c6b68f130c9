package lab

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"slices"

	"perto"
	"perto/internal/api"
	"perto/lab/access"
	"perto/lab/vantage"
	"perto/mapping"
	"perto/node"
)

// API returns the lab's web console and API. It serves these requests and those of
// packages api, console and vantage:
//
//	GET  /api/lab/doors         the doors to authoritative servers
//	GET  /api/lab/vantages/NAME one vantage; an unknown name gets an error that offers others
//	GET  /api/lab/trace         numbered steps of a request: from, url
//	POST /api/lab/hosts/NAME    do=kill|freeze|cut|heal
//
// and the requests of functions (registerFunctions).
func (l *Lab) API() (http.Handler, error) {
	mux := http.NewServeMux()
	mux.Handle("/", api.Handler(l))
	(&vantage.API{World: shown{l}}).Register(mux)
	l.console.Register(mux)
	l.registerFunctions(mux)
	admin := api.AdminHandler(l)
	mux.Handle("POST /api/drain", admin)
	mux.Handle("POST /api/purge", admin)
	mux.HandleFunc("GET /api/lab/doors", func(w http.ResponseWriter, r *http.Request) { api.WriteJSON(w, l.doorInfo()) })
	mux.HandleFunc("GET /api/lab/vantages/{name}", func(w http.ResponseWriter, r *http.Request) {
		v, err := l.Vantage(r.PathValue("name"))
		if err != nil {
			api.WriteError(w, err)
			return
		}
		api.WriteJSON(w, l.vantageInfo(v))
	})
	mux.HandleFunc("GET /api/lab/trace", func(w http.ResponseWriter, r *http.Request) {
		v, err := l.Vantage(r.FormValue("from"))
		if err != nil {
			api.WriteError(w, err)
			return
		}
		vantage.WriteResult(w)(l.Trace(r.Context(), v, r.FormValue("url")))
	})
	mux.HandleFunc("POST /api/lab/hosts/{name}", func(w http.ResponseWriter, r *http.Request) {
		if err := l.Do(r.Context(), r.PathValue("name"), Fault(r.FormValue("do"))); err != nil {
			api.WriteError(w, err)
			return
		}
		api.WriteJSON(w, FaultResult{r.PathValue("name"), r.FormValue("do")})
	})
	return api.Guard(mux), nil
}

// FaultResult is the result of a fault in the API.
type FaultResult struct {
	Host string `json:"host"`
	Did  string `json:"did"`
}

// VantageInfo is a vantage in the API.
type VantageInfo = vantage.Info

// shown is the lab as the World of the API of vantages.
type shown struct{ l *Lab }

func (s shown) Status(context.Context) *node.Status {
	return s.l.status()
}

func (s shown) Fetch(ctx context.Context, from, url string, remember bool) (*access.Fetched, error) {
	return s.l.visitFrom(ctx, from, url, remember)
}

func (s shown) Dig(ctx context.Context, from, name, qtype string) (*access.DigReply, error) {
	return s.l.Dig(ctx, from, name, qtype)
}

func (s shown) Vantages() []VantageInfo {
	var out []VantageInfo
	for _, v := range s.l.vantages {
		out = append(out, s.l.vantageInfo(v))
	}
	return out
}

func (l *Lab) vantageInfo(v *Vantage) VantageInfo {
	i := VantageInfo{Name: v.Name, Region: v.Region, Place: v.Place.String(), Where: v.Place, Kind: string(v.Kind), Addrs: v.Host.Addrs,
		LastMile: perto.Millis(v.Host.End.LastMile)}
	if r := l.ResolverOf(v); r != nil {
		i.Resolver, i.At = r.Host.Name, r.Host.End.Place.String()
	}
	for _, d := range l.doors {
		if d.Kind == "resolver" && d.To == v.Name {
			i.Door = d.Addr.String()
		}
	}
	if at, err := l.SOCKSDoor(v.Name); err == nil {
		i.SOCKS = at.String()
	}
	if at, err := l.WebDoor(v.Name); err == nil {
		i.Web = "http://" + at.String()
	}
	return i
}

// DoorInfo is a door in the API.
type DoorInfo struct {
	Kind string `json:"kind"`
	To   string `json:"to"`
	Addr string `json:"address"`
}

func (l *Lab) doorInfo() []DoorInfo {
	var out []DoorInfo
	for _, d := range l.doors {
		out = append(out, DoorInfo{d.Kind, d.To, d.Addr.String()})
	}
	return out
}

// DigReply is the answer of a vantage's resolver.
type DigReply = access.DigReply

// Dig asks a vantage's resolver for a name, like dig on a machine there.
func (l *Lab) Dig(ctx context.Context, from, name, qtype string) (*DigReply, error) {
	v, err := l.Vantage(from)
	if err != nil {
		return nil, err
	}
	reply, err := v.Client.Dig(ctx, name, qtype)
	if err != nil {
		return nil, err
	}
	if r := l.ResolverOf(v); r != nil {
		reply.Resolver = r.Host.Name
	}
	return reply, nil
}

var _ api.Source = (*Lab)(nil)

// nameServer returns the first Node that serves DNS, if possible one without a fault. It
// returns nil when all were killed.
func (l *Lab) nameServer() (found *node.Node) {
	for _, m := range l.machines {
		if n := m.node.Load(); n != nil && len(n.DNSAddrs()) > 0 {
			if m.host.State() == "up" {
				return n
			}
			if found == nil {
				found = n
			}
		}
	}
	return found
}

// Status returns the status of the first name server, with the state of the origins at
// all edges.
func (l *Lab) Status() any {
	if s := l.status(); s != nil {
		return s
	}
	return struct{}{}
}

func (l *Lab) status() *node.Status {
	n := l.nameServer()
	if n == nil {
		return nil
	}
	s := n.Status().(*node.Status)
	s.Origins = l.originStates()
	return s
}

// originStates returns the state of each origin server. It fails when one edge finds it
// failing.
func (l *Lab) originStates() (out []node.OriginStatus) {
	for _, m := range l.machines {
		n := m.node.Load()
		if n == nil || n.Edge() == nil {
			continue
		}
		for _, h := range n.Edge().Origins() {
			i := slices.IndexFunc(out, func(o node.OriginStatus) bool { return o.Origin == h.Origin })
			if i < 0 {
				i = len(out)
				out = append(out, node.OriginStatus{Origin: h.Origin, State: h.String()})
			}
			if !h.Well() {
				if len(out[i].Failing) == 0 {
					out[i].State = h.String()
				}
				out[i].Failing = append(out[i].Failing, perto.Replica(m.local.Name))
			}
		}
	}
	return out
}

// Explain asks the first name server.
func (l *Lab) Explain(name string, resolver netip.Addr, ecs mapping.Subnet, family mapping.Family) (*mapping.Explanation, error) {
	n := l.nameServer()
	if n == nil {
		return nil, &perto.Error{Op: "explain", Path: name, Kind: perto.KindUnavailable, Err: errors.New("no name server is up in this lab")}
	}
	return n.Explain(name, resolver, ecs, family)
}

// ExplainURL asks the first name server, and the edges in its answer.
func (l *Lab) ExplainURL(u *url.URL, resolver netip.Addr, ecs mapping.Subnet, family mapping.Family) (any, error) {
	x := &node.URLExplanation{URL: u.String()}
	var err error
	if x.DNS, err = l.Explain(u.Hostname(), resolver, ecs, family); err != nil {
		return nil, err
	}
	if x.DNS.Answer == nil {
		return x, nil
	}
	for _, m := range l.machines {
		if n := m.node.Load(); n != nil && slices.Contains(x.DNS.Answer.Replicas, perto.Replica(m.local.Name)) {
			x.Edges = append(x.Edges, n.ExplainCache(u))
		}
	}
	return x, nil
}

// Metrics serves the metrics of the first name server.
func (l *Lab) Metrics() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n := l.nameServer(); n != nil {
			n.Metrics().ServeHTTP(w, r)
		}
	})
}

// Named returns names for examples with a world: its first service, the name of its
// site, and its first edge. A name that does not exist is "".
func (l *Lab) Named() (service, site, edge string) {
	w := &l.World.World
	if len(w.Services) > 0 {
		service = string(w.Services[0].Name)
	}
	if len(w.PoPs) > 0 && len(w.PoPs[0].Edges) > 0 {
		edge = string(w.PoPs[0].Edges[0].Name)
	}
	return service, w.Site(), edge
}
