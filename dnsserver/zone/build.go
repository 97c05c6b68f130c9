package zone

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"perto"
	"perto/dnsserver/wire"
)

// Config is what a zone is built from.
type Config struct {
	Name string // canonical ("cdn.example"); "" is the root zone
	File string // for error messages
	Data []byte // the zone file

	// Services are the names, inside the zone, whose addresses are decided for
	// each query; "*." in front makes a wildcard.
	Services []string
	// Hosts are names with fixed addresses that the zone file need not repeat
	// ("gru-1.edge.cdn.example"). The zone file wins where both have a name.
	Hosts map[string][]netip.Addr
	// HostTTL is the time to live of Hosts' records, in seconds.
	HostTTL uint32
	// Whoami is a name that answers TXT with what the server sees; "" for none.
	Whoami string
}

// maxErrors bounds how many mistakes of one file are reported.
const maxErrors = 20

// Build parses and checks a zone. All mistakes are reported, joined, each with
// file and name (and line where the parser knows it).
func Build(cfg Config) (*Zone, error) {
	apex, err := wire.PackName(cfg.Name)
	if err != nil {
		return nil, fmt.Errorf("zone %q: %w", cfg.Name, err)
	}
	b := &builder{
		cfg:  cfg,
		zone: &Zone{Name: cfg.Name, apex: apex, nodes: make(map[string]*node)},
		sets: make(map[string]map[uint16][]dns.RR),
	}
	b.parse()
	b.addHosts()
	b.marks()
	b.check()
	if len(b.errs) > 0 {
		return nil, errors.Join(b.errs...)
	}
	b.pack()
	if len(b.errs) > 0 {
		return nil, errors.Join(b.errs...)
	}
	return b.zone, nil
}

type builder struct {
	cfg  Config
	zone *Zone
	sets map[string]map[uint16][]dns.RR // by canonical name, then type
	errs []error

	services map[string]int // canonical name -> index+1
	cuts     map[string]bool
}

func (b *builder) fail(format string, args ...any) {
	if len(b.errs) < maxErrors {
		b.errs = append(b.errs, fmt.Errorf("%s: "+format, append([]any{b.cfg.File}, args...)...))
	}
}

// within reports whether a canonical name is the zone's apex or below it.
func (b *builder) within(name string) bool {
	return b.cfg.Name == "" || name == b.cfg.Name || strings.HasSuffix(name, "."+b.cfg.Name)
}

func (b *builder) parse() {
	p := dns.NewZoneParser(bytes.NewReader(b.cfg.Data), dns.Fqdn(b.cfg.Name), b.cfg.File)
	for {
		rr, ok := p.Next()
		if !ok {
			break
		}
		h := rr.Header()
		name := perto.CanonicalName(h.Name)
		switch {
		case h.Class != dns.ClassINET:
			b.fail("%s: class %s: only IN is served", h.Name, dns.ClassToString[h.Class])
		case !b.within(name):
			b.fail("%s lies outside the zone %s", h.Name, dns.Fqdn(b.cfg.Name))
		default:
			b.add(name, rr)
		}
	}
	if err := p.Err(); err != nil && !errors.Is(err, io.EOF) {
		b.errs = append(b.errs, fmt.Errorf("zone %s: %w", cmpName(b.cfg.Name), err))
	}
}

func cmpName(name string) string {
	if name == "" {
		return "."
	}
	return name
}

func (b *builder) add(name string, rr dns.RR) {
	if b.sets[name] == nil {
		b.sets[name] = make(map[uint16][]dns.RR)
	}
	t := rr.Header().Rrtype
	for _, have := range b.sets[name][t] {
		if dns.IsDuplicate(have, rr) {
			return // RFC 2181, section 5: an RRset has no duplicates
		}
	}
	b.sets[name][t] = append(b.sets[name][t], rr)
}

