package node

import (
	"errors"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"perto"
	"perto/config"
	"perto/edge"
	"perto/geodata"
	"perto/mapping"
	"perto/replicas"
)

// Explain returns how a query for a service, or its alias, would be decided now, and
// why. On a Node that was not started, every edge counts as up.
func (n *Node) Explain(name string, resolver netip.Addr, ecs mapping.Subnet, family mapping.Family) (*mapping.Explanation, error) {
	if n.dns == nil {
		return nil, &perto.Error{Op: "explain", Path: name, Kind: perto.KindUnavailable,
			Err: errors.New("this node does not serve DNS"), Hint: "send the request to a node with the role dns"}
	}
	if n.dns.View() == nil {
		n.dns.SetView(n.publisher.decider.view(assumedUp(&n.cfg().World), nil))
	}
	a, err := n.dns.View().Answers(n.serviceOf(perto.CanonicalName(name)))
	if err != nil {
		return nil, err
	}
	return a.Explain(resolver, ecs, family), nil
}

// assumedUp is the Fleet in which every edge of a World serves.
func assumedUp(w *config.World) *replicas.Fleet {
	f := &replicas.Fleet{Sites: sitesOf(w)}
	for _, d := range declaredOf(w, false) {
		f.Members = append(f.Members, replicas.Member{Declared: d, State: replicas.StateUnknown, Reason: "assumed up"})
	}
	slices.SortFunc(f.Members, func(a, b replicas.Member) int { return strings.Compare(string(a.Name), string(b.Name)) })
	return f
}

// Offline returns a Node that is not started. It explains the answers of a World while
// every edge is up.
func Offline(w config.World, geo *geodata.Map) (*Node, error) {
	return New(Config{Local: config.Local{Name: "offline", Roles: config.RoleDNS}, World: w, Geo: geo})
}

// serviceOf returns the service of an alias, or else the name itself.
func (n *Node) serviceOf(name string) string {
	for _, s := range n.cfg().World.Services {
		if slices.Contains(s.Aliases, name) {
			return string(s.Name)
		}
	}
	return name
}

// URLExplanation explains how a request for a URL would be decided and answered now.
type URLExplanation struct {
	URL string `json:"url"`
	// DNS explains how the client reaches an edge. It is nil when no name server was
	// asked, or when the URL's host is an address.
	DNS *mapping.Explanation `json:"dns,omitempty"`
	// Edges explains the handling at each edge that was asked.
	Edges []*edge.Explanation `json:"edges,omitempty"`
}

// ExplainURL returns a *URLExplanation with the parts that the Node's roles provide.
func (n *Node) ExplainURL(u *url.URL, resolver netip.Addr, ecs mapping.Subnet, family mapping.Family) (any, error) {
	x := &URLExplanation{URL: u.String()}
	if n.dns != nil {
		var err error
		if x.DNS, err = n.Explain(u.Hostname(), resolver, ecs, family); err != nil {
			return nil, err
		}
	}
	if n.edge != nil {
		x.Edges = append(x.Edges, n.ExplainCache(u))
	}
	return x, nil
}

// ExplainCache returns how the Node's edge would handle a GET for a URL. It is nil on a
// Node without an edge.
func (n *Node) ExplainCache(u *url.URL) *edge.Explanation {
	if n.edge == nil {
		return nil
	}
	return n.edge.Explain(u.Host, u.RequestURI())
}
