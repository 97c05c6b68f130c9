package dnsserver

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"perto"
	"perto/dnsserver/wire"
	"perto/dnsserver/zone"
	"perto/geodata"
	"perto/internal/netx"
	"perto/mapping"
	"perto/replicas"
)

const testZone = `
$TTL 3600
@    IN SOA ns1 h 1 2 3 4 60
@    IN NS ns1
ns1  IN A 192.0.2.53
www  IN CNAME shop
txt  IN TXT "hello"
big  IN TXT "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
big  IN TXT "1123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
big  IN TXT "2123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
sub  IN NS ns.elsewhere.example.
`

// testView has one service with a PoP in São Paulo and one in Frankfurt. Only the first
// has IPv6.
func testView(t testing.TB) *View {
	t.Helper()
	z, err := zone.Build(zone.Config{Name: "cdn.example", File: "test.zone", Data: []byte(testZone),
		Services: []string{"shop.cdn.example"}, Whoami: "whoami.cdn.example"})
	if err != nil {
		t.Fatal(err)
	}
	return NewView([]ZoneServices{{Zone: z, Services: []*mapping.Answers{bothPoPs()}}}, nil, nil)
}

// The answers of testView's service, and the same with one PoP. Both are immutable and
// made once, because building the world map is slow under the race detector.
var (
	bothPoPs = sync.OnceValue(func() *mapping.Answers { return decide() })
	onlyFra  = sync.OnceValue(func() *mapping.Answers { return decide("fra") })
)

// testGeo is a world map in which the documentation networks have places, so that tests
// do not depend on data.
var testGeo = sync.OnceValue(func() *geodata.Map {
	return must(must(geodata.World()).WithOverrides([]geodata.Override{
		{Prefix: netip.MustParsePrefix("198.51.100.0/24"), Place: perto.Place{Country: "BR", Lat: -23.5, Lon: -46.6}},
		{Prefix: netip.MustParsePrefix("203.0.113.0/24"), Place: perto.Place{Country: "DE", Lat: 50.1, Lon: 8.7}},
	}))
})

func decide(pops ...perto.PoP) *mapping.Answers {
	sites := []replicas.Site{{Name: "fra", Place: perto.Place{Lat: 50.11, Lon: 8.68}}, {Name: "gru", Place: perto.Place{Lat: -23.55, Lon: -46.63}}}
	fleet := &replicas.Fleet{Sites: sites, Members: []replicas.Member{
		{Declared: replicas.Declared{Name: "fra-1", PoP: "fra", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}},
		{Declared: replicas.Declared{Name: "gru-1", PoP: "gru", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("2001:db8::2")}}},
	}}
	p := &mapping.Policy{Service: "shop.cdn.example", PoPs: pops, Steps: must(mapping.ParseSteps([]string{"up", "nearest"})),
		Answers: 2, TTL: 20 * time.Second, TTLMin: 5 * time.Second}
	return mapping.Decide(must(mapping.NewMap(testGeo(), sites, p)), p, fleet, nil)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

var (
	inBrazil  = netip.MustParseAddr("198.51.100.9")
	inGermany = netip.MustParseAddr("203.0.113.9")
)

func message(name, qtype string, edit func(*dns.Msg)) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(name), dns.StringToType[qtype])
	m.Id = 77
	if edit != nil {
		edit(m)
	}
	return m
}

func ecs(addr string, bits uint8) func(*dns.Msg) {
	return func(m *dns.Msg) {
		m.SetEdns0(1232, false)
		m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: bits, Address: net.ParseIP(addr)})
	}
}

