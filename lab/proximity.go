package lab

import (
	"context"
	"errors"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"perto"
	"perto/config"
	"perto/lab/access"
	"perto/lab/vantage"
)

// proximityOf compares the PoP that served a fetch with the other PoPs that serve its host.
// rtt returns the round trip from the client to a PoP and may be nil. The result is nil when
// the server is no edge.
func proximityOf(where perto.Place, w *config.World, f *access.Fetched, rtt func(*config.PoP) time.Duration) *access.Proximity {
	var out *access.Proximity
	var nearest *config.PoP
	var nearestRTT time.Duration
	allowed := popsOf(w, hostOf(f.URL))
	for i := range w.PoPs {
		p := &w.PoPs[i]
		serves := slices.ContainsFunc(p.Edges, func(e config.Edge) bool { return e.Has(f.Address) })
		if !serves && (len(p.Edges) == 0 || len(allowed) > 0 && !slices.Contains(allowed, p.Name)) {
			continue
		}
		var took time.Duration
		if rtt != nil {
			took = rtt(p)
		}
		if serves {
			out = &access.Proximity{PoP: string(p.Name), DistanceKm: where.DistanceKm(p.Place), RTT: perto.Millis(took)}
		}
		if nearest == nil || took < nearestRTT || took == nearestRTT && where.DistanceKm(p.Place) < where.DistanceKm(nearest.Place) {
			nearest, nearestRTT = p, took
		}
	}
	if out != nil {
		out.Nearest, out.NearestPlace, out.NearestDistanceKm = string(nearest.Name), nearest.Place.String(), where.DistanceKm(nearest.Place)
		out.NearestRTT, out.Lost = perto.Millis(nearestRTT), out.RTT-perto.Millis(nearestRTT)
	}
	return out
}

// popsOf returns the PoPs to which the service of a host is limited, or nil for all.
func popsOf(w *config.World, host string) []perto.PoP {
	name := perto.CanonicalName(host)
	for _, s := range w.Services {
		if string(s.Name) == name || slices.Contains(s.Aliases, name) {
			return s.Map.PoPs
		}
	}
	return nil
}

// proximity compares the edge that served a vantage with the nearest PoP, by the delays of
// the lab's paths.
func (l *Lab) proximity(v *Vantage, f *Fetched) *access.Proximity {
	return proximityOf(v.Place, &l.World.World, f, func(p *config.PoP) time.Duration {
		if h := l.Internet.Host(string(p.Edges[0].Name)); h != nil {
			return l.Internet.paths.RTT(v.Host.End, h.End)
		}
		return perto.PriorRTT(v.Place.DistanceKm(p.Place))
	})
}

func hostOf(target string) string {
	u, err := url.Parse(target)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// edgeAt returns the name of the edge with an address, or "".
func edgeAt(w *config.World, a netip.Addr) string {
	for _, p := range w.PoPs {
		for _, e := range p.Edges {
			if e.Has(a) {
				return string(e.Name)
			}
		}
	}
	return ""
}

// WithProximity adds the edge's name and the nearest PoP, by distance, to the fetches of a
// World.
func WithProximity(w vantage.World, c *config.World) vantage.World { return proximityWorld{w, c} }

type proximityWorld struct {
	vantage.World
	config *config.World
}

func (w proximityWorld) Fetch(ctx context.Context, from, target string, remember bool) (*access.Fetched, error) {
	f, err := w.World.Fetch(ctx, from, target, remember)
	if err != nil {
		return nil, err
	}
	if f.Server == "" {
		f.Server = edgeAt(w.config, f.Address)
	}
	for _, v := range w.Vantages() {
		if v.Name == from {
			f.Proximity = proximityOf(v.Where, w.config, f, nil)
		}
	}
	return f, nil
}

// FirstAnswer is the first answer of a lab to one of its clients.
type FirstAnswer struct {
	Vantage, Edge string
	Nearest       bool // the edge is in the PoP that is nearest to the vantage
}

// firstAnswerWait is the timeout of FirstAnswer.
const firstAnswerWait = 15 * time.Second

// FirstAnswer asks for the first service at the first vantage, as a client does.
func (l *Lab) FirstAnswer(ctx context.Context) (*FirstAnswer, error) {
	service, _, _ := l.Named()
	if service == "" || len(l.vantages) == 0 {
		return nil, &perto.Error{Op: "ask for the first answer", Kind: perto.KindNotFound, Err: errors.New("this world has no service")}
	}
	ctx, cancel := context.WithTimeout(ctx, firstAnswerWait)
	defer cancel()
	v := l.vantages[0]
	addrs, _, err := v.Client.Lookup(ctx, service)
	if err != nil {
		return nil, &perto.Error{Op: "ask from", Path: v.Name, Kind: perto.KindUnavailable, Err: err}
	}
	p := l.proximity(v, &Fetched{URL: "http://" + service, Address: addrs[0]})
	return &FirstAnswer{Vantage: v.Name, Edge: edgeAt(&l.World.World, addrs[0]), Nearest: p != nil && p.PoP == p.Nearest}, nil
}
