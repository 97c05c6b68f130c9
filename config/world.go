package config

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"perto"
)

// Config is the content of a configuration file: the CDN and the part of each machine.
type Config struct {
	World World
	Nodes []Local // in the order of the file

	notes []string
}

// Notes returns a text for each setting of the file that is valid and does less than it
// seems to.
func (c *Config) Notes() []string { return c.notes }

// World is the part of the configuration that all machines share.
type World struct {
	Geodata  Geodata
	PoPs     []PoP
	Zones    []Zone
	Services []Service
	Servers  []Server
	Trust    []string // "NAME:KEY" of trusted publishers of functions; the keys are ed25519, in base64
}

// Site returns the host name of the World's site: the first alias, or else the name of
// the first service. It returns "" for a World without services.
func (w *World) Site() string {
	for _, s := range w.Services {
		if len(s.Aliases) > 0 {
			return s.Aliases[0]
		}
	}
	if len(w.Services) > 0 {
		return string(w.Services[0].Name)
	}
	return ""
}

// Geodata is the source of the places of addresses.
type Geodata struct {
	Database  string // path of an MMDB or compiled map; "": the embedded world map
	Overrides []Override
	// Anycast are networks of resolvers that have users everywhere, so they have no place.
	// Those of large public resolvers are built in.
	Anycast []netip.Prefix
}

// Override sets the place of a network. The most specific override applies, and all of
// them take precedence over the database.
type Override struct {
	Prefix netip.Prefix
	Place  perto.Place
}

// PoP is a point of presence.
type PoP struct {
	Name     perto.PoP
	Place    perto.Place
	Provider string
	Weight   uint16 // share inside a band of equally near PoPs; 0: not declared
	Edges    []Edge
}

// Edge is a replica of a PoP.
type Edge struct {
	Name      perto.Replica
	Addresses []netip.Addr
	Capacity  uint64 // bits per second; 0: not declared
	Weight    uint16 // share inside its PoP; 0: not declared
	// Check is the probe address instead of the first address and the probes' ports. It
	// is zero when not declared.
	Check netip.AddrPort
	// Tags is an IPv6 /64 of which every address reaches the edge. Answers name addresses
	// of it that reveal the resolver. It is invalid when not declared.
	Tags netip.Prefix
}

// Has reports whether an address reaches the edge.
func (e *Edge) Has(a netip.Addr) bool { return slices.Contains(e.Addresses, a) || e.Tags.Contains(a) }

// Zone is a zone that the DNS nodes are authoritative for.
type Zone struct {
	Name   string // canonical
	File   string // as in the configuration
	Data   []byte // its contents, read by Load
	DNSSEC bool
	// EdgeLabel is the label below the zone with a name for every edge. For example,
	// with "edge", the edge gru-1 has the name gru-1.edge.cdn.example. "" means none.
	EdgeLabel string
	// Whoami is the label with TXT records about the client's resolver, subnet and
	// address decision. "" means none.
	Whoami string
}

// Service is a name with addresses that are decided for each query, and the content of
// this name.
type Service struct {
	Name      perto.Service
	Aliases   []string // canonical names that are CNAME records to it
	Origins   []Origin
	Map       Map
	Probes    []Probe
	Functions []Function
	Cookies   string // "pass" or "strip": for responses to GET and HEAD that set cookies
	Paths     []Path
}

// Path holds the settings for some paths of a service.
type Path struct {
	Path    string // "/assets/*": "/*" at the end includes everything below
	Cookies string // "pass" or "strip"
}

// Origin is the source of a service's content.
type Origin struct {
	URL       string        // "http://host[:port]" or "https://..."
	Health    string        // path with status 200 while the origin works; "" for none
	Host      string        // Host header to send; "": the client's
	FirstByte time.Duration // limit for the head of a response; 0: the node's limit
	// Forwarded adds the field Forwarded (RFC 7239) to X-Forwarded-For, -Proto and
	// -Host.
	Forwarded bool
	// KeepURLs leaves the origin's own URLs in Location and other fields unchanged.
	KeepURLs bool
}

// Map is how a service is mapped to PoPs.
type Map struct {
	PoPs    []perto.PoP // members; empty: all
	Policy  []string
	Answers int
	TTL     time.Duration
	TTLMin  time.Duration
	AllDown string // "last", "all" or "none"
	// ScopeRegret bounds how much RTT clients lose on average because ECS scopes with
	// different answers are joined; 0: none is.
	ScopeRegret time.Duration
	Fences      []Fence
}

