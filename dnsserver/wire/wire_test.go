package wire

import (
	"bytes"
	"encoding/hex"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

func pack(t testing.TB, m *dns.Msg) []byte {
	t.Helper()
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// query builds a packet with miekg/dns, an independent implementation.
func query(t testing.TB, name string, qtype uint16, edit func(*dns.Msg)) []byte {
	t.Helper()
	m := new(dns.Msg)
	m.Id = 0x1234
	m.Question = []dns.Question{{Name: dns.Fqdn(name), Qtype: qtype, Qclass: dns.ClassINET}}
	if edit != nil {
		edit(m)
	}
	return pack(t, m)
}

func withECS(family uint16, source, scope uint8, addr string) func(*dns.Msg) {
	return func(m *dns.Msg) {
		m.SetEdns0(1232, false)
		m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_SUBNET{
			Code: dns.EDNS0SUBNET, Family: family, SourceNetmask: source, SourceScope: scope, Address: net.ParseIP(addr)})
	}
}

// withOption adds an option with raw bytes, valid or not.
func withOption(code uint16, data string) func(*dns.Msg) {
	raw, err := hex.DecodeString(data)
	return func(m *dns.Msg) {
		if err != nil {
			panic(err)
		}
		m.SetEdns0(1232, false)
		m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_LOCAL{Code: code, Data: raw})
	}
}

func TestParseVerdict(t *testing.T) {
	plain := query(t, "shop.cdn.example", dns.TypeA, nil)
	edit := func(f func(b []byte) []byte) []byte { return f(bytes.Clone(plain)) }
	tests := []struct {
		name   string
		packet []byte
		want   Verdict
	}{
		{"plain", plain, OK},
		{"root", query(t, ".", dns.TypeNS, nil), OK},
		{"EDNS", query(t, "a.example", dns.TypeA, func(m *dns.Msg) { m.SetEdns0(4096, true) }), OK},
		{"ECS IPv4", query(t, "a.example", dns.TypeA, withECS(1, 24, 0, "200.144.248.0")), OK},
		{"ECS IPv6", query(t, "a.example", dns.TypeA, withECS(2, 56, 0, "2001:db8::")), OK},
		{"ECS opt-out", query(t, "a.example", dns.TypeA, withECS(1, 0, 0, "0.0.0.0")), OK},
		{"ECS family 0 without address", query(t, "a.example", dns.TypeA, withOption(8, "00000000")), OK},
		{"ECS scope set", query(t, "a.example", dns.TypeA, withOption(8, "00011808c890f8")), FormErr},
		{"ECS bits beyond the prefix", query(t, "a.example", dns.TypeA, withOption(8, "00011700c890f9")), FormErr},
		{"ECS too few bytes", query(t, "a.example", dns.TypeA, withOption(8, "00011800c890")), FormErr},
		{"ECS too many bytes", query(t, "a.example", dns.TypeA, withOption(8, "00011800c890f800")), FormErr},
		{"ECS prefix longer than an address", query(t, "a.example", dns.TypeA, withOption(8, "00012100c890f80001")), FormErr},
		{"ECS unknown family", query(t, "a.example", dns.TypeA, withOption(8, "00031800c890f8")), FormErr},
		{"ECS cut short", query(t, "a.example", dns.TypeA, withOption(8, "0001")), FormErr},
		{"ECS twice", query(t, "a.example", dns.TypeA, func(m *dns.Msg) {
			withECS(1, 24, 0, "192.0.2.0")(m)
			m.IsEdns0().Option = append(m.IsEdns0().Option, m.IsEdns0().Option[0])
		}), FormErr},
		{"cookie of 7 bytes", query(t, "a.example", dns.TypeA, withOption(10, "01020304050607")), FormErr},
		{"cookie of 8 bytes", query(t, "a.example", dns.TypeA, withOption(10, "0102030405060708")), OK},
		{"EDNS version 1", query(t, "a.example", dns.TypeA, func(m *dns.Msg) { m.SetEdns0(1232, false); m.IsEdns0().SetVersion(1) }), BadVers},
		{"two OPT", query(t, "a.example", dns.TypeA, func(m *dns.Msg) { m.SetEdns0(1232, false); m.Extra = append(m.Extra, m.Extra[0]) }), FormErr},
		{"OPT not of the root", query(t, "a.example", dns.TypeA, func(m *dns.Msg) { m.SetEdns0(1232, false); m.IsEdns0().Hdr.Name = "x." }), FormErr},
		{"another additional record", query(t, "a.example", dns.TypeA, func(m *dns.Msg) { rr, _ := dns.NewRR("x. 0 IN A 192.0.2.1"); m.Extra = []dns.RR{rr} }), Odd},
		{"records in the authority section", query(t, "a.example", dns.TypeIXFR, func(m *dns.Msg) { rr, _ := dns.NewRR("a.example. 0 IN A 192.0.2.1"); m.Ns = []dns.RR{rr} }), Odd},
		{"NOTIFY", query(t, "a.example", dns.TypeSOA, func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify }), Odd},
		{"a response", query(t, "a.example", dns.TypeA, func(m *dns.Msg) { m.Response = true }), Drop},
		{"shorter than a header", plain[:11], Drop},
		{"empty", nil, Drop},
		{"cut in the name", plain[:20], FormErr},
		{"cut in the type", plain[:len(plain)-1], FormErr},
		{"bytes behind", append(bytes.Clone(plain), 0), FormErr},
		{"no question", edit(func(b []byte) []byte { b[5] = 0; return b }), FormErr},
		{"two questions", edit(func(b []byte) []byte { b[5] = 2; return b }), FormErr},
		{"pointer in the question", edit(func(b []byte) []byte { b[12] = 0xc0; b[13] = 12; return b }), FormErr},
		{"label of 64", edit(func(b []byte) []byte { b[12] = 64; return b }), FormErr},
		{"counts lie", edit(func(b []byte) []byte { b[11] = 9; return b }), FormErr},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var q Query
			if got := Parse(tt.packet, &q); got != tt.want {
				t.Errorf("got verdict %d, want %d", got, tt.want)
			}
		})
	}
}

