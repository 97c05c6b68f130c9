package zone

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"

	"github.com/miekg/dns"

	"perto/dnsserver/wire"
)

// Config holds the input for building a zone.
type Config struct {
	Name string // canonical ("cdn.example"); "" is the root zone
	File string // for error messages
	Data []byte // the zone file

	// Services are names inside the zone with addresses that are decided for each
	// query. "*." in front makes a wildcard.
	Services []string
	// Hosts are names with fixed addresses that the zone file need not repeat, for
	// example "gru-1.edge.cdn.example". If a name is in both, the zone file is used.
	Hosts map[string][]netip.Addr
	// HostTTL is the time to live of Hosts' records, in seconds.
	HostTTL uint32
	// Whoami is a name with TXT records about the client's resolver, subnet and address
	// decision. "" means none.
	Whoami string
}

// maxErrors bounds how many mistakes of one file are reported.
const maxErrors = 20

// Build parses and checks a zone. It reports all mistakes in one joined error, each
// with file and name, and with the line if the parser has it.
func Build(cfg Config) (*Zone, error) {
	apex, err := wire.PackName(cfg.Name)
	if err != nil {
		return nil, fmt.Errorf("zone %q: %w", cfg.Name, err)
	}
	b := &builder{
		cfg:  cfg,
		zone: &Zone{Name: cfg.Name, apex: apex, nodes: make(map[string]*node)},
		sets: make(map[string]map[uint16][]dns.RR),
		seen: make(map[string]bool), lines: make(map[string]int), referrals: make(map[string]*wire.Tail),
	}
	b.parse()
	b.addHosts()
	b.marks()
	b.check()
	if err := b.err(); err != nil {
		return nil, err
	}
	b.pack()
	if err := b.err(); err != nil {
		return nil, err
	}
	return b.zone, nil
}

// builder collects the records of a zone. Its keys are names in lower-case wire form,
// because text has many spellings of one name ("\\065bc" is "abc").
type builder struct {
	cfg  Config
	zone *Zone
	sets map[string]map[uint16][]dns.RR // by name, then type
	seen map[string]bool                // name, type and data of every record
	errs []error
	more int // mistakes beyond maxErrors

	line  int            // current line; 0: none
	lines map[string]int // by name: the line of its first record

	signed, dnames unserved

	services map[string]int // by name; index+1
	cuts     map[string]bool

	referrals map[string]*wire.Tail // by zone cut

	// State of the tail that is being packed: the positions of its name suffixes.
	packing *wire.Tail
	offsets map[string]uint16
	plain   bool // names are not compressed
}

// keyOf returns the key of a textual name. A name that cannot be packed is a mistake of
// the zone and has no key.
func (b *builder) keyOf(name string) (string, bool) {
	packed, err := wire.PackName(name)
	if err != nil {
		b.fail("%s: %v", name, err)
		return "", false
	}
	var buf [wire.MaxName]byte
	return string(wire.Lower(&buf, packed)), true
}

// text returns a key in the form of error messages.
func text(key string) string { return cmpName(wire.NameString([]byte(key))) }

// fail reports a mistake, at the current line if there is one.
func (b *builder) fail(format string, args ...any) {
	at := b.cfg.File
	if b.line > 0 {
		at += ":" + strconv.Itoa(b.line)
	}
	if len(b.errs) < maxErrors {
		b.errs = append(b.errs, fmt.Errorf("%s: "+format, append([]any{at}, args...)...))
	} else {
		b.more++
	}
}

// err returns all mistakes, or nil.
func (b *builder) err() error {
	if b.more > 0 {
		return errors.Join(append(b.errs, fmt.Errorf("%s: and %d more", b.cfg.File, b.more))...)
	}
	return errors.Join(b.errs...)
}

// within reports whether a name is the zone's apex or below it.
func (b *builder) within(key string) bool {
	return wire.IsSuffix([]byte(key), b.zone.apex)
}

func (b *builder) isApex(key string) bool { return key == string(b.zone.apex) }

func (b *builder) parse() {
	m := newMaster(b.cfg.Data, dns.Fqdn(b.cfg.Name))
	for {
		rrs, line, err := m.next()
		if line == 0 {
			break
		}
		b.line = line
		if err != nil {
			b.fail("%w", err)
		}
		for _, rr := range rrs {
			b.take(rr)
		}
	}
	b.line = 0
	b.reportUnserved()
}

// take adds a record of the zone file.
func (b *builder) take(rr dns.RR) {
	key, ok := b.keyOf(rr.Header().Name)
	switch {
	case !ok:
	case !b.within(key):
		b.fail("%s lies outside the zone %s", text(key), cmpName(b.cfg.Name))
	case b.unserved(key, rr.Header().Rrtype):
	default:
		if b.lines[key] == 0 {
			b.lines[key] = b.line
		}
		b.add(key, rr)
	}
}

