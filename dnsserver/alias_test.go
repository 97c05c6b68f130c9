package dnsserver

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"perto/dnsserver/zone"
	"perto/mapping"
)

const aliasZone = `
$TTL 3600
@        IN SOA ns1 h 1 2 3 4 60
@        IN NS ns1
ns1      IN A 192.0.2.53
missing  IN CNAME Nothere
notype   IN CNAME ns1
two      IN CNAME missing
toent    IN CNAME ent
a.ent    IN A 192.0.2.3
toout    IN CNAME www.example.org.
todeleg  IN CNAME x.sub
sub      IN NS ns.sub
ns.sub   IN A 192.0.2.55
*.w      IN A 192.0.2.80
towild   IN CNAME foo.w
*.cw     IN CNAME ns1
tocw     IN CNAME a.cw
toshop   IN CNAME shop
tohalf   IN CNAME half
totenant IN CNAME Acme.tenants
*.tw     IN CNAME shop
toapex   IN CNAME @
@        IN MX 10 mail.example.org.
tome     IN CNAME whoami
`

// aliasView serves aliasZone. The service half has no IPv6 address. The other services
// are those of testView.
func aliasView(t testing.TB, more string, services ...string) *View {
	t.Helper()
	services = append([]string{"shop.cdn.example", "half.cdn.example", "*.tenants.cdn.example", "cdn.example"}, services...)
	z, err := zone.Build(zone.Config{Name: "cdn.example", File: "alias.zone", Data: []byte(aliasZone + more), Services: services, Whoami: "whoami.cdn.example"})
	if err != nil {
		t.Fatal(err)
	}
	answers := []*mapping.Answers{bothPoPs(), onlyFra()}
	for range services[2:] {
		answers = append(answers, bothPoPs())
	}
	return NewView([]ZoneServices{{Zone: z, Services: answers}}, nil, nil)
}

func askView(t testing.TB, v *View, name, qtype string, from netip.Addr) string {
	t.Helper()
	s := New(Config{Name: "test"})
	s.SetView(v)
	packet, err := message(name, qtype, nil).Pack()
	if err != nil {
		t.Fatal(err)
	}
	return brief(t, s.handle(packet, from, overTCP, nil))
}

