package config

import (
	"cmp"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"

	"perto"
	"perto/mapping"
)

// PlaceResolver returns the place for a city name or coordinates from the
// configuration.
type PlaceResolver func(query string) (perto.Place, error)

// Parse reads a configuration. readFile reads the files that it names. When readFile is
// nil, zones have no data. filename is for messages. A name that ends in ".json"
// selects HCL's JSON form.
func Parse(src []byte, filename string, place PlaceResolver, readFile func(string) ([]byte, error)) (*Config, error) {
	p := &parser{place: place}
	isJSON := strings.HasSuffix(filename, ".json")
	if !p.dataOnly(src, filename, isJSON) {
		return nil, &perto.Error{Op: "read configuration", Path: filename, Kind: perto.KindInvalid, Err: mistakesOf(p.diags, src)}
	}
	files := hclparse.NewParser()
	var file *hcl.File
	var diags hcl.Diagnostics
	if isJSON {
		file, diags = files.ParseJSON(src, filename)
	} else {
		file, diags = files.ParseHCL(src, filename)
	}
	p.diags = append(p.diags, diags...)
	cfg := &Config{}
	if file != nil && !diags.HasErrors() {
		p.file(file.Body, cfg, readFile)
	}
	if mistakes := mistakesOf(p.diags, src); len(mistakes) > 0 {
		return nil, &perto.Error{Op: "read configuration", Path: filename, Kind: perto.KindInvalid, Err: mistakes}
	}
	return cfg, nil
}

func block(kind string, labels ...string) hcl.BlockHeaderSchema {
	return hcl.BlockHeaderSchema{Type: kind, LabelNames: labels}
}

var fileShape = shape{blocks: []hcl.BlockHeaderSchema{block("node", "name"), block("pop", "name"), block("zone", "name"), block("service", "name"), block("geodata"), block("functions")}}

func (p *parser) file(body hcl.Body, cfg *Config, readFile func(string) ([]byte, error)) {
	f := p.read(body, body.MissingItemRange(), fileShape)
	c := &checker{parser: p, cfg: cfg, seen: make(map[string]hcl.Range)}
	for _, b := range f.content.Blocks {
		switch b.Type {
		case "geodata":
			c.once("geodata", "block geodata", b.DefRange)
			p.geodata(b, &cfg.World.Geodata)
		case "functions":
			c.once("functions", "block functions", b.DefRange)
			c.trust(b)
		case "pop":
			c.pop(b)
		case "zone":
			c.zone(b, readFile)
		}
	}
	for _, b := range f.content.Blocks { // these refer to the blocks above
		switch b.Type {
		case "node":
			c.node(b)
		case "service":
			c.service(b, readFile)
		}
	}
}

// trust reads the keys of trusted function publishers.
func (c *checker) trust(b *hcl.Block) {
	r := c.read(b.Body, b.DefRange, shape{required: []string{"trust"}})
	for _, e := range r.elements("trust") {
		name, key, ok := strings.Cut(e.text, ":")
		raw, err := base64.StdEncoding.DecodeString(key)
		if !ok || name == "" || err != nil || len(raw) != ed25519.PublicKeySize {
			c.fail(e.at, `%q is no public key; it takes "NAME:KEY" as printed by "perto key new --sign"`, e.text)
		}
		c.once("trust "+name, "key "+name, e.at)
		c.cfg.World.Trust = append(c.cfg.World.Trust, e.text)
	}
}

func (p *parser) geodata(b *hcl.Block, g *Geodata) {
	r := p.read(b.Body, b.DefRange, shape{optional: []string{"database", "anycast"}, blocks: []hcl.BlockHeaderSchema{block("override", "prefix")}})
	g.Database = r.text("database", "")
	for _, o := range r.content.Blocks {
		ro := p.read(o.Body, o.DefRange, shape{required: []string{"place"}})
		g.Overrides = append(g.Overrides, Override{p.network(o.Labels[0], o.LabelRanges[0]), ro.places("place")})
	}
	for _, e := range r.elements("anycast") {
		g.Anycast = append(g.Anycast, p.network(e.text, e.at))
	}
}

// network reads a prefix.
func (p *parser) network(text string, at hcl.Range) netip.Prefix {
	prefix, err := netip.ParsePrefix(text)
	if err != nil || prefix != prefix.Masked() {
		p.fail(at, `%q is no network; it takes a prefix such as "198.18.1.0/24" with zeros behind it`, text)
	}
	return prefix
}

