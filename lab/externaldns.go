package lab

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"perto"
	"perto/dnsserver"
	"perto/dnsserver/zone"
)

// externalServer is an authoritative server outside the CDN, without services: the
// root, and the name server of the CDN's customers.
type externalServer struct {
	name, place string
	addrs       []string
	zones       []externalZone
}

type externalZone struct {
	name string // "" for the root
	file string
	data []byte
}

// customers is the name server of customers. Their names are aliases of the CDN's
// names.
var customers = externalServer{name: "ns-shop", place: "Ashburn, VA, US", addrs: []string{"98.92.0.53", "2a07:a900::53"}}

// startExternalDNS starts the root and the customers' name server. The root delegates
// their zones and the zones of the World.
func (l *Lab) startExternalDNS(ctx context.Context) error {
	rootZone, err := worldFiles.ReadFile("world/root.zone")
	if err != nil {
		return err
	}
	ns := customers
	if l.cfg.World == nil {
		data, err := worldFiles.ReadFile("world/shop.example.zone")
		if err != nil {
			return err
		}
		ns.zones = []externalZone{{"shop.example", "shop.example.zone", data}}
	} else {
		ns.zones = l.aliasZones(ns.name)
		rootZone = fmt.Appendf(rootZone, "%s. IN A %s\n%[1]s. IN AAAA %[3]s\n", ns.name, ns.addrs[0], ns.addrs[1])
		for _, z := range ns.zones {
			rootZone = fmt.Appendf(rootZone, "%s. IN NS %s.\n", z.name, ns.name)
		}
	}
	root := externalServer{"root", "Ashburn, VA, US", []string{"128.156.0.4", "2a09:cb00::4"},
		[]externalZone{{"", "root.zone", append(rootZone, l.delegations()...)}}}
	for _, s := range []externalServer{root, ns} {
		if err := l.startExternalServer(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func (l *Lab) startExternalServer(ctx context.Context, s externalServer) error {
	var zones []dnsserver.ZoneServices
	for _, z := range s.zones {
		built, err := zone.Build(zone.Config{Name: z.name, File: z.file, Data: z.data})
		if err != nil {
			return err
		}
		zones = append(zones, dnsserver.ZoneServices{Zone: built})
	}
	host, err := l.addHost(s.name, "name server", s.place, s.addrs...)
	if err != nil {
		return err
	}
	server := dnsserver.New(dnsserver.Config{Name: s.name, Network: host, Listen: []string{":53"}, Logger: l.cfg.Logger})
	server.SetView(dnsserver.NewView(zones, nil, nil))
	if err := server.Start(ctx); err != nil {
		return err
	}
	l.external = append(l.external, server)
	return nil
}

// aliasZones makes the customers' zones that contain the aliases of a World's services.
// For example, shop.example has "www.shop.example CNAME shop.cdn.example". It leaves
// out aliases in the World's own zones, because these zones have the records
// themselves.
func (l *Lab) aliasZones(ns string) []externalZone {
	w := &l.World.World
	records := make(map[string][]byte) // zone -> its records
	for _, s := range w.Services {
		for _, alias := range s.Aliases {
			label, parent, ok := strings.Cut(alias, ".")
			if !ok || l.servedZone(alias) != "" {
				continue
			}
			records[parent] = fmt.Appendf(records[parent], "%s IN CNAME %s.\n", label, s.Name)
		}
	}
	var out []externalZone
	for name, data := range records {
		head := fmt.Sprintf("$TTL 3600\n@ IN SOA %s. hostmaster 1 7200 3600 1209600 60\n@ IN NS %[1]s.\n", ns)
		out = append(out, externalZone{name, name + ".zone", append([]byte(head), data...)})
	}
	slices.SortFunc(out, func(a, b externalZone) int { return strings.Compare(a.name, b.name) })
	return out
}

// servedZone returns the zone of the World that contains a name, or "".
func (l *Lab) servedZone(name string) string {
	for _, z := range l.World.World.Zones {
		if name == z.Name || strings.HasSuffix(name, "."+z.Name) {
			return z.Name
		}
	}
	return ""
}

// delegations returns records of the root zone for the zones of the World. They are the
// NS records of each zone with the addresses of the servers, as a registrar copies
// them.
func (l *Lab) delegations() []byte {
	var out []byte
	for _, z := range l.World.World.Zones {
		servers := make(map[string]bool)
		var records []dns.RR
		for p := dns.NewZoneParser(bytes.NewReader(z.Data), dns.Fqdn(z.Name), z.File); ; {
			rr, ok := p.Next()
			if !ok {
				break // node.New reports the error in the file
			}
			if ns, ok := rr.(*dns.NS); ok && perto.CanonicalName(ns.Hdr.Name) == z.Name {
				servers[perto.CanonicalName(ns.Ns)] = true
				out = fmt.Appendln(out, ns)
			}
			if t := rr.Header().Rrtype; t == dns.TypeA || t == dns.TypeAAAA {
				records = append(records, rr)
			}
		}
		for _, rr := range records {
			if servers[perto.CanonicalName(rr.Header().Name)] {
				out = fmt.Appendln(out, rr)
			}
		}
	}
	return out
}
