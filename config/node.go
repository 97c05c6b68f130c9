package config

import (
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"perto/internal/netx"
)

// node reads a node block.
func (c *checker) node(b *hcl.Block) {
	r := c.read(b.Body, b.DefRange, shape{required: []string{"roles"},
		optional: []string{"place", "data", "addresses", "dns", "http", "heartbeat", "api", "api_names", "api_token", "key", "cache", "memory"},
		blocks:   []hcl.BlockHeaderSchema{block("limits")}})
	c.label(b.Labels[0], b.LabelRanges[0])
	c.once("node "+b.Labels[0], "node "+b.Labels[0], b.LabelRanges[0])
	n := Local{Name: b.Labels[0], Place: r.places("place"), Data: r.text("data", ""), Addresses: r.addresses("addresses"),
		DNS: r.texts("dns", []string{":53"}), HTTP: r.texts("http", defaultHTTP()), Heartbeat: r.text("heartbeat", defaultHeartbeat),
		API: r.text("api", DefaultAPI), TokenFile: r.text("api_token", ""), KeyFile: r.text("key", ""), CacheBytes: r.size("cache", defaultCacheBytes), Memory: r.size("memory", 0), Limits: DefaultLimits()}
	if n.Memory != 0 && n.Memory < minMemoryKey {
		c.fail(r.rangeOf("memory"), "memory is %s; it takes %s at least", bytesText(n.Memory), bytesText(minMemoryKey))
	}
	for _, e := range r.elements("roles") {
		name := e.text
		i := slices.IndexFunc(roleNames, func(x struct {
			role Roles
			name string
		}) bool {
			return x.name == name
		})
		if i < 0 {
			known := (RoleDNS | RoleEdge | RoleOrigin).Names()
			c.fail(e.at, "unknown role %q; known are %s%s", name, strings.Join(known, ", "), didYouMean(name, known))
			continue
		}
		n.Roles |= roleNames[i].role
	}
	for _, s := range n.DNS {
		r.listen("dns", s)
	}
	for _, s := range n.HTTP {
		r.listen("http", s)
	}
	r.listen("heartbeat", n.Heartbeat)
	if n.API != "" {
		r.listen("api", n.API)
	}
	for _, e := range r.elements("api_names") {
		n.APINames = append(n.APINames, c.domain(e.text, e.at))
	}
	for _, name := range []string{"api_names", "api_token"} {
		if n.API == "" && r.has(name) {
			c.fail(r.rangeOf(name), "%s is for the API, which api = \"\" turns off", name)
		}
	}
	for _, a := range n.Addresses {
		c.address(a, r.rangeOf("addresses"))
	}
	c.keysOfRoles(r, n.Roles)
	for i, l := range r.content.Blocks {
		if i > 0 {
			c.fail(l.DefRange, "node %s has two limits blocks", n.Name)
		}
		c.limits(l, &n.Limits, n.Roles)
	}
	if n.Roles.Has(RoleEdge | RoleOrigin) {
		c.fail(r.rangeOf("roles"), "node %s is both an edge and an origin, and both need the HTTP port: use two nodes", n.Name)
	}
	c.placeEdge(&n, r, b)
	c.cfg.Nodes = append(c.cfg.Nodes, n)
	s := Server{Name: n.Name, Roles: n.Roles, Place: n.Place, Addresses: n.Addresses, HeartbeatPort: portOf(n.Heartbeat)}
	if n.Roles.Has(RoleEdge) && len(n.HTTP) > 0 {
		s.HTTPPort = portOf(n.HTTP[0])
	}
	c.cfg.World.Servers = append(c.cfg.World.Servers, s)
}

// portOf returns the port of an address to listen on, which listen has checked.
func portOf(address string) uint16 {
	_, port, _ := netx.SplitPort(address)
	return port
}

// rolesOfKey returns the roles that read a key of the node block.
func rolesOfKey(name string) Roles {
	switch name {
	case "dns", "heartbeat":
		return RoleDNS
	case "http":
		return RoleEdge | RoleOrigin
	case "cache":
		return RoleEdge
	case "key":
		return RoleDNS | RoleEdge
	}
	return RoleDNS | RoleEdge | RoleOrigin
}

// keysOfRoles reports keys of a node block that no role of the machine reads.
func (c *checker) keysOfRoles(r reader, roles Roles) {
	for name := range r.content.Attributes {
		if of := rolesOfKey(name); roles != 0 && roles&of == 0 {
			c.fail(r.rangeOf(name), "%s is for machines with the role %s", name, strings.Join(of.Names(), " or "))
		}
	}
}

// placeEdge copies a node's addresses and place from the edge block of its name.
func (c *checker) placeEdge(n *Local, r reader, b *hcl.Block) {
	found := false
	for _, pop := range c.cfg.World.PoPs {
		for _, e := range pop.Edges {
			if string(e.Name) != n.Name {
				continue
			}
			found = true
			n.Place = pop.Place
			if len(n.Addresses) > 0 {
				c.fail(r.rangeOf("addresses"), "%s has its addresses in its edge block; remove them here", n.Name)
			}
			n.Addresses = e.Addresses
		}
	}
	switch {
	case n.Roles.Has(RoleEdge) && !found:
		c.fail(b.LabelRanges[0], "node %s is an edge, but no PoP has an edge of that name", n.Name)
	case n.Roles.Has(RoleDNS) && len(n.Addresses) == 0:
		c.fail(b.DefRange, "node %s serves DNS and needs addresses: edges send heartbeats there", n.Name)
	}
}