// Limits and defaults. Limits of resolver caches bound the times to live.
const (
	defaultTTL     = 20 * time.Second
	defaultTTLMin  = 5 * time.Second
	maxTTL         = 24 * time.Hour
	defaultAnswers = 2
	// defaultScopeRegret keeps every client at its nearest PoPs. Joined scopes also change
	// the answers of resolvers inside a joined block.
	defaultScopeRegret = 0
	maxScopeRegret     = 5 * time.Millisecond // PoPs within it count as equally near
	maxAnswers         = 8
	defaultCacheBytes  = 256 << 20
	minMemoryKey       = 64 << 20 // bytes of a process
	maxWeight          = 1000
)

func defaultHTTP() []string { return []string{":80"} }

// defaultHeartbeat is the heartbeat port of DNS nodes (docs/formats/heartbeat.md).
const defaultHeartbeat = ":5399"

var defaultPolicy = []string{"up", "fence", "nearest", "shed", "weight"}

// DefaultAPI is the default address of a node's read-only API.
const DefaultAPI = "127.0.0.1:8080"

// checker reads blocks that must not repeat or that refer to one another.
type checker struct {
	*parser
	cfg  *Config
	seen map[string]hcl.Range
}

// once reports a second use of a name.
func (c *checker) once(key, what string, at hcl.Range) {
	if first, ok := c.seen[key]; ok {
		c.fail(at, "%s is defined twice; the first is at line %d", what, first.Start.Line)
		return
	}
	c.seen[key] = at
}

func (c *checker) address(a netip.Addr, at hcl.Range) {
	c.once("address "+a.String(), "address "+a.String(), at)
}

// label checks that a block's label may be part of a DNS name.
func (c *checker) label(s string, at hcl.Range) {
	if err := CheckLabel(s); err != nil {
		c.fail(at, "%v", err)
	}
}

// CheckLabel returns an error for a name that a node, an edge or a PoP must not have.
func CheckLabel(s string) error {
	ok := s != "" && len(s) <= 63 && s[0] != '-'
	for _, ch := range s {
		ok = ok && (ch == '-' || ch >= '0' && ch <= '9' || ch >= 'a' && ch <= 'z')
	}
	if !ok {
		return fmt.Errorf("%q: a name takes lower-case letters, digits and hyphens, at most 63", s)
	}
	return nil
}

// domain checks a DNS name and returns it in canonical form.
func (c *checker) domain(s string, at hcl.Range) string {
	if err := CheckDomain(s); err != nil {
		c.fail(at, "%v", err)
	}
	return perto.CanonicalName(s)
}

func isControl(r rune) bool { return r <= ' ' || r == 0x7f }

// CheckDomain returns an error for a text that is not a DNS name. A first label "*" is
// permitted.
func CheckDomain(s string) error {
	name := perto.CanonicalName(s)
	if i := strings.IndexFunc(name, func(r rune) bool { return r >= utf8.RuneSelf }); i >= 0 {
		return fmt.Errorf("%q is no domain name: DNS has letters such as ö in the form that begins with xn--", s)
	}
	ok := name != "" && len(name) <= 253
	for i, label := range strings.Split(name, ".") {
		ok = ok && label != "" && len(label) <= 63 && (label == "*" && i == 0 || !strings.ContainsAny(label, "*/:@\\\"'") && !strings.ContainsFunc(label, isControl))
	}
	if !ok {
		return fmt.Errorf("%q is no domain name", s)
	}
	return nil
}

// noteWeight notes a declared weight of 0, which does not mean "no clients".
func (c *checker) noteWeight(r reader, weight uint16, name, instead string) {
	if r.has("weight") && weight == 0 {
		c.cfg.notes = append(c.cfg.notes, fmt.Sprintf("%s: weight = 0 counts as 1 beside a declared weight; to give it no clients, %s", name, instead))
	}
}