// brief shows a response in one line: code, flags, answers, scope.
func brief(t testing.TB, packet []byte) string {
	t.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(packet); err != nil {
		t.Fatalf("%v in %x", err, packet)
	}
	out := []string{dns.RcodeToString[m.Rcode]}
	if m.Authoritative {
		out = append(out, "aa")
	}
	if m.Truncated {
		out = append(out, "tc")
	}
	for _, rr := range m.Answer {
		f := strings.Fields(rr.String())
		out = append(out, strings.Join(append([]string{strings.TrimSuffix(f[0], ".cdn.example.")}, f[3:]...), " "))
	}
	for _, rr := range m.Ns {
		out = append(out, "+"+dns.TypeToString[rr.Header().Rrtype])
	}
	if opt := m.IsEdns0(); opt != nil {
		if len(opt.Option) == 0 {
			out = append(out, "opt"+map[bool]string{true: " do"}[opt.Do()])
		}
		for _, o := range opt.Option {
			if e, ok := o.(*dns.EDNS0_SUBNET); ok {
				out = append(out, "ecs "+e.String())
			}
		}
	}
	if tsig := m.IsTsig(); tsig != nil {
		out = append(out, fmt.Sprintf("tsig %s %s %d %d", tsig.Hdr.Name, dns.RcodeToString[int(tsig.Error)], tsig.OrigId, tsig.TimeSigned))
		if tsig.MACSize != 0 {
			out = append(out, "signed")
		}
	}
	return strings.Join(out, " | ")
}

func unknownKey() *dns.TSIG {
	return &dns.TSIG{Hdr: dns.RR_Header{Name: "nokey.", Rrtype: dns.TypeTSIG, Class: dns.ClassANY}, Algorithm: dns.HmacSHA256,
		TimeSigned: 1700000000, Fudge: 300, MACSize: 4, MAC: "01020304", OrigId: 77}
}