func TestParseFields(t *testing.T) {
	packet := query(t, "WwW.Cdn.Example", dns.TypeAAAA, withECS(1, 20, 0, "200.144.240.0"))
	var q Query
	if v := Parse(packet, &q); v != OK {
		t.Fatalf("got verdict %d, want OK", v)
	}
	if got := NameString(q.Name); got != "WwW.Cdn.Example" {
		t.Errorf("name: got %q, want the asker's case", got)
	}
	if q.Type != TypeAAAA || q.Class != ClassIN || !q.EDNS || q.UDPSize != 1232 || q.DO {
		t.Errorf("got %+v", q)
	}
	if want := (ECS{Family: 1, Source: 20, Addr: netip.MustParseAddr("200.144.240.0")}); q.ECS != want {
		t.Errorf("ECS: got %+v, want %+v", q.ECS, want)
	}
}

// TestResponseReadsBack builds a response with all kinds of content and reads it with
// miekg/dns.
func TestResponseReadsBack(t *testing.T) {
	packet := query(t, "ShOp.cdn.example", dns.TypeA, func(m *dns.Msg) {
		withECS(1, 24, 0, "200.144.248.0")(m)
		m.RecursionDesired = true
		m.IsEdns0().SetDo()
	})
	var q Query
	Parse(packet, &q)
	r := Begin(nil, packet, &q, q.UDPLimit())
	r.SetAuthoritative()
	r.AppendAddresses(TypeA, 20, []byte{192, 0, 2, 1, 192, 0, 2, 2}, 4, false)
	// An NS record of the apex (cdn.example, 13 bytes in wire form) with an owner
	// and target point into the question.
	apexLen := 13
	r.Append(&Tail{
		Bytes:     []byte{0, 0, 0, TypeNS, 0, ClassIN, 0, 0, 0, 60, 0, 6, 3, 'n', 's', '1', 0, 0},
		Authority: 1,
		Pointers:  []uint16{0, 16},
	}, apexLen)
	got := new(dns.Msg)
	if err := got.Unpack(r.Finish(20, 0)); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, rr := range append(got.Answer, got.Ns...) {
		lines = append(lines, strings.ReplaceAll(rr.String(), "\t", " "))
	}
	want := "ShOp.cdn.example. 20 IN A 192.0.2.1\nShOp.cdn.example. 20 IN A 192.0.2.2\ncdn.example. 60 IN NS ns1.cdn.example."
	if strings.Join(lines, "\n") != want {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), want)
	}
	ecs, ok := got.IsEdns0().Option[0].(*dns.EDNS0_SUBNET)
	if !ok || ecs.SourceScope != 20 || ecs.SourceNetmask != 24 || ecs.Address.String() != "200.144.248.0" {
		t.Errorf("ECS: got %v", got.IsEdns0())
	}
	if !got.Response || !got.Authoritative || !got.RecursionDesired || got.RecursionAvailable || !got.IsEdns0().Do() {
		t.Errorf("flags: got %v", got.MsgHdr)
	}
}