func (c *checker) pop(b *hcl.Block) {
	r := c.read(b.Body, b.DefRange, shape{required: []string{"place"}, optional: []string{"provider", "weight"}, blocks: []hcl.BlockHeaderSchema{block("edge", "name")}})
	c.label(b.Labels[0], b.LabelRanges[0])
	c.once("pop "+b.Labels[0], "PoP "+b.Labels[0], b.LabelRanges[0])
	pop := PoP{Name: perto.PoP(b.Labels[0]), Place: r.places("place"), Provider: r.text("provider", ""), Weight: uint16(r.integer("weight", 0, 0, maxWeight))}
	c.noteWeight(r, pop.Weight, "pop "+b.Labels[0], "leave it out of the pops of a map block")
	for _, e := range r.content.Blocks {
		re := c.read(e.Body, e.DefRange, shape{required: []string{"addresses"}, optional: []string{"capacity", "weight", "check", "tags"}})
		c.label(e.Labels[0], e.LabelRanges[0])
		c.once("edge "+e.Labels[0], "edge "+e.Labels[0], e.LabelRanges[0])
		edge := Edge{Name: perto.Replica(e.Labels[0]), Addresses: re.addresses("addresses"), Capacity: re.rate("capacity"), Weight: uint16(re.integer("weight", 0, 0, maxWeight)), Check: re.addrPort("check"), Tags: re.tags("tags")}
		c.noteWeight(re, edge.Weight, "edge "+e.Labels[0], "use perto drain")
		for _, a := range edge.Addresses {
			c.address(a, re.rangeOf("addresses"))
		}
		if edge.Tags.IsValid() {
			c.tags(&edge, re.rangeOf("tags"))
		}
		if len(edge.Addresses) == 0 && re.has("addresses") {
			c.fail(re.rangeOf("addresses"), "edge %s has no address", edge.Name)
		}
		pop.Edges = append(pop.Edges, edge)
	}
	if len(pop.Edges) == 0 {
		c.fail(b.DefRange, "PoP %s has no edge", pop.Name)
	}
	c.cfg.World.PoPs = append(c.cfg.World.PoPs, pop)
}

// tags checks the network of an edge's tags. An edge needs an IPv6 address too, for
// queries with a client subnet, and no other edge may use the network.
func (c *checker) tags(e *Edge, at hcl.Range) {
	c.once("tags "+e.Tags.String(), "network of tags "+e.Tags.String(), at)
	hasIPv6 := false
	for _, a := range e.Addresses {
		hasIPv6 = hasIPv6 || a.Is6()
		if e.Tags.Contains(a) {
			c.fail(at, "tags %s contain the edge's own address %s; use another /64", e.Tags, a)
		}
	}
	if !hasIPv6 {
		c.fail(at, "edge %s has tags and needs an IPv6 address too, for queries with a client subnet", e.Name)
	}
}

func (c *checker) zone(b *hcl.Block, readFile func(string) ([]byte, error)) {
	r := c.read(b.Body, b.DefRange, shape{required: []string{"file"}, optional: []string{"dnssec", "edges", "whoami"}})
	name := "" // the root zone is written "."
	if b.Labels[0] != "." {
		name = c.domain(b.Labels[0], b.LabelRanges[0])
	}
	z := Zone{Name: name, File: r.text("file", ""), DNSSEC: r.boolean("dnssec"),
		EdgeLabel: r.text("edges", "edge"), Whoami: r.text("whoami", "whoami")}
	c.once("zone "+z.Name, "zone "+z.Name, b.LabelRanges[0])
	if z.DNSSEC {
		c.fail(r.rangeOf("dnssec"), "zone %s: this version does not sign zones; remove dnssec, and the DS records in the parent zone first", cmp.Or(z.Name, "."))
	}
	if readFile != nil && z.File != "" {
		data, err := readFile(z.File)
		if err != nil {
			c.fail(r.rangeOf("file"), "zone file %s: %v", z.File, unwrapPath(err))
		}
		z.Data = data
	}
	c.cfg.World.Zones = append(c.cfg.World.Zones, z)
}

var serviceShape = shape{optional: []string{"aliases", "cookies"},
	blocks: []hcl.BlockHeaderSchema{block("origin", "url"), block("map"), block("probe", "kind"), block("function", "path"), block("path", "path")}}

