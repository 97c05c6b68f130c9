package zone

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"perto/dnsserver/wire"
)

const cdnZone = `
$TTL 3600
@           IN SOA ns1 hostmaster 7 7200 3600 1209600 300
@           IN NS  ns1
@           IN NS  ns2.other.example.
@           IN MX  10 mail
@           IN TXT "v=spf1 -all"
ns1         IN A   192.0.2.53
ns1         IN AAAA 2001:db8::53
mail   60   IN A   192.0.2.25
mail   30   IN A   192.0.2.26
www         IN CNAME shop
far         IN CNAME www.elsewhere.example.
hop         IN CNAME mail
two         IN CNAME hop
*.apps      IN A   192.0.2.80
fixed.apps  IN TXT "here"
a.b.c       IN A   192.0.2.1
_sip._tcp   IN SRV 0 5 5060 mail
sub         IN NS  ns.sub
sub         IN DS  12345 13 2 3A1F0E2D4C5B6A798897A6B5C4D3E2F100112233445566778899AABBCCDDEEFF
ns.deep.sub IN A   192.0.2.54
ns.sub      IN A   192.0.2.55
shop        IN TXT "a service may have other types"
`

func buildCDN(t testing.TB) *Zone {
	t.Helper()
	z, err := Build(Config{
		Name: "cdn.example", File: "cdn.example.zone", Data: []byte(cdnZone),
		Services: []string{"shop.cdn.example", "*.tenants.cdn.example"},
		Hosts:    map[string][]netip.Addr{"gru-1.edge.cdn.example": {netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("2001:db8::9")}},
		HostTTL:  30, Whoami: "whoami.cdn.example",
	})
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// ask looks up a name and reads the resulting response with miekg/dns.
func ask(t testing.TB, z *Zone, name, qtype string) string {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(name), dns.StringToType[qtype])
	m.Id = 0 // the ID rotates addresses
	m.SetEdns0(1232, false)
	packet, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	var q wire.Query
	if v := wire.Parse(packet, &q); v != wire.OK {
		t.Fatalf("%s: verdict %d", name, v)
	}
	var buf [wire.MaxName]byte
	res := z.Find(wire.Lower(&buf, q.Name), q.Type)
	r := wire.Begin(nil, packet, &q, q.UDPLimit())
	for res.Kind == Alias {
		r.AppendAlias(res.Tail, z.ApexLen())
		if res.Target == nil {
			res = Result{Kind: Answer}
			break
		}
		res = z.Find(res.Target, q.Type)
	}
	if res.Tail != nil {
		r.Append(res.Tail, z.ApexLen())
	}
	reply := new(dns.Msg)
	if err := reply.Unpack(r.Finish(0, 0)); err != nil {
		t.Fatalf("%s %s: %v", name, qtype, err)
	}
	out := []string{[]string{"answer", "nodata", "nxdomain", "referral", "alias", "service", "whoami"}[res.Kind]}
	if res.Kind == ToService {
		out[0] += fmt.Sprintf(" %d", res.Service)
	}
	for _, section := range [][]dns.RR{reply.Answer, reply.Ns, reply.Extra} {
		for _, rr := range section {
			if rr.Header().Rrtype != dns.TypeOPT {
				out = append(out, strings.Join(strings.Fields(rr.String()), " "))
			}
		}
	}
	return strings.TrimSpace(strings.Join(out, "\n"))
}