func TestHandle(t *testing.T) {
	s := New(Config{Name: "test"})
	s.SetView(testView(t))
	tests := []struct {
		name string
		ask  *dns.Msg
		from netip.Addr
		want string
	}{
		{"service by resolver", message("shop.cdn.example", "A", nil), inBrazil, "NOERROR | aa | shop A 192.0.2.2"},
		{"service from elsewhere", message("shop.cdn.example", "A", nil), inGermany, "NOERROR | aa | shop A 192.0.2.1"},
		{"service by subnet", message("shop.cdn.example", "A", ecs("198.51.100.0", 24)), inGermany, "NOERROR | aa | shop A 192.0.2.2 | ecs 198.51.100.0/24/24"},
		{"opt-out", message("shop.cdn.example", "A", ecs("0.0.0.0", 0)), inGermany, "NOERROR | aa | shop A 192.0.2.1 | ecs 0.0.0.0/0/0"},
		{"AAAA goes where there is IPv6", message("shop.cdn.example", "AAAA", nil), inGermany, "NOERROR | aa | shop AAAA 2001:db8::2"},
		{"alias of a service", message("www.cdn.example", "A", ecs("198.51.100.0", 24)), inGermany, "NOERROR | aa | www CNAME shop.cdn.example. | shop A 192.0.2.2 | ecs 198.51.100.0/24/24"},
		{"static answers do not depend on the client", message("txt.cdn.example", "TXT", ecs("198.51.100.0", 24)), inGermany, `NOERROR | aa | txt TXT "hello" | ecs 198.51.100.0/24/0`},
		{"no such type", message("shop.cdn.example", "MX", nil), inBrazil, "NOERROR | aa | +SOA"},
		{"no such name", message("none.cdn.example", "A", ecs("198.51.100.0", 24)), inBrazil, "NXDOMAIN | aa | +SOA | ecs 198.51.100.0/24/0"},
		{"delegated", message("a.sub.cdn.example", "A", nil), inBrazil, "NOERROR | +NS"},
		{"not ours", message("example.org", "A", nil), inBrazil, "REFUSED"},
		{"class CH", message("version.bind", "TXT", func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }), inBrazil, "REFUSED"},
		{"AXFR", message("cdn.example", "AXFR", nil), inBrazil, "REFUSED"},
		{"too long for plain UDP", message("big.cdn.example", "TXT", nil), inBrazil, "NOERROR | aa | tc"},
		{"EDNS version", message("shop.cdn.example", "A", func(m *dns.Msg) { m.SetEdns0(1232, false); m.IsEdns0().SetVersion(1) }), inBrazil, "BADSIG | opt"}, // 16, which miekg/dns calls by its other name,
		{"UPDATE", message("cdn.example", "SOA", func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }), inBrazil, "NOTIMP"},
		{"UPDATE with EDNS", message("cdn.example", "SOA", func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate; m.SetEdns0(4096, true) }), inBrazil, "NOTIMP | opt do"},
		{"no question", message("", "A", func(m *dns.Msg) { m.Question = nil; m.SetEdns0(4096, false) }), inBrazil, "FORMERR | opt"},
		{"no question, no EDNS", message("", "A", func(m *dns.Msg) { m.Question = nil }), inBrazil, "FORMERR"},
		{"two questions", message("cdn.example", "SOA", func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]); m.SetEdns0(4096, true) }), inBrazil, "FORMERR | opt do"},
		{"two OPT records", message("cdn.example", "SOA", func(m *dns.Msg) { m.SetEdns0(4096, true); m.Extra = append(m.Extra, m.Extra[0]) }), inBrazil, "FORMERR | opt do"},
		{"two OPT records and a stray record", message("cdn.example", "SOA", func(m *dns.Msg) {
			m.SetEdns0(4096, false)
			m.Extra = append(m.Extra, m.Extra[0])
			m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: "x.", Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IPv4(192, 0, 2, 9)}}
		}), inBrazil, "FORMERR"},
		{"OPT in the answer section", message("cdn.example", "SOA", func(m *dns.Msg) { m.SetEdns0(4096, false); m.Answer, m.Extra = m.Extra, nil }), inBrazil, "FORMERR"},
		{"EDNS version and a stray record", message("cdn.example", "SOA", func(m *dns.Msg) {
			m.SetEdns0(4096, false)
			m.IsEdns0().SetVersion(1)
			m.Ns = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: "x.", Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IPv4(192, 0, 2, 9)}}
		}), inBrazil, "BADSIG | opt"},
		{"unknown TSIG key", message("cdn.example", "SOA", func(m *dns.Msg) { m.SetEdns0(4096, false); m.Extra = append(m.Extra, unknownKey()) }), inBrazil, "NOTAUTH | opt | tsig nokey. BADKEY 77 1700000000"},
		{"UPDATE with an unknown TSIG key", message("cdn.example", "SOA", func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate; m.Extra = append(m.Extra, unknownKey()) }), inBrazil, "NOTAUTH | tsig nokey. BADKEY 77 1700000000"},
		{"TSIG before another record", message("cdn.example", "SOA", func(m *dns.Msg) { m.Extra = append(m.Extra, unknownKey()); m.SetEdns0(4096, false) }), inBrazil, "FORMERR | opt"},
		{"IPv4-mapped subnet", message("shop.cdn.example", "A", func(m *dns.Msg) {
			m.SetEdns0(1232, false)
			m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 2, SourceNetmask: 120, Address: net.ParseIP("::ffff:198.51.100.0")}}
		}), inGermany, "NOERROR | aa | shop A 192.0.2.2 | ecs 198.51.100.0/120/120"},
		{"a stray record is left out", message("shop.cdn.example", "A", func(m *dns.Msg) {
			rr, _ := dns.NewRR("x. 1 IN A 192.0.2.9")
			m.Extra = []dns.RR{rr}
		}), inBrazil, "NOERROR | aa | shop A 192.0.2.2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			packet, err := tt.ask.Pack()
			if err != nil {
				t.Fatal(err)
			}
			reply := s.handle(packet, tt.from, overUDP, nil)
			if got := brief(t, reply); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if len(reply) > wire.MaxUDP {
				t.Errorf("%d bytes over UDP", len(reply))
			}
		})
	}
}

func TestHandleWithoutView(t *testing.T) {
	s := New(Config{})
	packet, _ := message("shop.cdn.example", "A", nil).Pack()
	if got := brief(t, s.handle(packet, inBrazil, overUDP, nil)); got != "SERVFAIL" {
		t.Errorf("got %s, want SERVFAIL", got)
	}
	if got := s.handle([]byte("short"), inBrazil, overUDP, nil); len(got) != 0 {
		t.Errorf("answered garbage with %x", got)
	}
}

