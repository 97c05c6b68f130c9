package lab

import (
	"embed"
	"fmt"
	"net/netip"
	"strings"

	"perto"
	"perto/config"
	shopcode "perto/origin/functions"
)

//go:embed world
var worldFiles embed.FS

// ResolverKind is the kind of resolver that a vantage uses.
type ResolverKind string

// The kinds of resolver.
const (
	ResolverISP       ResolverKind = "isp"        // the provider's own, in the same city
	ResolverPublic    ResolverKind = "public"     // a public service that sends no client subnet
	ResolverPublicECS ResolverKind = "public-ecs" // a public service that sends the client subnet (ECS)
	ResolverOffice    ResolverKind = "office"     // the resolver of an enterprise, in London
)

// anycast has the addresses of the public services and of the enterprise's resolver.
var anycast = map[ResolverKind]netip.Addr{
	ResolverPublic:    netip.MustParseAddr("203.0.113.53"),
	ResolverPublicECS: netip.MustParseAddr("198.51.100.53"),
	ResolverOffice:    netip.MustParseAddr("192.0.2.53"),
}

// vantageSpec is a row of world/vantages.tsv.
type vantageSpec struct {
	name     string
	region   string // a part of the world, for lists
	place    perto.Place
	resolver ResolverKind
	v4, v6   netip.Prefix
}

// clientAddrs and resolverAddrs follow the rule of world/vantages.tsv.
func (v *vantageSpec) clientAddrs() []netip.Addr {
	return []netip.Addr{hostIn(v.v4.Addr(), 0, 7), hostIn(v.v6.Addr(), 0, 7)}
}

func (v *vantageSpec) resolverAddrs() []netip.Addr {
	return []netip.Addr{hostIn(v.v4.Addr(), 1, 53), hostIn(v.v6.Addr(), 1, 0x53)}
}

// hostIn returns an address of the n-th /24 (or /48) from the start of a
// network.
func hostIn(base netip.Addr, n, host byte) netip.Addr {
	if base.Is4() {
		b := base.As4()
		b[2] += n
		b[3] = host
		return netip.AddrFrom4(b)
	}
	b := base.As16()
	b[5] += n
	b[15] = host
	return netip.AddrFrom16(b)
}

// resolverSpec is a row of world/resolvers.tsv.
type resolverSpec struct {
	kind  ResolverKind
	name  string
	place perto.Place
	addrs []netip.Addr
}

// rows reads an embedded table. Columns are separated by tabs, and lines that begin
// with # are comments.
func rows(file string, columns int) ([][]string, error) {
	data, err := worldFiles.ReadFile("world/" + file)
	if err != nil {
		return nil, err
	}
	var out [][]string
	for i, line := range strings.Split(string(data), "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		row := strings.Split(line, "\t")
		if len(row) != columns {
			return nil, fmt.Errorf("world/%s:%d: %d columns, want %d", file, i+1, len(row), columns)
		}
		out = append(out, row)
	}
	return out, nil
}

func demoVantages(place config.PlaceResolver) ([]vantageSpec, error) {
	table, err := rows("vantages.tsv", 6)
	if err != nil {
		return nil, err
	}
	var out []vantageSpec
	for _, row := range table {
		v := vantageSpec{name: row[0], region: row[1], resolver: ResolverKind(row[3])}
		if v.place, err = place(row[2]); err != nil {
			return nil, fmt.Errorf("vantage %s: %w", v.name, err)
		}
		if v.v4, err = netip.ParsePrefix(row[4]); err != nil {
			return nil, err
		}
		if v.v6, err = netip.ParsePrefix(row[5]); err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

func demoResolvers(place config.PlaceResolver) ([]resolverSpec, error) {
	table, err := rows("resolvers.tsv", 5)
	if err != nil {
		return nil, err
	}
	var out []resolverSpec
	for _, row := range table {
		r := resolverSpec{kind: ResolverKind(row[0]), name: row[1]}
		if r.place, err = place(row[2]); err != nil {
			return nil, fmt.Errorf("resolver %s: %w", r.name, err)
		}
		for _, s := range row[3:] {
			a, err := netip.ParseAddr(s)
			if err != nil {
				return nil, err
			}
			r.addrs = append(r.addrs, a)
		}
		out = append(out, r)
	}
	return out, nil
}

// DemoWorld returns the configuration of the demo world.
func DemoWorld(place config.PlaceResolver) (*config.Config, error) {
	src, err := worldFiles.ReadFile("world/world.hcl")
	if err != nil {
		return nil, err
	}
	return config.Parse(src, "world.hcl", place, func(name string) ([]byte, error) {
		if strings.HasSuffix(name, ".wasm") {
			return shopcode.Module(name)
		}
		return worldFiles.ReadFile("world/" + name)
	})
}
