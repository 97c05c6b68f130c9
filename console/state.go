package console

import (
	"fmt"
	"slices"
	"time"

	"perto"
)

// State is a world at one moment. It is the data of all pages and, as JSON, of their
// scripts.
type State struct {
	At       time.Time `json:"at"`
	Title    string    `json:"title"` // "The lab", or the name of a node
	Site     string    `json:"site"`  // host name of the site; "" without a service
	PoPs     []PoP     `json:"pops"`
	Edges    []Edge    `json:"edges"`
	Servers  []Server  `json:"servers"` // other hosts: name servers and the origin
	Vantages []Vantage `json:"vantages"`
	Services []Service `json:"services"`
	Origins  []Origin  `json:"origins"`
	Events   []Event   `json:"events"`   // newest first
	Visiting bool      `json:"visiting"` // vantages load the site all the time

	// The following follow from the others (derive).
	Summary     string `json:"summary"`
	OriginFault string `json:"origin_fault"` // "" while the origin is well
}

// PoP is a point of presence.
type PoP struct {
	Name     string      `json:"name"`
	Place    perto.Place `json:"place"`
	Provider string      `json:"provider"`

	State string `json:"state"` // of its best edge (derive)
}

// Edge is an edge server.
type Edge struct {
	Name    string    `json:"name"`
	PoP     string    `json:"pop"`
	State   string    `json:"state"` // of the registry: up, unknown, suspect, draining, down
	Reason  string    `json:"reason"`
	Since   time.Time `json:"since"`           // zero: the node of this page has no report of it
	Load    float64   `json:"load"`            // 1 is full
	Fault   string    `json:"fault,omitempty"` // of the lab: killed, frozen, cut off
	Address string    `json:"address"`
	Count   Counters  `json:"count"`
	Objects int64     `json:"objects"` // stored
	Bytes   int64     `json:"bytes"`   // stored
}

// Serves reports whether answers may name the edge.
func (e *Edge) Serves() bool { return e.State == "up" || e.State == "unknown" || e.State == "suspect" }

// Server is a host that is no edge.
type Server struct {
	Name  string      `json:"name"`
	Role  string      `json:"role"` // "name server" or "origin"
	Place perto.Place `json:"place"`
	Fault string      `json:"fault,omitempty"`
}

// Vantage is a client and the edge that serves it.
type Vantage struct {
	Name          string      `json:"name"`
	Place         perto.Place `json:"place"`
	Kind          string      `json:"kind"` // of its resolver: isp, public, public-ecs, office
	Resolver      string      `json:"resolver"`
	ResolverPlace perto.Place `json:"resolver_place"`
	Edges         []string    `json:"edges"` // that the name servers name for it now; empty: none
	PoP           string      `json:"pop"`   // of the first of them
	Km            float64     `json:"km"`    // to that PoP
	Nearest       string      `json:"nearest"`
	NearestKm     float64     `json:"nearest_km"`
	Why           string      `json:"why"`             // the decision in words
	Door          string      `json:"door,omitempty"`  // to its resolver: "127.0.0.1:5320"
	SOCKS         string      `json:"socks,omitempty"` // "127.0.0.1:1081"
	Web           string      `json:"web,omitempty"`   // the site as it sees it: "http://tokyo.localhost:8101"

	// Far is set when it is served from far away although a PoP is near: the
	// resolver-distance problem. Text has the facts in a sentence. Both follow from the
	// other fields (derive).
	Far  bool   `json:"far"`
	Text string `json:"text"`
}

// farKm is the detour in km from which an edge is shown as far away. A round trip takes
// some 20 ms longer over 1,500 km.
const farKm = 1500

// Service is a service with its current answers.
type Service struct {
	Name    string   `json:"name"`
	Aliases []string `json:"aliases"`
	Origins []string `json:"origins"`
	Classes int      `json:"classes"` // of networks
	Answers []Answer `json:"answers"`
}