func TestWhoamiReportsClient(t *testing.T) {
	s := New(Config{Name: "ns1"})
	s.SetView(testView(t))
	packet, _ := message("whoami.cdn.example", "TXT", ecs("198.51.100.0", 24)).Pack()
	got := brief(t, s.handle(packet, inGermany, overUDP, nil))
	for _, want := range []string{"resolver=203.0.113.9", "ecs=198.51.100.0/24", "place=-23.5", "class=", "scope=24", "shop.cdn.example=gru (gru-1)", "server=ns1", "ecs 198.51.100.0/24/24"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in %s", want, got)
		}
	}
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	s := New(Config{})
	s.SetView(testView(t))
	out := make([]byte, 0, 4096)
	for name, m := range map[string]*dns.Msg{
		"service": message("shop.cdn.example", "A", ecs("198.51.100.0", 24)),
		"static":  message("txt.cdn.example", "TXT", nil),
		"nothing": message("none.cdn.example", "A", nil),
	} {
		packet, _ := m.Pack()
		if n := testing.AllocsPerRun(100, func() { s.handle(packet, inGermany, overUDP, out) }); n != 0 {
			t.Errorf("%s: got %v allocations, want 0", name, n)
		}
	}
}

// TestServerOnSockets serves on loopback and queries with miekg/dns over UDP and TCP.
// Close must leave no goroutine behind.
func TestServerOnSockets(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	s := New(Config{Network: &netx.OS{}, Listen: []string{"127.0.0.1:0", "[::1]:0"}, Readers: 2})
	s.SetView(testView(t))
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, addr := range s.Addrs() {
		for _, network := range []string{"udp", "tcp"} {
			c := &dns.Client{Net: network}
			reply, _, err := c.Exchange(message("big.cdn.example", "TXT", nil), addr.String())
			if err != nil || reply.Truncated != (network == "udp") || len(reply.Answer) != map[string]int{"udp": 0, "tcp": 3}[network] {
				t.Errorf("%s %s: got %v, error %v", network, addr, reply, err)
			}
		}
	}
	// Several queries in one connection, sent at once.
	conn, err := net.Dial("tcp", s.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var out []byte
	for i := range 20 {
		packet, _ := message("shop.cdn.example", "A", func(m *dns.Msg) { m.Id = uint16(i) }).Pack()
		out = append(binary.BigEndian.AppendUint16(out, uint16(len(packet))), packet...)
	}
	conn.Write(out)
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	for i := range 20 {
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			t.Fatal(err)
		}
		reply := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(conn, reply); err != nil || binary.BigEndian.Uint16(reply) != uint16(i) {
			t.Fatalf("answer %d: got id %d, error %v", i, binary.BigEndian.Uint16(reply), err)
		}
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func TestBusyPortIsReported(t *testing.T) {
	taken, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	s := New(Config{Network: &netx.OS{}, Listen: []string{"127.0.0.1:0", taken.LocalAddr().String()}})
	err = s.Start(t.Context())
	if err == nil || !strings.Contains(err.Error(), taken.LocalAddr().String()) || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("got %v, want the address and the reason", err)
	}
}

// FuzzHandle gives packets to the whole query path, which must not panic. Each response
// must be readable and within its size limit. A response packet must get none.
func FuzzHandle(f *testing.F) {
	for _, m := range []*dns.Msg{message("shop.cdn.example", "A", ecs("198.51.100.0", 24)), message("www.cdn.example", "AAAA", nil), message("whoami.cdn.example", "TXT", nil),
		message("a.sub.cdn.example", "A", nil), message("cdn.example", "ANY", nil), message("x.cdn.example", "A", func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify })} {
		packet, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packet)
	}
	s := New(Config{})
	s.SetView(testView(f))
	f.Fuzz(func(t *testing.T, packet []byte) {
		reply := s.handle(packet, inGermany, overUDP, nil)
		if len(reply) == 0 {
			return
		}
		if packet[2]&0x80 != 0 {
			t.Fatalf("answered a response")
		}
		if len(reply) > wire.MaxUDP {
			t.Fatalf("%d bytes", len(reply))
		}
		if err := new(dns.Msg).Unpack(reply); err != nil {
			t.Fatalf("%v in %x", err, reply)
		}
	})
}

func BenchmarkHandle(b *testing.B) {
	s := New(Config{})
	s.SetView(testView(b))
	out := make([]byte, 0, 4096)
	for name, m := range map[string]*dns.Msg{
		"service/ecs": message("shop.cdn.example", "A", ecs("198.51.100.0", 24)),
		"service":     message("shop.cdn.example", "A", nil),
		"static":      message("txt.cdn.example", "TXT", nil),
		"nxdomain":    message("none.cdn.example", "A", nil),
	} {
		packet, _ := m.Pack()
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.handle(packet, inGermany, overUDP, out)
			}
		})
	}
}