func TestZoneFind(t *testing.T) {
	const soa = "cdn.example. 300 IN SOA ns1.cdn.example. hostmaster.cdn.example. 7 7200 3600 1209600 300"
	const referral = "referral\nsub.cdn.example. 3600 IN NS ns.sub.cdn.example.\nns.sub.cdn.example. 3600 IN A 192.0.2.55"
	tests := []struct{ name, qtype, want string }{
		{"cdn.example", "SOA", "answer\n" + strings.Replace(soa, " 300 IN", " 3600 IN", 1)},
		{"cdn.example", "NS", "answer\ncdn.example. 3600 IN NS ns1.cdn.example.\ncdn.example. 3600 IN NS ns2.other.example."},
		{"cdn.example", "MX", "answer\ncdn.example. 3600 IN MX 10 mail.cdn.example."},
		{"CDN.Example", "TXT", "answer\nCDN.Example. 3600 IN TXT \"v=spf1 -all\""},
		{"cdn.example", "A", "nodata\n" + soa},
		{"mail.cdn.example", "A", "answer\nmail.cdn.example. 30 IN A 192.0.2.25\nmail.cdn.example. 30 IN A 192.0.2.26"},
		{"ns1.cdn.example", "AAAA", "answer\nns1.cdn.example. 3600 IN AAAA 2001:db8::53"},
		{"_sip._tcp.cdn.example", "SRV", "answer\n_sip._tcp.cdn.example. 3600 IN SRV 0 5 5060 mail.cdn.example."},

		{"shop.cdn.example", "A", "service 0"},
		{"shop.cdn.example", "AAAA", "service 0"},
		{"shop.cdn.example", "TXT", "answer\nshop.cdn.example. 3600 IN TXT \"a service may have other types\""},
		{"shop.cdn.example", "MX", "nodata\n" + soa},
		{"acme.tenants.cdn.example", "A", "service 1"},
		{"a.b.tenants.cdn.example", "AAAA", "service 1"},
		{"acme.tenants.cdn.example", "TXT", "nodata\n" + soa},
		{"tenants.cdn.example", "A", "nodata\n" + soa},
		{"www.cdn.example", "A", "service 0\nwww.cdn.example. 3600 IN CNAME shop.cdn.example."},
		{"www.cdn.example", "CNAME", "answer\nwww.cdn.example. 3600 IN CNAME shop.cdn.example."},
		{"www.cdn.example", "TXT", "answer\nwww.cdn.example. 3600 IN CNAME shop.cdn.example.\nshop.cdn.example. 3600 IN TXT \"a service may have other types\""},

		{"far.cdn.example", "A", "answer\nfar.cdn.example. 3600 IN CNAME www.elsewhere.example."},
		{"hop.cdn.example", "A", "answer\nhop.cdn.example. 3600 IN CNAME mail.cdn.example.\nmail.cdn.example. 30 IN A 192.0.2.25\nmail.cdn.example. 30 IN A 192.0.2.26"},
		{"two.cdn.example", "A", "answer\ntwo.cdn.example. 3600 IN CNAME hop.cdn.example.\nhop.cdn.example. 3600 IN CNAME mail.cdn.example.\nmail.cdn.example. 30 IN A 192.0.2.25\nmail.cdn.example. 30 IN A 192.0.2.26"},

		{"x.apps.cdn.example", "A", "answer\nx.apps.cdn.example. 3600 IN A 192.0.2.80"},
		{"x.y.apps.cdn.example", "A", "answer\nx.y.apps.cdn.example. 3600 IN A 192.0.2.80"},
		{"x.apps.cdn.example", "TXT", "nodata\n" + soa},
		{"fixed.apps.cdn.example", "A", "nodata\n" + soa},
		{"x.fixed.apps.cdn.example", "A", "nxdomain\n" + soa},
		{"apps.cdn.example", "A", "nodata\n" + soa},
		{"b.c.cdn.example", "A", "nodata\n" + soa},
		{"x.b.c.cdn.example", "A", "nxdomain\n" + soa},
		{"nothing.cdn.example", "A", "nxdomain\n" + soa},

		{"sub.cdn.example", "A", referral},
		{"x.y.sub.cdn.example", "A", referral},
		{"deep.sub.cdn.example", "A", referral},
		{"ns.sub.cdn.example", "A", referral},
		{"sub.cdn.example", "DS", "answer\nsub.cdn.example. 3600 IN DS 12345 13 2 3A1F0E2D4C5B6A798897A6B5C4D3E2F100112233445566778899AABBCCDDEEFF"},

		{"gru-1.edge.cdn.example", "A", "answer\ngru-1.edge.cdn.example. 30 IN A 192.0.2.9"},
		{"gru-1.edge.cdn.example", "AAAA", "answer\ngru-1.edge.cdn.example. 30 IN AAAA 2001:db8::9"},
		{"edge.cdn.example", "A", "nodata\n" + soa},
		{"whoami.cdn.example", "TXT", "whoami"},
		{"whoami.cdn.example", "A", "nodata\n" + soa},
		{"cdn.example", "ANY", "answer\ncdn.example. 3600 IN HINFO \"RFC8482\" \"\""},
		{"nothing.cdn.example", "ANY", "nxdomain\n" + soa},
	}
	z := buildCDN(t)
	for _, tt := range tests {
		t.Run(tt.name+"/"+tt.qtype, func(t *testing.T) {
			if got := ask(t, z, tt.name, tt.qtype); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func TestRootZoneDelegates(t *testing.T) {
	z, err := Build(Config{Name: "", File: "root.zone", Data: []byte(`
. 86400 IN SOA a.root. hostmaster.root. 1 2 3 4 5
. 86400 IN NS a.root.
a.root. 86400 IN A 192.0.2.1
cdn.example. 86400 IN NS ns1.cdn.example.
ns1.cdn.example. 86400 IN A 192.0.2.53
`)})
	if err != nil {
		t.Fatal(err)
	}
	want := "referral\ncdn.example. 86400 IN NS ns1.cdn.example.\nns1.cdn.example. 86400 IN A 192.0.2.53"
	if got := ask(t, z, "shop.cdn.example", "A"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := ask(t, z, "example", "A"); !strings.HasPrefix(got, "nodata") {
		t.Errorf("empty non-terminal: got %s", got)
	}
	if got := ask(t, z, "test", "A"); !strings.HasPrefix(got, "nxdomain\n. 5 IN SOA") {
		t.Errorf("got %s", got)
	}
}

func TestBuildReportsMistakes(t *testing.T) {
	const head = "@ 60 IN SOA ns1 h 1 2 3 4 5\n@ 60 IN NS ns1\nns1 60 IN A 192.0.2.1\n"
	tests := []struct {
		name, data string
		services   []string
		want       []string
	}{
		{"empty", "", nil, []string{"needs one SOA record and has 0", "has no NS record"}},
		{"two SOA", head + "@ 60 IN SOA ns1 h 2 2 3 4 5\n", nil, []string{"has 2"}},
		{"syntax with its line", head + "www 60 IN A not-an-address\n", nil, []string{"cdn.example.zone:4: www.cdn.example A: \"not-an-address\" is not valid"}},
		{"outside the zone", head + "www.other.example. 60 IN A 192.0.2.1\n", nil, []string{"cdn.example.zone:4: www.other.example lies outside the zone"}},
		{"CNAME and other data", head + "www 60 IN CNAME x\nwww 60 IN TXT \"y\"\n", nil, []string{"www.cdn.example: a CNAME stands alone"}},
		{"service with a CNAME", head + "shop 60 IN CNAME x\n", []string{"shop.cdn.example"}, []string{"a CNAME stands alone"}},
		{"service with an address", head + "shop 60 IN A 192.0.2.2\n", []string{"shop.cdn.example"}, []string{"shop.cdn.example is a service"}},
		{"service elsewhere", head, []string{"shop.other.example"}, []string{"service shop.other.example lies outside"}},
		{"service in a delegated zone", head + "sub 60 IN NS ns.x.\n", []string{"shop.sub.cdn.example"}, []string{"lies in a delegated zone"}},
		{"name server without address", head + "@ 60 IN NS ns2\n", nil, []string{"ns2.cdn.example: that name server has no address"}},
		{"CNAME loop", head + "a 60 IN CNAME b\nb 60 IN CNAME a\n", nil, []string{"a.cdn.example: the CNAME chain leads back to a.cdn.example"}},
		{"CNAME loop through a wildcard", head + "*.w 60 IN CNAME a.w\n", nil, []string{"*.w.cdn.example: the CNAME chain leads back to a.w.cdn.example"}},
		{"include", head + "$INCLUDE /etc/passwd\n", nil, []string{"cdn.example.zone:4: $INCLUDE is not supported"}},
		{"class CH", head + "www 60 CH TXT \"x\"\n", nil, []string{"only IN is served"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Build(Config{Name: "cdn.example", File: "cdn.example.zone", Data: []byte(tt.data), Services: tt.services})
			if err == nil {
				t.Fatal("was accepted")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want %q in it", err, want)
				}
			}
			if !strings.Contains(err.Error(), "cdn.example.zone") {
				t.Errorf("got %q, want the file's name in it", err)
			}
		})
	}
}

func TestSetMatchesLongestApex(t *testing.T) {
	z := buildCDN(t)
	sub, err := Build(Config{Name: "sub.cdn.example", File: "sub", Data: []byte("@ 60 IN SOA ns h 1 2 3 4 5\n@ 60 IN NS ns.x.\n")})
	if err != nil {
		t.Fatal(err)
	}
	s := NewSet(z, sub)
	for name, want := range map[string]int{"www.cdn.example": 0, "x.sub.cdn.example": 1, "sub.cdn.example": 1, "cdn.example": 0, "example": -1, "": -1} {
		packed, _ := wire.PackName(name)
		if got := s.Match(packed, wire.TypeA); got != want {
			t.Errorf("%q: got zone %d, want %d", name, got, want)
		}
	}
}

func TestFindDoesNotAllocate(t *testing.T) {
	z := buildCDN(t)
	for _, name := range []string{"shop.cdn.example", "x.y.apps.cdn.example", "nothing.cdn.example"} {
		packed, _ := wire.PackName(name)
		if n := testing.AllocsPerRun(100, func() { z.Find(packed, wire.TypeA) }); n != 0 {
			t.Errorf("%s: got %v allocations, want 0", name, n)
		}
	}
}

// FuzzBuild gives broken zone files to Build, which may return an error and must not
// panic. A zone that builds must answer for its apex.
func FuzzBuild(f *testing.F) {
	f.Add(cdnZone)
	f.Add("@ 60 IN SOA ns1 h 1 2 3 4 5\n@ 60 IN NS ns1\nns1 60 IN A 192.0.2.1\n")
	f.Add("$GENERATE 1-9 a$ IN A 192.0.2.$")
	f.Add("* IN CNAME *.x\n")
	f.Fuzz(func(t *testing.T, data string) {
		z, err := Build(Config{Name: "cdn.example", File: "fuzz", Data: []byte(data), Services: []string{"shop.cdn.example"}})
		if err != nil {
			return
		}
		if got := z.Find(z.apex, wire.TypeSOA); got.Kind != Answer {
			t.Fatalf("apex SOA: got kind %d", got.Kind)
		}
	})
}

// BenchmarkBuild builds a zone of 10,000 names.
func BenchmarkBuild(b *testing.B) {
	var data strings.Builder
	data.WriteString("$TTL 60\n" + zoneHead)
	for i := range 10000 {
		fmt.Fprintf(&data, "name%d A 192.0.2.%d\n", i, i%256)
	}
	for b.Loop() {
		if _, err := Build(Config{Name: "cdn.example", File: "cdn.zone", Data: []byte(data.String())}); err != nil {
			b.Fatal(err)
		}
	}
}