// Answer is a set of edges that a DNS answer names.
type Answer struct {
	PoP   string   `json:"pop"`
	Edges []string `json:"edges"`
	TTL   int      `json:"ttl_s"`
}

// Origin is the state of an origin server at the edges.
type Origin struct {
	Name string `json:"name"` // "host:port"
	Well bool   `json:"well"`
	Text string `json:"text"`
}

// Event is a change of an edge's state.
type Event struct {
	At     time.Time `json:"at"`
	Edge   string    `json:"edge"`
	From   string    `json:"from"`
	To     string    `json:"to"`
	Reason string    `json:"reason"`
}

// Counters has totals since the start.
type Counters struct {
	Queries  uint64 `json:"queries"`
	Requests uint64 `json:"requests"`
	Hits     uint64 `json:"hits"`
	Failed   uint64 `json:"failed"`
	Sent     uint64 `json:"sent_bytes"`
}

// Add adds the totals of another part of the world.
func (c *Counters) Add(more Counters) {
	c.Queries += more.Queries
	c.Requests += more.Requests
	c.Hits += more.Hits
	c.Failed += more.Failed
	c.Sent += more.Sent
}

// since returns the change after an earlier moment. A total that decreased belongs to a
// node that was restarted, and counts from zero.
func (c Counters) since(before Counters) Counters {
	sub := func(now, then uint64) uint64 {
		if now < then {
			return now
		}
		return now - then
	}
	return Counters{sub(c.Queries, before.Queries), sub(c.Requests, before.Requests), sub(c.Hits, before.Hits), sub(c.Failed, before.Failed), sub(c.Sent, before.Sent)}
}

// derive sets the fields that follow from others, so that pages and scripts agree.
func (s *State) derive() {
	for i := range s.PoPs {
		s.PoPs[i].State = s.stateOf(s.PoPs[i].Name)
	}
	for i := range s.Vantages {
		v := &s.Vantages[i]
		v.Far = v.PoP != "" && v.PoP != v.Nearest && v.Km > v.NearestKm+farKm
		v.Text = v.sentence()
	}
	s.OriginFault = s.originFault()
	s.Summary = s.summary()
}

// stateOf returns the state of a PoP: the best of its edges.
func (s *State) stateOf(name string) string {
	order := []string{"up", "unknown", "suspect", "draining", "down"}
	best := len(order)
	for _, e := range s.Edges {
		if i := slices.Index(order, e.State); e.PoP == name && i >= 0 {
			best = min(best, i)
		}
	}
	if best == len(order) {
		return "unknown"
	}
	return order[best]
}

// originFault returns why an origin fails, or "".
func (s *State) originFault() string {
	for _, x := range s.Servers {
		if x.Role == "origin" && x.Fault != "" {
			return x.Fault
		}
	}
	for _, o := range s.Origins {
		if !o.Well {
			return o.Text
		}
	}
	return ""
}

// summary returns the state of the world in one line.
func (s *State) summary() string {
	serving, reported := 0, 0
	for i := range s.Edges {
		if s.Edges[i].Since.IsZero() {
			continue
		}
		if reported++; s.Edges[i].Serves() {
			serving++
		}
	}
	text := fmt.Sprintf("%d of %d edges serve", serving, reported)
	switch {
	case len(s.Edges) == 0:
		text = "there are no edges"
	case reported == 0:
		text = "the state of the edges is unknown here"
	case reported < len(s.Edges):
		text += fmt.Sprintf(", the state of %d more is unknown here", len(s.Edges)-reported)
	}
	if s.OriginFault != "" {
		return text + ", the origin fails: " + s.OriginFault
	}
	if len(s.Origins) > 0 {
		text += ", the origin is well"
	}
	return text
}

// find returns the first element of a list with a name, or nil.
func find[T any](list []T, name string, nameOf func(*T) string) *T {
	for i := range list {
		if nameOf(&list[i]) == name {
			return &list[i]
		}
	}
	return nil
}