func (b *builder) addHosts() {
	for name, addrs := range b.cfg.Hosts {
		if b.sets[name] != nil {
			continue
		}
		for _, a := range addrs {
			h := dns.RR_Header{Name: dns.Fqdn(name), Class: dns.ClassINET, Ttl: b.cfg.HostTTL}
			if a.Is4() {
				h.Rrtype = dns.TypeA
				b.add(name, &dns.A{Hdr: h, A: a.AsSlice()})
			} else {
				h.Rrtype = dns.TypeAAAA
				b.add(name, &dns.AAAA{Hdr: h, AAAA: a.AsSlice()})
			}
		}
	}
}

// marks notes which names are services and which are zone cuts.
func (b *builder) marks() {
	b.services = make(map[string]int, len(b.cfg.Services))
	for i, s := range b.cfg.Services {
		name := perto.CanonicalName(s)
		if !b.within(name) {
			b.fail("service %s lies outside the zone %s", s, cmpName(b.cfg.Name))
			continue
		}
		b.services[name] = i + 1
	}
	b.cuts = make(map[string]bool)
	for name, set := range b.sets {
		if name != b.cfg.Name && len(set[dns.TypeNS]) > 0 {
			b.cuts[name] = true
		}
	}
}

// cutAbove returns the zone cut that name lies at or below, if any.
func (b *builder) cutAbove(name string) (string, bool) {
	for b.within(name) && name != b.cfg.Name {
		if b.cuts[name] {
			return name, true
		}
		_, parent, ok := strings.Cut(name, ".")
		if !ok {
			parent = ""
		}
		name = parent
	}
	return "", false
}

func (b *builder) check() {
	apex := b.sets[b.cfg.Name]
	if n := len(apex[dns.TypeSOA]); n != 1 {
		b.fail("the zone %s needs one SOA record and has %d", cmpName(b.cfg.Name), n)
	}
	if len(apex[dns.TypeNS]) == 0 {
		b.fail("the zone %s has no NS record", cmpName(b.cfg.Name))
	}
	for name, set := range b.sets {
		if len(set[dns.TypeSOA]) > 0 && name != b.cfg.Name {
			b.fail("%s: a SOA record stands at the apex only", name)
		}
		if c := set[dns.TypeCNAME]; len(c) > 0 && (len(c) > 1 || len(set) > 1 || b.services[name] > 0) {
			b.fail("%s: a CNAME stands alone (RFC 1034, section 3.6.2)", name)
		}
		if b.services[name] > 0 && (len(set[dns.TypeA]) > 0 || len(set[dns.TypeAAAA]) > 0) {
			b.fail("%s is a service: its addresses are decided for each query; remove its A and AAAA records", name)
		}
		for _, rr := range set[dns.TypeNS] {
			b.checkGlue(name, perto.CanonicalName(rr.(*dns.NS).Ns))
		}
	}
	for name := range b.services {
		if cut, below := b.cutAbove(name); below {
			b.fail("service %s lies in a delegated zone (%s)", name, cut)
		}
	}
}

// checkGlue: a name server inside the zone must have an address there, or
// nobody can reach it.
func (b *builder) checkGlue(owner, target string) {
	if !b.within(target) {
		return
	}
	if cut, below := b.cutAbove(target); below && cut != owner {
		return // a sibling zone's name; its own servers have it
	}
	set := b.sets[target]
	if len(set[dns.TypeA]) == 0 && len(set[dns.TypeAAAA]) == 0 {
		b.fail("%s NS %s: that name server has no address in the zone", cmpName(owner), target)
	}
}

// Check builds a zone for its errors only and returns the number of names in
// it; it is what "perto zone check" runs.
func Check(cfg Config) (names int, err error) {
	z, err := Build(cfg)
	if err != nil {
		return 0, err
	}
	return len(z.nodes), nil
}

// sortedTypes returns the types of a set in ascending order, so that building
// is deterministic.
func sortedTypes(set map[uint16][]dns.RR) []uint16 {
	types := make([]uint16, 0, len(set))
	for t := range set {
		types = append(types, t)
	}
	slices.Sort(types)
	return types
}
