package config

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
)

// Show writes a configuration with all values in effect, including defaults. Parsing
// the result gives the same configuration. Show writes the file names of secrets, never
// their content.
func Show(c *Config) []byte {
	w := newShower()
	w.geodata(&c.World.Geodata)
	if len(c.World.Trust) > 0 {
		w.block("functions", "", func() { list(w, "trust", c.World.Trust) })
	}
	for i := range c.Nodes {
		w.node(&c.Nodes[i], c.World.hasEdge(c.Nodes[i].Name))
	}
	for i := range c.World.PoPs {
		w.pop(&c.World.PoPs[i])
	}
	for i := range c.World.Zones {
		z := &c.World.Zones[i]
		w.block("zone", cmp.Or(z.Name, "."), func() {
			w.text("file", z.File)
			w.boolean("dnssec", z.DNSSEC)
			w.text("edges", z.EdgeLabel)
			w.text("whoami", z.Whoami)
		})
	}
	for i := range c.World.Services {
		w.service(&c.World.Services[i])
	}
	return Format(w.file.Bytes())
}

// hasEdge reports whether a PoP has an edge of a name.
func (w *World) hasEdge(name string) bool {
	for _, p := range w.PoPs {
		for _, e := range p.Edges {
			if string(e.Name) == name {
				return true
			}
		}
	}
	return false
}

// shower writes blocks and attributes.
type shower struct {
	file *hclwrite.File
	body *hclwrite.Body // of the current block
}

func newShower() *shower {
	f := hclwrite.NewEmptyFile()
	return &shower{file: f, body: f.Body()}
}

func (w *shower) block(kind, label string, body func()) {
	var labels []string
	if label != "" {
		labels = []string{label}
	}
	outer := w.body
	if outer == w.file.Body() && len(outer.Blocks()) > 0 {
		outer.AppendNewline()
	}
	w.body = outer.AppendNewBlock(kind, labels).Body()
	body()
	w.body = outer
}

func (w *shower) text(name, s string) { w.body.SetAttributeValue(name, cty.StringVal(s)) }
func (w *shower) integer(name string, n int) {
	w.body.SetAttributeValue(name, cty.NumberIntVal(int64(n)))
}
func (w *shower) boolean(name string, b bool)        { w.body.SetAttributeValue(name, cty.BoolVal(b)) }
func (w *shower) places(name string, s fmt.Stringer) { w.text(name, s.String()) }

// unless writes an attribute unless its text is empty.
func (w *shower) unless(name, s string) {
	if s != "" {
		w.text(name, s)
	}
}

func (w *shower) number(name string, n uint64) {
	if n != 0 {
		w.body.SetAttributeValue(name, cty.NumberUIntVal(n))
	}
}

// inUnits writes a number in its largest integral unit.
func inUnits(n, step uint64, units ...string) string {
	i := 0
	for ; i+1 < len(units) && n != 0 && n%step == 0; i++ {
		n /= step
	}
	return strconv.FormatUint(n, 10) + units[i]
}

func (w *shower) span(name string, d time.Duration) {
	s := d.String() // "1m0s"
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	w.text(name, s)
}

func list[T any](w *shower, name string, items []T) {
	texts := make([]cty.Value, len(items))
	for i, x := range items {
		texts[i] = cty.StringVal(fmt.Sprint(x))
	}
	w.body.SetAttributeValue(name, cty.TupleVal(texts))
}

func (w *shower) table(name string, m map[string]string) {
	if len(m) == 0 {
		return
	}
	values := make(map[string]cty.Value, len(m))
	for key, s := range m {
		values[key] = cty.StringVal(s)
	}
	w.body.SetAttributeValue(name, cty.ObjectVal(values))
}

func (w *shower) geodata(g *Geodata) {
	if g.Database == "" && len(g.Overrides) == 0 && len(g.Anycast) == 0 {
		return
	}
	w.block("geodata", "", func() {
		w.unless("database", g.Database)
		if len(g.Anycast) > 0 {
			list(w, "anycast", g.Anycast)
		}
		for _, o := range g.Overrides {
			w.block("override", o.Prefix.String(), func() { w.places("place", o.Place) })
		}
	})
}

