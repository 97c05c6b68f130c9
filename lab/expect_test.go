package lab

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"github.com/miekg/dns"

	"perto/internal/test/expect"
	"perto/lab/access"
)

// TestExpectations checks the demo world against the list of expectations for all ways
// to run a world.
func TestExpectations(t *testing.T) {
	list, err := expect.Load("testdata/expectations.hcl")
	if err != nil {
		t.Fatal(err)
	}
	expect.Run(t, list, &labBackend{startLab(t, nil)}, expect.Options{Slack: crowded})
}

// labBackend is the world in one process.
type labBackend struct{ l *Lab }

func (b *labBackend) World() *expect.World {
	w := &expect.World{Origin: "origin", Families: []int{4, 6}}
	for _, m := range b.l.machines {
		if m.local.DNS != nil {
			w.Servers = append(w.Servers, expect.Server{Name: m.local.Name})
		}
	}
	for _, p := range b.l.World.World.PoPs {
		pop := expect.PoP{Name: string(p.Name), Place: p.Place}
		for _, e := range p.Edges {
			pop.Edges = append(pop.Edges, expect.Edge{Name: string(e.Name), Addresses: e.Addresses})
		}
		w.PoPs = append(w.PoPs, pop)
	}
	for _, v := range b.l.Vantages() {
		x := expect.Vantage{Name: v.Name, Place: v.Place, Seen: b.l.ResolverOf(v).Host.End.Place}
		if v.Kind == ResolverISP || v.Kind == ResolverPublicECS {
			x.Seen, x.Near = v.Place, true
		}
		x.Subnet, _ = v.Host.Addr(4).Prefix(24)
		w.Vantages = append(w.Vantages, x)
	}
	return w
}

func (b *labBackend) Ask(ctx context.Context, q expect.Question) ([]netip.Addr, error) {
	qtype := dns.StringToType[q.Type]
	if q.Server == "" {
		v, err := b.l.Vantage(q.Vantage)
		if err != nil {
			return nil, err
		}
		reply, err := v.Client.Ask(ctx, q.Name, qtype)
		if err != nil {
			return nil, err
		}
		return access.Addresses(reply.Message), nil
	}
	for _, d := range b.l.Doors() {
		if d.Kind == "authoritative" && d.To == q.Server {
			return expect.AskServer(ctx, d.Addr, q)
		}
	}
	return nil, &net.DNSError{Err: "no such server", Name: q.Server, IsNotFound: true}
}

func (b *labBackend) Fetch(ctx context.Context, vantage, url string) (*expect.Reply, error) {
	v, err := b.l.Vantage(vantage)
	if err != nil {
		return nil, err
	}
	v.Client.Forget() // another connection, another order of addresses
	f, err := v.Fetch(ctx, url)
	if err != nil {
		return nil, err
	}
	r := &expect.Reply{Address: f.Address, Status: f.Status, Header: f.Header, Body: f.Body, Connect: f.Connect.Duration(), FirstByte: f.FirstByte.Duration()}
	if h := b.l.Internet.HostAt(f.Address, v.Host); h != nil {
		r.Asked = b.l.Internet.paths.RTT(v.Host.End, h.End)
	}
	return r, nil
}

func (b *labBackend) Do(ctx context.Context, target string, f expect.Fault) error {
	return b.l.Do(ctx, target, Fault(f))
}