func TestResponseThatDoesNotFitIsTruncated(t *testing.T) {
	packet := query(t, "shop.cdn.example", dns.TypeA, nil)
	var q Query
	Parse(packet, &q)
	r := Begin(nil, packet, &q, q.UDPLimit())
	r.AppendAddresses(TypeA, 20, make([]byte, 4*40), 4, false)
	b := r.Finish(0, 0)
	got := new(dns.Msg)
	if err := got.Unpack(b); err != nil {
		t.Fatal(err)
	}
	if !got.Truncated || len(got.Answer) != 0 || len(b) > MaxUDPPlain {
		t.Errorf("got %d records in %d bytes, TC %v; want none, at most 512, true", len(got.Answer), len(b), got.Truncated)
	}
}

func TestAppendErrorBadVers(t *testing.T) {
	packet := query(t, "a.example", dns.TypeA, func(m *dns.Msg) { m.SetEdns0(1232, false); m.IsEdns0().SetVersion(3) })
	var q Query
	Parse(packet, &q)
	got := new(dns.Msg)
	if err := got.Unpack(AppendError(nil, packet, &q, RcodeBadVers, 512)); err != nil {
		t.Fatal(err)
	}
	if got.Rcode != dns.RcodeBadVers {
		t.Errorf("got rcode %d, want BADVERS", got.Rcode)
	}
}

func TestPathDoesNotAllocate(t *testing.T) {
	packet := query(t, "shop.cdn.example", dns.TypeA, withECS(1, 24, 0, "200.144.248.0"))
	buf := make([]byte, 0, 1500)
	rdata := []byte{192, 0, 2, 1, 192, 0, 2, 2}
	var q Query
	if n := testing.AllocsPerRun(100, func() {
		if Parse(packet, &q) != OK {
			t.Fatal("not parsed")
		}
		var lower [MaxName]byte
		Lower(&lower, q.Name)
		r := Begin(buf, packet, &q, q.UDPLimit())
		r.AppendAddresses(TypeA, 20, rdata, 4, false)
		r.Finish(20, 0)
	}); n != 0 {
		t.Errorf("got %v allocations, want 0", n)
	}
}