func cmpName(name string) string {
	if name == "" {
		return "."
	}
	return name
}

func (b *builder) add(key string, rr dns.RR) {
	t := rr.Header().Rrtype
	data, err := canonicalData(rr)
	if err != nil {
		b.fail("%s %s: %v", text(key), dns.TypeToString[t], err)
		return
	}
	id := fmt.Sprintf("%s %d %s", key, t, data)
	if b.seen[id] {
		return // RFC 2181, section 5: an RRset has no duplicates
	}
	b.seen[id] = true
	if b.sets[key] == nil {
		b.sets[key] = make(map[uint16][]dns.RR)
	}
	b.sets[key][t] = append(b.sets[key][t], rr)
}

func (b *builder) addHosts() {
	for name, addrs := range b.cfg.Hosts {
		key, ok := b.keyOf(name)
		if !ok || b.sets[key] != nil {
			continue
		}
		for _, a := range addrs {
			h := dns.RR_Header{Name: dns.Fqdn(name), Class: dns.ClassINET, Ttl: b.cfg.HostTTL}
			if a.Is4() {
				h.Rrtype = dns.TypeA
				b.add(key, &dns.A{Hdr: h, A: a.AsSlice()})
			} else {
				h.Rrtype = dns.TypeAAAA
				b.add(key, &dns.AAAA{Hdr: h, AAAA: a.AsSlice()})
			}
		}
	}
}

// marks records which names are services and which are zone cuts.
func (b *builder) marks() {
	b.services = make(map[string]int, len(b.cfg.Services))
	for i, s := range b.cfg.Services {
		key, ok := b.keyOf(s)
		if !ok {
			continue
		}
		if !b.within(key) {
			b.fail("service %s lies outside the zone %s", s, cmpName(b.cfg.Name))
			continue
		}
		b.services[key] = i + 1
	}
	b.cuts = make(map[string]bool)
	for key, set := range b.sets {
		if !b.isApex(key) && len(set[dns.TypeNS]) > 0 {
			b.cuts[key] = true
		}
	}
}

// cutAbove returns the zone cut at or above a name, if there is one.
func (b *builder) cutAbove(key string) (string, bool) {
	for b.within(key) && !b.isApex(key) {
		if b.cuts[key] {
			return key, true
		}
		key = string(wire.Parent([]byte(key)))
	}
	return "", false
}

func (b *builder) check() {
	apex := b.sets[string(b.zone.apex)]
	if n := len(apex[dns.TypeSOA]); n != 1 {
		b.fail("the zone %s needs one SOA record and has %d", cmpName(b.cfg.Name), n)
	}
	if len(apex[dns.TypeNS]) == 0 {
		b.fail("the zone %s has no NS record", cmpName(b.cfg.Name))
	}
	for _, key := range slices.Sorted(maps.Keys(b.sets)) {
		b.line = b.lines[key]
		b.checkName(key, b.sets[key])
	}
	b.line = 0
	for key := range b.services {
		if cut, below := b.cutAbove(key); below {
			b.fail("service %s lies in a delegated zone (%s)", text(key), text(cut))
		}
	}
}

// checkName checks the records of a name.
func (b *builder) checkName(key string, set map[uint16][]dns.RR) {
	if len(set[dns.TypeSOA]) > 0 && !b.isApex(key) {
		b.fail("%s: a SOA record stands at the apex only", text(key))
	}
	if c := set[dns.TypeCNAME]; len(c) > 0 && (len(c) > 1 || len(set) > 1 || b.services[key] > 0) {
		b.fail("%s: a CNAME stands alone (RFC 1034, section 3.6.2)", text(key))
	}
	if b.services[key] > 0 && (len(set[dns.TypeA]) > 0 || len(set[dns.TypeAAAA]) > 0) {
		b.fail("%s is a service: its addresses are decided for each query; remove its A and AAAA records", text(key))
	}
	for _, rr := range set[dns.TypeNS] {
		if target, ok := b.keyOf(rr.(*dns.NS).Ns); ok {
			b.checkGlue(key, target)
		}
	}
}

// checkGlue checks that a name server inside the zone has an address there. Without
// one, no resolver can reach it.
func (b *builder) checkGlue(owner, target string) {
	if !b.within(target) {
		return
	}
	if cut, below := b.cutAbove(target); below && cut != owner {
		return // a name in a sibling zone: the servers of that zone have its address
	}
	set := b.sets[target]
	if len(set[dns.TypeA]) == 0 && len(set[dns.TypeAAAA]) == 0 {
		b.fail("%s NS %s: that name server has no address in the zone", text(owner), text(target))
	}
}

// Check builds a zone for its errors only and returns the number of its names. The
// command "perto zone check" runs it.
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
