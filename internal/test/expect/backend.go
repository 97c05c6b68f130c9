// Package expect checks a running world against one list of expectations. The world
// runs in one process (package lab) or as containers (docker-compose.yml). The list is
// lab/testdata/expectations.hcl. A [Backend] hides the differences between the two. The
// package is for tests only. Start with [Load] and [Run].
package expect

import (
	"context"
	"math"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/miekg/dns"

	"perto"
)

// Backend is a running world.
type Backend interface {
	// World describes the world. It does not change while expectations run.
	World() *World
	// Ask returns the addresses of a name for the asker of the question.
	Ask(ctx context.Context, q Question) ([]netip.Addr, error)
	// Fetch gets a URL from a vantage on a new connection. It tries the next address
	// when one does not respond (RFC 8305).
	Fetch(ctx context.Context, vantage, url string) (*Reply, error)
	// Do applies a fault to a host or a PoP, or ends it.
	Do(ctx context.Context, target string, f Fault) error
}

// Fault is a fault of a host or a PoP.
type Fault string

// The faults, and the end of a fault.
const (
	Kill   Fault = "kill"
	Freeze Fault = "freeze"
	Cut    Fault = "cut"
	Heal   Fault = "heal"
)

// World lists the parts of a backend's world.
type World struct {
	Servers  []Server
	PoPs     []PoP
	Vantages []Vantage
	Origin   string // the host with the content
	Families []int  // 4, 6
	// KillsAreSilent is set when a killed edge takes its host with it. Nothing is then
	// left that could refuse connections.
	KillsAreSilent bool
}

// Server is an authoritative name server.
type Server struct {
	Name string
	PoP  string // the PoP with its network, "" for none
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
	Seen   perto.Place  // its place in the view of DNS: its resolver's place, or its own when the resolver sends its subnet
	Near   bool         // both places are in one city
	Subnet netip.Prefix // of its addresses
}

// Question is one query for addresses. A vantage sends it to its resolver, or it goes
// directly to an authoritative server for a client's subnet.
type Question struct {
	Vantage string
	Server  string       // when Vantage is ""
	Subnet  netip.Prefix // sent to Server
	Name    string
	Type    string // "A", "AAAA"
}

// Reply is the result of a fetch.
type Reply struct {
	Address netip.Addr // address of the server
	Status  int
	Header  http.Header
	Body    []byte

	Connect   time.Duration // time to connect to the address: one round trip
	FirstByte time.Duration // from the request to the first byte
	Asked     time.Duration // configured round-trip time of the world
}

// popOf returns the PoP of an address, or nil.
func (w *World) popOf(a netip.Addr) *PoP {
	for i := range w.PoPs {
		for _, e := range w.PoPs[i].Edges {
			if slices.Contains(e.Addresses, a) {
				return &w.PoPs[i]
			}
		}
	}
	return nil
}

// nearest returns the PoPs that may serve a place. These are the nearest by great
// circle, and those that a policy must treat as equal (within 5 ms or 10 %).
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

// greatCircleKm is the spherical law of cosines. perto uses another formula, so a
// mistake in one does not confirm itself here.
func greatCircleKm(a, b perto.Place) float64 {
	const earthKm, rad = 6371.0088, math.Pi / 180
	cos := math.Sin(a.Lat*rad)*math.Sin(b.Lat*rad) + math.Cos(a.Lat*rad)*math.Cos(b.Lat*rad)*math.Cos((a.Lon-b.Lon)*rad)
	return earthKm * math.Acos(max(-1, min(1, cos)))
}

// AskServer queries a name server or a resolver at an address, with the client subnet
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