func TestAliasIsAnsweredAsItsTarget(t *testing.T) {
	v := aliasView(t, "")
	tests := []struct{ name, qtype, want string }{
		// Compared with BIND 9.18 and Knot DNS 3.2. The cases below a zone cut are
		// compared with Knot only, since BIND sends the CNAME alone.
		{"missing", "A", "NXDOMAIN | aa | missing CNAME Nothere.cdn.example. | +SOA"},
		{"missing", "CNAME", "NOERROR | aa | missing CNAME Nothere.cdn.example."},
		{"missing", "ANY", "NOERROR | aa | missing CNAME Nothere.cdn.example."},
		{"notype", "AAAA", "NOERROR | aa | notype CNAME ns1.cdn.example. | +SOA"},
		{"notype", "A", "NOERROR | aa | notype CNAME ns1.cdn.example. | ns1 A 192.0.2.53"},
		{"two", "A", "NXDOMAIN | aa | two CNAME missing.cdn.example. | missing CNAME Nothere.cdn.example. | +SOA"},
		{"toent", "A", "NOERROR | aa | toent CNAME ent.cdn.example. | +SOA"},
		{"toout", "A", "NOERROR | aa | toout CNAME www.example.org."},
		{"todeleg", "A", "NOERROR | aa | todeleg CNAME x.sub.cdn.example. | +NS"},
		{"towild", "A", "NOERROR | aa | towild CNAME foo.w.cdn.example. | foo.w A 192.0.2.80"},
		{"towild", "MX", "NOERROR | aa | towild CNAME foo.w.cdn.example. | +SOA"},
		{"tocw", "A", "NOERROR | aa | tocw CNAME a.cw.cdn.example. | a.cw CNAME ns1.cdn.example. | ns1 A 192.0.2.53"},
		{"toshop", "A", "NOERROR | aa | toshop CNAME shop.cdn.example. | shop A 192.0.2.1"},
		{"toshop", "MX", "NOERROR | aa | toshop CNAME shop.cdn.example. | +SOA"},
		{"tohalf", "A", "NOERROR | aa | tohalf CNAME half.cdn.example. | half A 192.0.2.1"},
		{"tohalf", "AAAA", "NOERROR | aa | tohalf CNAME half.cdn.example. | +SOA"},
		{"half", "AAAA", "NOERROR | aa | +SOA"},
		{"totenant", "A", "NOERROR | aa | totenant CNAME Acme.tenants.cdn.example. | Acme.tenants A 192.0.2.1"},
		{"x.tw", "A", "NOERROR | aa | x.tw CNAME shop.cdn.example. | shop A 192.0.2.1"},
		{"toapex", "MX", "NOERROR | aa | toapex CNAME cdn.example. | cdn.example. MX 10 mail.example.org."},
		{"toapex", "A", "NOERROR | aa | toapex CNAME cdn.example. | cdn.example. A 192.0.2.1"},
		{"toapex", "TXT", "NOERROR | aa | toapex CNAME cdn.example. | +SOA"},
	}
	for _, tt := range tests {
		t.Run(tt.name+"/"+tt.qtype, func(t *testing.T) {
			if got := askView(t, v, tt.name+".cdn.example", tt.qtype, inGermany); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
	if got := askView(t, v, "tome.cdn.example", "TXT", inGermany); !strings.Contains(got, "| tome CNAME whoami.cdn.example. | whoami TXT \"resolver=203.0.113.9\"") {
		t.Errorf("alias of whoami: got %s", got)
	}
	if a, err := v.Answers("totenant.cdn.example"); err != nil || a == nil {
		t.Errorf("service of an alias: got %v, error %v", a, err)
	}
}

func TestLongAliasChainEndsWithItsLastName(t *testing.T) {
	var more strings.Builder
	const length = 40
	for i := range length {
		fmt.Fprintf(&more, "l%d IN CNAME l%d\n", i, i+1)
	}
	fmt.Fprintf(&more, "l%d IN A 192.0.2.7\n", length)
	v := aliasView(t, more.String())
	got := askView(t, v, "l0.cdn.example", "A", inGermany)
	if n := strings.Count(got, "CNAME"); n != zone.MaxAliases || !strings.HasPrefix(got, "NOERROR | aa | l0 CNAME l1") || strings.Contains(got, "SOA") {
		t.Errorf("got %d records: %s", n, got)
	}
	if got := askView(t, v, "l30.cdn.example", "A", inGermany); !strings.HasSuffix(got, "l40 A 192.0.2.7") {
		t.Errorf("got %s", got)
	}
}

// TestNegativeTTLOfService: the zone allows 60 s, the service 20 s.
func TestNegativeTTLOfService(t *testing.T) {
	s := New(Config{})
	s.SetView(aliasView(t, ""))
	for _, tt := range []struct {
		name, qtype string
		want        uint32
	}{
		{"half", "AAAA", 20},   // no address of this family at present
		{"tohalf", "AAAA", 20}, // the same behind an alias
		{"half", "MX", 60},     // independent of health and load
		{"none", "A", 60},
	} {
		for _, edit := range []func(*dns.Msg){nil, ecs("198.51.100.0", 24)} {
			packet, err := message(tt.name+".cdn.example", tt.qtype, edit).Pack()
			if err != nil {
				t.Fatal(err)
			}
			m := new(dns.Msg)
			if err := m.Unpack(s.handle(packet, inGermany, overUDP, nil)); err != nil {
				t.Fatal(err)
			}
			if len(m.Ns) != 1 || m.Ns[0].Header().Ttl != tt.want {
				t.Errorf("%s %s: got %v, want a SOA with TTL %d", tt.name, tt.qtype, m.Ns, tt.want)
			}
		}
	}
}

// TestDSOfChildZoneComesFromParent: both zones are on this server.
func TestDSOfChildZoneComesFromParent(t *testing.T) {
	var zones []ZoneServices
	for _, z := range []zone.Config{
		{Name: "sub.cdn.example", Data: []byte("$TTL 60\n@ SOA ns h 2 2 3 4 5\n@ NS ns\nns A 192.0.2.55\n")},
		{Name: "cdn.example", Data: []byte("$TTL 60\n@ SOA ns1 h 1 2 3 4 5\n@ NS ns1\nns1 A 192.0.2.53\nsub NS ns.sub\nns.sub A 192.0.2.55\n" +
			"sub DS 1 13 2 " + strings.Repeat("0a", 32) + "\nto CNAME sub\n")},
		{Name: "alone.example", Data: []byte("$TTL 60\n@ SOA ns h 3 2 3 4 5\n@ NS ns\nns A 192.0.2.55\n")},
	} {
		built, err := zone.Build(z)
		if err != nil {
			t.Fatal(err)
		}
		zones = append(zones, ZoneServices{Zone: built})
	}
	v := NewView(zones, nil, nil)
	// Compared with BIND 9.18.
	for _, tt := range []struct{ name, qtype, want string }{
		{"sub.cdn.example", "DS", "NOERROR | aa | sub DS 1 13 2 " + strings.Repeat("0A", 32)},
		{"sub.cdn.example", "A", "NOERROR | aa | +SOA"},
		{"ns.sub.cdn.example", "DS", "NOERROR | aa | +SOA"},
		{"to.cdn.example", "DS", "NOERROR | aa | to CNAME sub.cdn.example. | sub DS 1 13 2 " + strings.Repeat("0A", 32)},
		{"alone.example", "DS", "NOERROR | aa | +SOA"}, // the parent zone is elsewhere
	} {
		if got := askView(t, v, tt.name, tt.qtype, inGermany); got != tt.want {
			t.Errorf("%s %s: got %s, want %s", tt.name, tt.qtype, got, tt.want)
		}
	}
}

func TestAliasDoesNotAllocate(t *testing.T) {
	s := New(Config{})
	s.SetView(aliasView(t, ""))
	out := make([]byte, 0, 4096)
	for _, name := range []string{"two", "tocw", "totenant", "todeleg", "tohalf"} {
		packet, _ := message(name+".cdn.example", "A", nil).Pack()
		if n := testing.AllocsPerRun(100, func() { s.handle(packet, inGermany, overUDP, out) }); n != 0 {
			t.Errorf("%s: got %v allocations, want 0", name, n)
		}
	}
}