func TestNames(t *testing.T) {
	for _, name := range []string{"", "example", "www.cdn.example", `a\.b.example`, `tab\009.example`, strings.Repeat("x", 63) + ".example"} {
		packed, err := PackName(name)
		if err != nil {
			t.Errorf("PackName(%q): %v", name, err)
			continue
		}
		if got := NameString(packed); got != name {
			t.Errorf("got %q, want %q", got, name)
		}
		want := make([]byte, 300)
		n, err := dns.PackDomainName(dns.Fqdn(name), want, 0, nil, false)
		if err != nil || !bytes.Equal(packed, want[:n]) {
			t.Errorf("PackName(%q): got %x, want %x (%v)", name, packed, want[:n], err)
		}
	}
	for _, name := range []string{"..", ".example", "a..b", strings.Repeat("x", 64) + ".example", strings.Repeat("x.", 130), `a\`, `a\999`} {
		if packed, err := PackName(name); err == nil {
			t.Errorf("PackName(%q): got %x, want an error", name, packed)
		}
	}
	zone, _ := PackName("cdn.example")
	for name, want := range map[string]bool{"cdn.example": true, "a.b.cdn.example": true, "xcdn.example": false, "example": false, "": false} {
		packed, _ := PackName(name)
		if got := IsSuffix(packed, zone); got != want {
			t.Errorf("IsSuffix(%q, cdn.example): got %v, want %v", name, got, want)
		}
	}
}

// FuzzParse compares Parse with miekg/dns. Both must read each OK query in the same
// way, and Parse must not read out of range.
func FuzzParse(f *testing.F) {
	f.Add(query(f, "shop.cdn.example", dns.TypeA, nil))
	f.Add(query(f, "a.example", dns.TypeAAAA, withECS(1, 24, 0, "200.144.248.0")))
	f.Add(query(f, "a.example", dns.TypeAAAA, withECS(2, 48, 0, "2001:db8::")))
	f.Add(query(f, ".", dns.TypeNS, func(m *dns.Msg) { m.SetEdns0(4096, true) }))
	f.Add(query(f, "a.example", dns.TypeA, withOption(8, "00011808c890f8")))
	f.Add(query(f, "a.example", dns.TypeA, withOption(10, "0102030405060708")))
	f.Fuzz(func(t *testing.T, packet []byte) {
		var q Query
		verdict := Parse(packet, &q)
		if verdict == Drop {
			return
		}
		reply := AppendError(nil, packet, &q, RcodeRefused, 512)
		if len(reply) < HeaderSize || reply[2]&0x80 == 0 || !bytes.Equal(reply[:2], packet[:2]) {
			t.Fatalf("bad reply %x to %x", reply, packet)
		}
		if verdict != OK {
			return
		}
		m := new(dns.Msg)
		if err := m.Unpack(packet); err != nil {
			return // miekg/dns validates more of the options' content than Parse
		}
		want := make([]byte, 300)
		n, err := dns.PackDomainName(m.Question[0].Name, want, 0, nil, false)
		if err != nil || !bytes.Equal(q.Name, want[:n]) || m.Question[0].Qtype != q.Type {
			t.Fatalf("question: got %x %d, want %v", q.Name, q.Type, m.Question[0])
		}
		if opt := m.IsEdns0(); (opt != nil) != q.EDNS || opt != nil && (opt.Do() != q.DO || opt.UDPSize() != q.UDPSize) {
			t.Fatalf("EDNS: got %+v, want %v", q, opt)
		}
		got := new(dns.Msg)
		if err := got.Unpack(reply); err != nil || len(got.Question) != 1 {
			t.Fatalf("reply %x does not read back: %v", reply, err)
		}
	})
}

func BenchmarkParseAndRespond(b *testing.B) {
	packet := query(b, "shop.cdn.example", dns.TypeA, withECS(1, 24, 0, "200.144.248.0"))
	buf := make([]byte, 0, 1500)
	rdata := []byte{192, 0, 2, 1, 192, 0, 2, 2}
	b.ReportAllocs()
	for b.Loop() {
		var q Query
		Parse(packet, &q)
		r := Begin(buf, packet, &q, q.UDPLimit())
		r.AppendAddresses(TypeA, 20, rdata, 4, false)
		r.Finish(20, 0)
	}
}
