// Package expect holds a world to one list of expectations, whichever way the
// world is brought up: in one process (package lab) or as containers
// (docker-compose.yml). The list is lab/testdata/expectations.hcl; what differs
// between the ways is behind [Backend]. It is used by tests only.
package expect

import (
	"context"
	"math"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/miekg/dns"

	"perto"
)

// Backend is a world that runs.
type Backend interface {
	// World says what there is. It does not change while expectations run.
	World() *World
	// Ask returns the addresses that a name has for somebody.
	Ask(ctx context.Context, q Question) ([]netip.Addr, error)
	// Fetch gets a URL from a vantage on a new connection, trying the next address
	// when one does not answer (RFC 8305).
	Fetch(ctx context.Context, vantage, url string) (*Reply, error)
	// Do applies a fault to a host or a PoP, or ends it.
	Do(ctx context.Context, target string, f Fault) error
}

// Fault is what can be done to a host or a PoP.
type Fault string

// The faults, and their end.
const (
	Kill   Fault = "kill"
	Freeze Fault = "freeze"
	Cut    Fault = "cut"
	Heal   Fault = "heal"
)

// World is what a backend runs.
type World struct {
	Servers  []Server
	PoPs     []PoP
	Vantages []Vantage
	Origin   string // the host with the content
	Families []int  // 4, 6
	// KillsAreSilent says that a killed edge takes its host with it, so that
	// nothing is left that would refuse connections.
	KillsAreSilent bool
}

// Server is an authoritative name server.
type Server struct {
	Name string
	PoP  string // in whose network it stands, "" for none
}

// PoP is a place with edges.
type PoP struct {
	Name  string
	Place perto.Place
	Edges []Edge
}

// Edge is one machine of a PoP.
type Edge struct {
	Name      string
	Addresses []netip.Addr
}

// Vantage is a client.
type Vantage struct {
	Name   string
	Place  perto.Place
	Seen   perto.Place  // where DNS sees it: its resolver's place, or its own when the resolver tells its subnet
	Near   bool         // the two are one city
	Subnet netip.Prefix // of its addresses
}

// Question is one question for addresses: asked by a vantage of its resolver, or
// straight of an authoritative server for a client's subnet.
type Question struct {
	Vantage string
	Server  string       // when Vantage is ""
	Subnet  netip.Prefix // told to Server
	Name    string
	Type    string // "A", "AAAA"
}

// Reply is what a fetch brought.
type Reply struct {
	Address netip.Addr // who answered
	Status  int
	Header  http.Header
	Body    []byte

	Connect   time.Duration // the address's part in setting the connection up: one round trip
	FirstByte time.Duration // from the request to the first byte
	Asked     time.Duration // the round trip that the world was asked to give
}

// popOf returns the PoP that has an address, nil when there is none.
func (w *World) popOf(a netip.Addr) *PoP {
	for i := range w.PoPs {
		for _, e := range w.PoPs[i].Edges {
			for _, own := range e.Addresses {
				if own == a {
					return &w.PoPs[i]
				}
			}
		}
	}
	return nil
}

// nearest returns the PoPs that may serve a place: the nearest by great circle,
// and those that a policy must not tell from it (within 5 ms or 10 %).
func (w *World) nearest(from perto.Place) map[string]bool {
	best := time.Duration(math.MaxInt64)
	for _, p := range w.PoPs {
		best = min(best, perto.PriorRTT(greatCircleKm(p.Place, from)))
	}
	out := make(map[string]bool)
	for _, p := range w.PoPs {
		if perto.PriorRTT(greatCircleKm(p.Place, from)) <= best+max(5*time.Millisecond, best/10) {
			out[p.Name] = true
		}
	}
	return out
}

// greatCircleKm is the spherical law of cosines: not the formula that perto
// itself uses, so that a mistake there does not confirm itself here.
func greatCircleKm(a, b perto.Place) float64 {
	const earthKm, rad = 6371.0088, math.Pi / 180
	cos := math.Sin(a.Lat*rad)*math.Sin(b.Lat*rad) + math.Cos(a.Lat*rad)*math.Cos(b.Lat*rad)*math.Cos((a.Lon-b.Lon)*rad)
	return earthKm * math.Acos(max(-1, min(1, cos)))
}

// AskServer asks a name server or a resolver at an address, for the client subnet
// of the question if it has one (RFC 7871).
func AskServer(ctx context.Context, server netip.AddrPort, q Question) ([]netip.Addr, error) {
	m := new(dns.Msg).SetQuestion(dns.Fqdn(q.Name), dns.StringToType[q.Type])
	m.SetEdns0(1232, false)
	if q.Subnet.IsValid() {
		family := uint16(1)
		if q.Subnet.Addr().Is6() {
			family = 2
		}
		m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: family,
			SourceNetmask: uint8(q.Subnet.Bits()), Address: q.Subnet.Masked().Addr().AsSlice()})
	}
	c := dns.Client{Timeout: 5 * time.Second}
	reply, _, err := c.ExchangeContext(ctx, m, server.String())
	if err != nil {
		return nil, err
	}
	var out []netip.Addr
	for _, rr := range reply.Answer {
		var ip net.IP
		switch rr := rr.(type) {
		case *dns.A:
			ip = rr.A.To4()
		case *dns.AAAA:
			ip = rr.AAAA
		}
		if a, ok := netip.AddrFromSlice(ip); ok {
			out = append(out, a)
		}
	}
	return out, nil
}
