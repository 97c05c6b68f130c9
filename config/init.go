package config

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"

	"perto"
)

// Machine is one machine in a configuration made by Init.
type Machine struct {
	Name      string // "gru-1"; the part before the last hyphen is its PoP's name
	Place     string // in a form for FindCity
	Addresses []netip.Addr
}

// PoP returns the name of the machine's PoP.
func (m *Machine) PoP() string {
	if i := strings.LastIndexByte(m.Name, '-'); i > 0 {
		return m.Name[:i]
	}
	return m.Name
}

// InitOptions is the input of Init.
type InitOptions struct {
	Domain   string // the zone ("cdn.example")
	Service  string // the service name ("shop.cdn.example")
	Aliases  []string
	Origin   string // "https://origin.example"
	Machines []Machine
	KeyFile  string
	Data     string // folder for state
}

// ZoneFile returns the name of the zone file in the configuration.
func (o *InitOptions) ZoneFile() string { return o.Domain + ".zone" }

// pops groups the machines by PoP, in their order.
func (o *InitOptions) pops() (names []string, of map[string][]Machine) {
	of = make(map[string][]Machine)
	for _, m := range o.Machines {
		pop := m.PoP()
		if of[pop] == nil {
			names = append(names, pop)
		}
		of[pop] = append(of[pop], m)
	}
	return names, of
}

// nameServers is how many machines serve DNS: with two, one may fail.
const nameServers = 2

// NameServers returns the names of the name servers in the zone.
func (o *InitOptions) NameServers() (out []string) {
	for i := range min(nameServers, len(o.Machines)) {
		out = append(out, fmt.Sprintf("ns%d.%s", i+1, o.Domain))
	}
	return out
}

// Init writes a configuration for some machines. Each is an edge, and the first two
// also serve DNS. The result is valid when the zone file of InitZone is in the same
// folder.
func Init(o InitOptions) []byte {
	w := newShower()
	for i, m := range o.Machines {
		roles := RoleEdge
		if i < nameServers {
			roles |= RoleDNS
		}
		w.block("node", m.Name, func() {
			list(w, "roles", roles.Names())
			w.text("data", o.Data)
			w.text("key", o.KeyFile)
		})
	}
	names, of := o.pops()
	for _, pop := range names {
		w.block("pop", pop, func() {
			w.text("place", of[pop][0].Place)
			for _, m := range of[pop] {
				w.block("edge", m.Name, func() { list(w, "addresses", m.Addresses) })
			}
		})
	}
	w.block("zone", o.Domain, func() { w.text("file", o.ZoneFile()) })
	w.block("service", o.Service, func() {
		if len(o.Aliases) > 0 {
			list(w, "aliases", o.Aliases)
		}
		w.block("origin", o.Origin, func() {})
	})
	head := fmt.Sprintf("# One file for all machines; each runs: perto run -c %s.hcl --node NAME\n\n", o.Domain)
	return Format(append([]byte(head), w.file.Bytes()...))
}

// InitZone writes the zone file of Init's configuration.
func InitZone(o InitOptions, serial uint32) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "$TTL 3600\n@ IN SOA ns1 hostmaster %d 7200 3600 1209600 60\n", serial)
	for i := range min(nameServers, len(o.Machines)) {
		fmt.Fprintf(&b, "@ IN NS ns%d\n", i+1)
	}
	for i, m := range o.Machines[:min(nameServers, len(o.Machines))] {
		for _, a := range m.Addresses {
			rrtype := "AAAA"
			if a.Is4() {
				rrtype = "A"
			}
			fmt.Fprintf(&b, "ns%d IN %s %s\n", i+1, rrtype, a)
		}
	}
	fmt.Fprintf(&b, "; %s is a service: its addresses are decided for each query.\n", o.Service)
	return b.Bytes()
}

// ParseMachine reads "NAME=PLACE=ADDR[,ADDR]".
func ParseMachine(s string) (Machine, error) {
	parts := strings.Split(s, "=")
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" {
		return Machine{}, &perto.Error{Op: "read machine", Path: s, Kind: perto.KindInvalid, Err: fmt.Errorf(`it takes "NAME=PLACE=ADDRESS[,ADDRESS]"`)}
	}
	m := Machine{Name: parts[0], Place: parts[1]}
	if err := CheckLabel(m.Name); err != nil {
		return Machine{}, &perto.Error{Op: "read machine", Path: s, Kind: perto.KindInvalid, Err: err}
	}
	for a := range strings.SplitSeq(parts[2], ",") {
		addr, err := netip.ParseAddr(strings.TrimSpace(a))
		if err != nil {
			return Machine{}, &perto.Error{Op: "read machine", Path: s, Kind: perto.KindInvalid, Err: fmt.Errorf("%q is no IP address", a)}
		}
		m.Addresses = append(m.Addresses, addr)
	}
	return m, nil
}