func (c *checker) service(b *hcl.Block, readFile func(string) ([]byte, error)) {
	r := c.read(b.Body, b.DefRange, serviceShape)
	name := c.domain(b.Labels[0], b.LabelRanges[0])
	c.once("service "+name, "service "+name, b.LabelRanges[0])
	c.once("host "+name, "name "+name, b.LabelRanges[0])
	s := Service{Name: perto.Service(name), Map: Map{Policy: defaultPolicy, Answers: defaultAnswers, TTL: defaultTTL, TTLMin: defaultTTLMin, AllDown: "last", ScopeRegret: defaultScopeRegret},
		Cookies: r.oneOf("cookies", "pass", "pass", "strip")}
	for _, e := range r.elements("aliases") {
		alias := c.domain(e.text, e.at)
		c.once("host "+alias, "name "+alias, e.at)
		s.Aliases = append(s.Aliases, alias)
	}
	if !slices.ContainsFunc(c.cfg.World.Zones, func(z Zone) bool { return name == z.Name || strings.HasSuffix(name, "."+z.Name) }) {
		c.fail(b.LabelRanges[0], "service %s is in no zone of this file", name)
	}
	maps := 0
	for _, inner := range r.content.Blocks {
		switch inner.Type {
		case "origin":
			s.Origins = append(s.Origins, c.origin(inner))
		case "map":
			if maps++; maps > 1 {
				c.fail(inner.DefRange, "service %s has two map blocks", name)
			}
			c.mapping(inner, &s.Map)
		case "probe":
			s.Probes = append(s.Probes, c.probe(inner))
		case "function":
			f := c.function(inner, readFile)
			c.once("function "+name+f.Path, "function "+f.Path, inner.LabelRanges[0])
			s.Functions = append(s.Functions, f)
		case "path":
			rule := c.path(inner, s.Cookies)
			c.once("path "+name+rule.Path, "path "+rule.Path, inner.LabelRanges[0])
			s.Paths = append(s.Paths, rule)
		}
	}
	c.cfg.World.Services = append(c.cfg.World.Services, s)
}

// Limits of a function's settings.
const (
	maxWall        = time.Minute
	minMemory      = 64 << 10
	maxMemory      = 1 << 30
	maxSubrequests = 64
)

func (c *checker) function(b *hcl.Block, readFile func(string) ([]byte, error)) Function {
	r := c.read(b.Body, b.DefRange, shape{required: []string{"module"},
		optional: []string{"activation", "phase", "placement", "config", "kv", "wall", "memory", "subrequests"}})
	f := Function{Path: b.Labels[0], Module: r.text("module", ""),
		Activation: r.oneOf("activation", "pooled", "per-request", "pooled", "singleton"),
		Phase:      r.oneOf("phase", "client", "client", "origin"),
		Placement:  r.oneOf("placement", "edge", "edge", "origin"),
		Config:     r.text("config", ""), KV: r.table("kv"),
		Wall: r.duration("wall", 0, time.Millisecond, maxWall), Memory: r.size("memory", 0), Subrequests: r.integer("subrequests", 0, 0, maxSubrequests)}
	if !isPath(f.Path) {
		c.fail(b.LabelRanges[0], `%q is no path of a function; it takes "/greeting", or "/thumb/*" for all below`, f.Path)
	}
	if f.Memory != 0 && (f.Memory < minMemory || f.Memory > maxMemory) {
		c.fail(r.rangeOf("memory"), "memory takes 64KiB to 1GiB")
	}
	if digest, ok := strings.CutPrefix(f.Module, "sha256:"); ok {
		if raw, err := hex.DecodeString(digest); err != nil || len(raw) != sha256.Size {
			c.fail(r.rangeOf("module"), "%q is no digest; it takes sha256: and 64 hexadecimal digits", f.Module)
		}
		return f
	}
	if readFile == nil || f.Module == "" {
		return f
	}
	file := f.Module
	if !strings.HasSuffix(file, ".wasm") {
		file += ".wasm"
	}
	data, err := readFile(file)
	if err != nil {
		c.fail(r.rangeOf("module"), "module %s: %v", file, unwrapPath(err))
	}
	f.Data = data
	return f
}

