package config

import (
	"fmt"
	"net/netip"
	"time"

	"perto"
)

// Config is a file as read: the CDN, and every machine's own part.
type Config struct {
	World World
	Nodes []Local // in the order of the file
}

// World is the CDN as all machines see it.
type World struct {
	Geodata  Geodata
	PoPs     []PoP
	Zones    []Zone
	Services []Service
	Servers  []Server
	Trust    []string // "NAME:KEY" of who may push functions; the keys are ed25519, in base64
}

// Geodata says where addresses are.
type Geodata struct {
	Database  string // path of an MMDB or compiled map; "": the embedded world map
	Overrides []Override
}

// Override places a network by hand; the most specific one wins, and any wins
// over the database.
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
	// Check is where probes ask in place of the first address and the probes' own
	// ports; zero when not declared.
	Check netip.AddrPort
}

// Zone is a zone that the DNS nodes are authoritative for.
type Zone struct {
	Name   string // canonical
	File   string // as written
	Data   []byte // its contents, inlined by Load
	DNSSEC bool
	// EdgeLabel is the label below the zone under which every edge has a name
	// ("edge": gru-1.edge.cdn.example); "" for none.
	EdgeLabel string
	// Whoami is the label that tells askers what the server sees; "" for none.
	Whoami string
}

// Service is a name whose addresses are decided for each query, and what is
// served under it.
type Service struct {
	Name      perto.Service
	Aliases   []string // names that are CNAMEd to it, canonical
	Origins   []Origin
	Map       Map
	Probes    []Probe
	Functions []Function
	Cookies   string // "pass" or "strip": for replies to GET and HEAD that set cookies
	Paths     []Path
}

// Path is what holds for some paths of a service.
type Path struct {
	Path    string // "/assets/*": with "/*" at its end also everything below
	Cookies string // "pass" or "strip"
}

// Origin is where a service's content comes from.
type Origin struct {
	URL       string        // "http://host[:port]" or "https://..."
	Health    string        // path that answers 200 when it is well; "" for none
	Host      string        // Host header to send; "": the client's
	FirstByte time.Duration // how long the head of a reply may take; 0: the node's limit
	// Forwarded adds the field Forwarded (RFC 7239) to X-Forwarded-For, -Proto and -Host.
	Forwarded bool
}

// Map says how a service is mapped to PoPs.
type Map struct {
	PoPs    []perto.PoP // members; empty: all
	Policy  []string
	Answers int
	TTL     time.Duration
	TTLMin  time.Duration
	AllDown string // "last", "all" or "none"
	Fences  []Fence
}

// Fence keeps the clients of some countries at some PoPs.
type Fence struct {
	Name      string
	Countries []string // ISO 3166-1 alpha-2, upper case
	PoPs      []perto.PoP
}

// Probe asks the edges of a service whether they serve.
type Probe struct {
	Kind     string // "http", "https", "tcp" or "dns"
	Path     string // of http and https
	Name     string // that dns asks for
	Port     uint16 // 0: the usual one of the kind
	Interval time.Duration
	Timeout  time.Duration
	Up       int // successes in a row after which it counts as up
	Down     int // failures, uninterrupted by Up successes, after which it counts as down
}

// Function is application code that answers for some paths of a service.
type Function struct {
	Path        string // "/greeting"; with "/*" at its end also everything below
	Module      string // a file, or "sha256:DIGEST" of one that is pulled when it is needed
	Data        []byte // the file's contents, inlined by Load; nil when it is to be pulled
	Activation  string // "pooled", "per-request" or "singleton"
	Phase       string // "client" or "origin": before the cache or behind it
	Placement   string // "edge" or "origin"
	Config      string // what the code gets as its configuration
	KV          map[string]string
	Wall        time.Duration // its own time for a request; 0: the usual
	Memory      uint64        // bytes of an instance; 0: the usual
	Subrequests int           // of a request; 0: the usual
}

// Server is a machine that others have to reach: DNS nodes get heartbeats.
type Server struct {
	Name          string
	Roles         Roles
	Place         perto.Place // zero when not declared
	Addresses     []netip.Addr
	HeartbeatPort uint16 // where it hears heartbeats
	HTTPPort      uint16 // where it serves HTTP; 0: it does not
}

// Roles is what a machine does.
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

// Has reports whether all of some roles are among r.
func (r Roles) Has(some Roles) bool { return r&some == some }

// Names returns the roles as the configuration writes them.
func (r Roles) Names() []string {
	var out []string
	for _, n := range roleNames {
		if r.Has(n.role) {
			out = append(out, n.name)
		}
	}
	return out
}

// Local is one machine's own part.
type Local struct {
	Name       string
	Roles      Roles
	Place      perto.Place  // zero when not declared; an edge's is its PoP's
	Data       string       // folder for state that survives a restart; "" for none
	Addresses  []netip.Addr // where others reach it
	DNS        []string     // "host:port" to serve DNS on
	HTTP       []string     // "host:port" to serve HTTP on
	Heartbeat  string       // "host:port" that DNS nodes hear heartbeats on
	API        string       // "host:port" of the read-only API; "" for none
	KeyFile    string       // file with the key of heartbeats; "" for none
	CacheBytes uint64       // memory for cached objects, in bytes
	Memory     uint64       // that the process may use, in bytes; 0: as the control group says
	Limits     Limits       // of an edge
}

// Local returns the part of a machine.
func (c *Config) Local(name string) (*Local, bool) {
	for i := range c.Nodes {
		if c.Nodes[i].Name == name {
			return &c.Nodes[i], true
		}
	}
	return nil, false
}

// Find is Local with an error that says which machines there are.
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

// EdgeDefaults returns the part of an edge that the file has no node block for.
func EdgeDefaults(name string, place perto.Place, addresses []netip.Addr) Local {
	return Local{Name: name, Roles: RoleEdge, Place: place, Addresses: addresses, HTTP: defaultHTTP(), Heartbeat: defaultHeartbeat,
		API: DefaultAPI, CacheBytes: defaultCacheBytes, Limits: DefaultLimits()}
}
