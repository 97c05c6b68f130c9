package dnsserver

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"perto"
	"perto/dnsserver/zone"
	"perto/mapping"
	"perto/replicas"
)

// rotateView has two services of one PoP with three edges. The first service names all
// edges. The second names two, which slots decide.
func rotateView(t testing.TB) *View {
	t.Helper()
	z, err := zone.Build(zone.Config{Name: "cdn.example", File: "rotate.zone", Services: []string{"all.cdn.example", "two.cdn.example"},
		Data: []byte("$TTL 60\n@ SOA ns1 h 1 2 3 4 5\n@ NS ns1\nns1 A 192.0.2.53\nns1 A 192.0.2.54\nns1 A 192.0.2.55\nns1 AAAA 2001:db8::53\nns1 AAAA 2001:db8::54\n" +
			"to CNAME ns1\ntoall CNAME all\nmx MX 1 ns1\nmx MX 2 ns1\n")})
	if err != nil {
		t.Fatal(err)
	}
	return NewView([]ZoneServices{{Zone: z, Services: rotateAnswers()}}, nil, nil)
}

var rotateAnswers = sync.OnceValue(func() []*mapping.Answers {
	sites := []replicas.Site{{Name: "fra", Place: perto.Place{Lat: 50.11, Lon: 8.68}}}
	fleet := &replicas.Fleet{Sites: sites}
	for i, name := range []perto.Replica{"fra-1", "fra-2", "fra-3"} {
		fleet.Members = append(fleet.Members, replicas.Member{Declared: replicas.Declared{Name: name, PoP: "fra", Addresses: []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)})}}})
	}
	var out []*mapping.Answers
	for i, name := range []perto.Service{"all.cdn.example", "two.cdn.example"} {
		p := &mapping.Policy{Service: name, Steps: must(mapping.ParseSteps([]string{"up", "nearest", "weight"})), Answers: 3 - i, TTL: 20 * time.Second, TTLMin: 5 * time.Second}
		out = append(out, mapping.Decide(must(mapping.NewMap(testGeo(), sites, p)), p, fleet, nil))
	}
	return out
})

func TestAddressesRotateUnlessSlotsDecide(t *testing.T) {
	s := New(Config{})
	s.SetView(rotateView(t))
	tests := []struct {
		name, qtype string
		firsts      int // number of different first records
		records     int
	}{
		{"ns1", "A", 3, 3},
		{"ns1", "AAAA", 2, 2},
		{"to", "A", 3, 3},
		{"all", "A", 3, 3},
		{"toall", "A", 3, 3},
		{"two", "A", 1, 2}, // the slot of this client decides which, and their order
		{"mx", "MX", 1, 2}, // no addresses
	}
	for _, tt := range tests {
		t.Run(tt.name+"/"+tt.qtype, func(t *testing.T) {
			count := make(map[string]int)
			sets := make(map[string]bool)
			const queries = 600
			for id := range uint16(queries) {
				packet, err := message(tt.name+".cdn.example", tt.qtype, func(m *dns.Msg) { m.Id = id }).Pack()
				if err != nil {
					t.Fatal(err)
				}
				m := new(dns.Msg)
				if err := m.Unpack(s.handle(packet, inGermany, overUDP, nil)); err != nil {
					t.Fatal(err)
				}
				if len(m.Answer) > 0 && m.Answer[0].Header().Rrtype == dns.TypeCNAME {
					m.Answer = m.Answer[1:]
				}
				var set []string
				for _, rr := range m.Answer {
					set = append(set, rr.String())
				}
				if len(set) != tt.records {
					t.Fatalf("got %v, want %d records", set, tt.records)
				}
				count[set[0]]++
				slices.Sort(set)
				sets[strings.Join(set, "|")] = true
			}
			if len(sets) != 1 || len(count) != tt.firsts {
				t.Fatalf("got %v in %d sets, want %d first records in one", count, len(sets), tt.firsts)
			}
			for first, n := range count {
				if n != queries/tt.firsts {
					t.Errorf("%s comes first %d times of %d", first, n, queries)
				}
			}
		})
	}
}

func TestRotationDoesNotAllocate(t *testing.T) {
	s := New(Config{})
	s.SetView(rotateView(t))
	out := make([]byte, 0, 4096)
	for _, name := range []string{"ns1", "all", "toall"} {
		packet, _ := message(name+".cdn.example", "A", nil).Pack()
		if n := testing.AllocsPerRun(100, func() { s.handle(packet, inGermany, overUDP, out) }); n != 0 {
			t.Errorf("%s: got %v allocations, want 0", name, n)
		}
	}
}