func (c *checker) origin(b *hcl.Block) Origin {
	r := c.read(b.Body, b.DefRange, shape{optional: []string{"health", "host", "forwarded", "first_byte", "keep_urls"}})
	u, err := url.Parse(b.Labels[0])
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.User != nil {
		c.fail(b.LabelRanges[0], `%q is no origin; it takes "http://host", "https://host" or one with a port`, b.Labels[0])
	}
	o := Origin{URL: strings.TrimSuffix(b.Labels[0], "/"), Health: r.text("health", ""), Host: r.text("host", ""), Forwarded: r.boolean("forwarded"), KeepURLs: r.boolean("keep_urls"),
		FirstByte: r.duration("first_byte", 0, 100*time.Millisecond, time.Hour)}
	if host, err := url.Parse("http://" + o.Host); o.Host != "" && (err != nil || host.Host != o.Host || strings.ContainsAny(o.Host, "%*@,")) {
		c.fail(r.rangeOf("host"), "host is %q; it takes a host, also one with a port", o.Host)
	}
	if o.Health != "" && !isRequestPath(o.Health) {
		c.fail(r.rangeOf("health"), "health is %q; it takes a path that starts with /, without spaces", o.Health)
	}
	return o
}

func (c *checker) mapping(b *hcl.Block, m *Map) {
	r := c.read(b.Body, b.DefRange, shape{optional: []string{"pops", "policy", "answers", "ttl", "ttl_min", "all_down", "scope_regret"}, blocks: []hcl.BlockHeaderSchema{block("fence", "name")}})
	m.PoPs = c.pops(r, "pops")
	m.Policy = r.texts("policy", defaultPolicy)
	if _, err := mapping.ParseSteps(m.Policy); err != nil {
		c.fail(r.rangeOf("policy"), "%v", err)
	}
	m.Answers = r.integer("answers", defaultAnswers, 1, maxAnswers)
	m.TTL = r.duration("ttl", defaultTTL, time.Second, maxTTL)
	m.TTLMin = r.duration("ttl_min", min(defaultTTLMin, m.TTL), time.Second, maxTTL)
	if m.TTLMin > m.TTL {
		c.fail(r.rangeOf("ttl_min"), "ttl_min (%s) is longer than ttl (%s)", m.TTLMin, m.TTL)
	}
	m.AllDown = r.oneOf("all_down", "last", "last", "all", "none")
	m.ScopeRegret = r.duration("scope_regret", defaultScopeRegret, 0, maxScopeRegret)
	for _, f := range r.content.Blocks {
		rf := c.read(f.Body, f.DefRange, shape{required: []string{"countries", "pops"}})
		fence := Fence{Name: f.Labels[0], PoPs: c.pops(rf, "pops")}
		for _, e := range rf.elements("countries") {
			country := e.text
			if len(country) != 2 || strings.ToUpper(country) != country {
				c.fail(e.at, `%q is no country; it takes ISO 3166 codes such as "BR"`, country)
			}
			fence.Countries = append(fence.Countries, country)
		}
		m.Fences = append(m.Fences, fence)
	}
}

// pops reads a list of PoPs and checks that they exist.
func (c *checker) pops(r reader, name string) []perto.PoP {
	var out []perto.PoP
	var known []string
	for _, p := range c.cfg.World.PoPs {
		known = append(known, string(p.Name))
	}
	for _, e := range r.elements(name) {
		if !slices.Contains(known, e.text) {
			c.fail(e.at, "unknown PoP %q%s", e.text, didYouMean(e.text, known))
		}
		out = append(out, perto.PoP(e.text))
	}
	return out
}

func (c *checker) probe(b *hcl.Block) Probe {
	r := c.read(b.Body, b.DefRange, shape{optional: []string{"path", "name", "port", "interval", "timeout", "up", "down"}})
	p := Probe{Kind: b.Labels[0], Path: r.text("path", "/"), Name: r.text("name", ""), Port: uint16(r.integer("port", 0, 0, 1<<16-1)),
		Interval: r.duration("interval", 5*time.Second, 100*time.Millisecond, time.Hour), Timeout: r.duration("timeout", 2*time.Second, 10*time.Millisecond, time.Minute),
		Up: r.integer("up", 2, 1, 100), Down: r.integer("down", 3, 1, 100)}
	if !isRequestPath(p.Path) {
		c.fail(r.rangeOf("path"), "path is %q; it takes a path that starts with /, without spaces", p.Path)
	}
	if kinds := []string{"http", "https", "tcp", "dns"}; !slices.Contains(kinds, p.Kind) {
		c.fail(b.LabelRanges[0], "unknown kind of probe %q; known are %s%s", p.Kind, orList(kinds), didYouMean(p.Kind, kinds))
	}
	return p
}