func (w *shower) node(n *Local, isEdge bool) {
	w.block("node", n.Name, func() {
		list(w, "roles", n.Roles.Names())
		if !isEdge { // an edge's place and addresses are in its edge block
			if n.Place.Name != "" || n.Place.Lat != 0 || n.Place.Lon != 0 {
				w.places("place", n.Place)
			}
			list(w, "addresses", n.Addresses)
		}
		w.unless("data", n.Data)
		reads := func(key string) bool { return n.Roles&rolesOfKey(key) != 0 }
		if reads("dns") {
			list(w, "dns", n.DNS)
			w.text("heartbeat", n.Heartbeat)
		}
		if reads("http") {
			list(w, "http", n.HTTP)
		}
		w.text("api", n.API)
		if len(n.APINames) > 0 {
			list(w, "api_names", n.APINames)
		}
		w.unless("api_token", n.TokenFile)
		w.unless("key", n.KeyFile)
		if reads("cache") {
			w.text("cache", bytesText(n.CacheBytes))
		}
		if n.Memory != 0 {
			w.text("memory", bytesText(n.Memory))
		}
		if n.Roles&(RoleEdge|RoleDNS) != 0 {
			w.limits(&n.Limits, n.Roles)
		}
	})
}

func (w *shower) pop(p *PoP) {
	w.block("pop", string(p.Name), func() {
		w.places("place", p.Place)
		w.unless("provider", p.Provider)
		w.number("weight", uint64(p.Weight))
		for _, e := range p.Edges {
			w.block("edge", string(e.Name), func() {
				list(w, "addresses", e.Addresses)
				if e.Capacity != 0 {
					w.text("capacity", inUnits(e.Capacity, 1000, "bps", "kbps", "Mbps", "Gbps", "Tbps"))
				}
				w.number("weight", uint64(e.Weight))
				if e.Check.IsValid() {
					w.text("check", e.Check.String())
				}
				if e.Tags.IsValid() {
					w.text("tags", e.Tags.String())
				}
			})
		}
	})
}

func (w *shower) service(s *Service) {
	w.block("service", string(s.Name), func() {
		list(w, "aliases", s.Aliases)
		w.unless("cookies", s.Cookies)
		for _, o := range s.Origins {
			w.block("origin", o.URL, func() {
				w.unless("health", o.Health)
				w.unless("host", o.Host)
				w.boolean("forwarded", o.Forwarded)
				w.boolean("keep_urls", o.KeepURLs)
				if o.FirstByte != 0 {
					w.span("first_byte", o.FirstByte)
				}
			})
		}
		w.block("map", "", func() {
			if len(s.Map.PoPs) > 0 {
				list(w, "pops", s.Map.PoPs)
			}
			list(w, "policy", s.Map.Policy)
			w.integer("answers", s.Map.Answers)
			w.span("ttl", s.Map.TTL)
			w.span("ttl_min", s.Map.TTLMin)
			w.text("all_down", s.Map.AllDown)
			w.span("scope_regret", s.Map.ScopeRegret)
			for _, f := range s.Map.Fences {
				w.block("fence", f.Name, func() {
					list(w, "countries", f.Countries)
					list(w, "pops", f.PoPs)
				})
			}
		})
		for _, p := range s.Probes {
			w.block("probe", p.Kind, func() {
				w.text("path", p.Path)
				w.unless("name", p.Name)
				w.number("port", uint64(p.Port))
				w.span("interval", p.Interval)
				w.span("timeout", p.Timeout)
				w.integer("up", p.Up)
				w.integer("down", p.Down)
			})
		}
		for _, p := range s.Paths {
			w.block("path", p.Path, func() { w.text("cookies", p.Cookies) })
		}
		for _, f := range s.Functions {
			w.block("function", f.Path, func() {
				w.text("module", f.Module)
				w.text("activation", f.Activation)
				w.text("phase", f.Phase)
				w.text("placement", f.Placement)
				w.unless("config", f.Config)
				w.table("kv", f.KV)
				if f.Wall != 0 {
					w.span("wall", f.Wall)
				}
				if f.Memory != 0 {
					w.text("memory", inUnits(f.Memory, 1<<10, "B", "KiB", "MiB", "GiB", "TiB"))
				}
				w.number("subrequests", uint64(f.Subrequests))
			})
		}
	})
}