// Fence restricts the clients of some countries to some PoPs.
type Fence struct {
	Name      string
	Countries []string // ISO 3166-1 alpha-2, upper case
	PoPs      []perto.PoP
}

// Probe checks whether the edges serve a service.
type Probe struct {
	Kind     string // "http", "https", "tcp" or "dns"
	Path     string // of http and https
	Name     string // queried name of dns
	Port     uint16 // 0: the default port of the kind
	Interval time.Duration
	Timeout  time.Duration
	Up       int // successes in a row that make it count as up
	Down     int // failures, uninterrupted by Up successes, that make it count as down
}

// Function is application code that handles some paths of a service.
type Function struct {
	Path        string // "/greeting"; "/*" at the end includes everything below
	Module      string // a file, or "sha256:DIGEST" of a module that is pulled on demand
	Data        []byte // the file's contents, read by Load; nil for a digest
	Activation  string // "pooled", "per-request" or "singleton"
	Phase       string // "client" or "origin": before the cache or behind it
	Placement   string // "edge" or "origin"
	Config      string // the configuration text for the code
	KV          map[string]string
	Wall        time.Duration // its own time for a request; 0: the default
	Memory      uint64        // memory of an instance in bytes; 0: the default
	Subrequests int           // for each request; 0: the default
}

// Server is a machine that other machines must reach. For example, DNS nodes receive
// heartbeats.
type Server struct {
	Name          string
	Roles         Roles
	Place         perto.Place // zero when not declared
	Addresses     []netip.Addr
	HeartbeatPort uint16 // its heartbeat port
	HTTPPort      uint16 // its HTTP port; 0: none
}

// Roles is the set of roles of a machine.
type Roles uint8

// The roles.
const (
	RoleDNS Roles = 1 << iota
	RoleEdge
	RoleOrigin
)

var roleNames = []struct {
	role Roles
	name string
}{{RoleDNS, "dns"}, {RoleEdge, "edge"}, {RoleOrigin, "origin"}}

// Has reports whether r includes all of some.
func (r Roles) Has(some Roles) bool { return r&some == some }

// Names returns the roles in the form of the configuration.
func (r Roles) Names() []string {
	var out []string
	for _, n := range roleNames {
		if r.Has(n.role) {
			out = append(out, n.name)
		}
	}
	return out
}

// Local is the part of the configuration for one machine.
type Local struct {
	Name       string
	Roles      Roles
	Place      perto.Place  // zero when not declared; an edge's is its PoP's
	Data       string       // folder for state that survives a restart; "" for none
	Addresses  []netip.Addr // addresses for other machines
	DNS        []string     // "host:port" to serve DNS on
	HTTP       []string     // "host:port" to serve HTTP on
	Heartbeat  string       // "host:port" for heartbeats to DNS nodes
	API        string       // "host:port" of the read-only API; "" for none
	APINames   []string     // further host names under which clients reach the API
	TokenFile  string       // file with the token for the API; "" when it needs none
	KeyFile    string       // file with the key of heartbeats; "" for none
	CacheBytes uint64       // memory for cached objects, in bytes
	Memory     uint64       // limit of the process in bytes; 0: from the control group
	Limits     Limits       // of an edge
}

// Local returns the configuration of a machine.
func (c *Config) Local(name string) (*Local, bool) {
	for i := range c.Nodes {
		if c.Nodes[i].Name == name {
			return &c.Nodes[i], true
		}
	}
	return nil, false
}

// Find is like Local, but returns an error that lists the machines.
func (c *Config) Find(name string) (*Local, error) {
	if l, ok := c.Local(name); ok {
		return l, nil
	}
	var known []string
	for _, n := range c.Nodes {
		known = append(known, n.Name)
	}
	return nil, &perto.Error{Op: "find node", Path: name, Kind: perto.KindInvalid, Err: fmt.Errorf("the configuration has the nodes %v", known), Hint: "name one with --node"}
}

// EdgeDefaults returns the configuration of an edge without a node block.
func EdgeDefaults(name string, place perto.Place, addresses []netip.Addr) Local {
	return Local{Name: name, Roles: RoleEdge, Place: place, Addresses: addresses, HTTP: defaultHTTP(), Heartbeat: defaultHeartbeat,
		API: DefaultAPI, CacheBytes: defaultCacheBytes, Limits: DefaultLimits()}
}
