package dnsserver

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"

	"perto"
	"perto/dnsserver/zone"
	"perto/mapping"
	"perto/replicas"
)

// TestTaggedAnswers: AAAA answers to queries without a client subnet have the resolver's
// tag in the addresses of edges with tags. Other answers, and answers without keys, have
// the edges' own addresses. Tagging allocates nothing.
func TestTaggedAnswers(t *testing.T) {
	sites := []replicas.Site{{Name: "fra", Place: perto.Place{Lat: 50.11, Lon: 8.68}}}
	own := []netip.Addr{netip.MustParseAddr("2001:db8:1::11"), netip.MustParseAddr("2001:db8:1::12")}
	fleet := &replicas.Fleet{Sites: sites}
	for i, name := range []perto.Replica{"fra-1", "fra-2"} {
		fleet.Members = append(fleet.Members, replicas.Member{Declared: replicas.Declared{Name: name, PoP: "fra",
			Addresses: []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), own[i]}}})
	}
	p := &mapping.Policy{Service: "shop.cdn.example", Steps: must(mapping.ParseSteps([]string{"up", "nearest"})), Answers: 2, TTL: 20 * time.Second, TTLMin: 5 * time.Second}
	answers := mapping.Decide(must(mapping.NewMap(testGeo(), sites, p)), p, fleet, nil)
	z, err := zone.Build(zone.Config{Name: "cdn.example", File: "tags.zone", Services: []string{"shop.cdn.example"}, Data: []byte("$TTL 60\n@ SOA ns1 h 1 2 3 4 5\n@ NS ns1\nns1 A 192.0.2.53\n")})
	if err != nil {
		t.Fatal(err)
	}
	network := netip.MustParsePrefix("2001:db8:7a00:1::/64")
	tags := &Tags{Of: map[netip.Addr]netip.Prefix{own[0]: network}} // the other edge has none
	s := New(Config{})
	s.SetView(NewView([]ZoneServices{{Zone: z, Services: []*mapping.Answers{answers}}}, tags, nil))
	keys := mapping.NewTagKeys([]byte("secret"), time.Now())
	ask := func(m *dns.Msg) map[netip.Addr]bool {
		t.Helper()
		packet, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		reply := new(dns.Msg)
		if err := reply.Unpack(s.handle(packet, inGermany, overUDP, nil)); err != nil {
			t.Fatal(err)
		}
		out := make(map[netip.Addr]bool)
		for _, rr := range reply.Answer {
			if a, ok := rr.(*dns.AAAA); ok {
				addr, _ := netip.AddrFromSlice(a.AAAA)
				out[addr] = true
			}
		}
		return out
	}
	plain := func(what string, got map[netip.Addr]bool) {
		t.Helper()
		if len(got) != 2 || !got[own[0]] || !got[own[1]] {
			t.Errorf("%s: got %v, want the edges' own addresses", what, got)
		}
	}
	query := message("shop.cdn.example", "AAAA", nil)
	plain("without keys", ask(query))
	s.SetTagKeys(keys)
	plain("with a client subnet", ask(message("shop.cdn.example", "AAAA", ecs("198.51.100.0", 24))))
	for id := range uint16(4) { // whatever address comes first
		query.Id = id
		got := ask(query)
		if len(got) != 2 || !got[own[1]] || got[own[0]] {
			t.Fatalf("got %v", got)
		}
		for a := range got {
			if a == own[1] {
				continue
			}
			b := a.As16()
			g, ok := keys.Open(binary.BigEndian.Uint64(b[8:]))
			if !network.Contains(a) || !ok || g != mapping.GroupOf(inGermany) {
				t.Errorf("got %s with the group %s, %v", a, g, ok)
			}
		}
	}
	out := make([]byte, 0, 4096)
	packet, _ := query.Pack()
	if n := testing.AllocsPerRun(100, func() { s.handle(packet, inGermany, overUDP, out) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
