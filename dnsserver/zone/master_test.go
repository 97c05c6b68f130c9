package zone

import (
	"fmt"
	"strings"
	"testing"
)

func TestLinesInParenthesesStartInAnyColumn(t *testing.T) {
	tests := []struct{ name, data, ask, qtype, want string }{
		{"TXT", "t 60 IN TXT (\nfoo\nbar\n)\n", "t.cdn.example", "TXT", `answer, TXT "foo" "bar"`},
		{"MX", "m 60 IN MX (\n10\nns1 )\n", "m.cdn.example", "MX", "answer, MX 10 ns1.cdn.example."},
		{"HTTPS", "h 60 IN HTTPS (\n1 .\nalpn=\"h2,h3\"\n)\n", "h.cdn.example", "HTTPS", `answer, HTTPS 1 . alpn="h2,h3"`},
		{"comment without a blank", "m 60 IN MX 10;priority\n", "", "", "cdn.zone:4: m.cdn.example MX: the data has 1 of 2 fields"},
		{"comment without a blank in parentheses", "m 60 IN MX (10;priority\nns1;host\n);end\n", "m.cdn.example", "MX", "answer, MX 10 ns1.cdn.example."},
		{"parentheses without blanks", "m 60 IN MX(10\nns1)\n", "m.cdn.example", "MX", "answer, MX 10 ns1.cdn.example."},
		{"parentheses and semicolons in quotes", `t 60 IN TXT "a;b(c" x\;y\(z`, "t.cdn.example", "TXT", `answer, TXT "a;b(c" "x;y(z"`},
		{"quoted texts without a blank", `t 60 IN TXT "a""b"`, "t.cdn.example", "TXT", `answer, TXT "a" "b"`},
		{"Windows line ends", "t 60 IN TXT (\r\na\r\n)\r\n", "t.cdn.example", "TXT", `answer, TXT "a"`},
		{"owner of the line before", "t 60 IN TXT a\n  60 IN A 192.0.2.7\n", "t.cdn.example", "A", "answer, A 192.0.2.7"},
		{"class before the time to live", "t IN 60 A 192.0.2.7\n", "t.cdn.example", "A", "answer, A 192.0.2.7"},
		{"neither of both", "t A 192.0.2.7\n", "t.cdn.example", "A", "answer, A 192.0.2.7"},
		{"type as a number", "t 60 TYPE1 \\# 4 c0000207\n", "t.cdn.example", "A", "answer, A 192.0.2.7"},
		{"origin", "$ORIGIN sub\nt 60 IN CNAME @\n", "t.sub.cdn.example", "CNAME", "answer, CNAME sub.cdn.example."},
		{"generated", "$TTL 1h\n$GENERATE 1-9 g$ A 192.0.2.$\n", "g7.cdn.example", "A", "answer, A 192.0.2.7"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.ask == "" {
				if got := buildError(t, tt.data); !strings.Contains(got, tt.want) {
					t.Errorf("got %s, want %s", got, tt.want)
				}
				return
			}
			if got := answers(t, build(t, tt.data), tt.ask, tt.qtype); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
	soa := "@ IN SOA ns1 h (\n1;serial\n2\n3\n4\n5)\n@ NS ns1\nns1 A 192.0.2.1\n"
	z, err := Build(Config{Name: "cdn.example", File: "cdn.zone", Data: []byte(soa)})
	if err != nil || z.Serial != 1 {
		t.Errorf("SOA in column 0: got %v, error %v", z, err)
	}
	if got := ask(t, z, "ns1.cdn.example", "A"); got != "answer\nns1.cdn.example. 5 IN A 192.0.2.1" {
		t.Errorf("without any time to live, MINIMUM is it: got %s", got)
	}
}

func TestCutOffRecordIsAMistake(t *testing.T) {
	tests := []struct{ name, data, want string }{
		{"A", "a A", "a.cdn.example A: the data has 0 of 1 fields; the line may be cut off"},
		{"type", "a", "a.cdn.example has no type; the line may be cut off"},
		{"type behind TTL and class", "a 60 IN", "has no type"},
		{"CNAME", "c CNAME", "CNAME: the data has 0 of 1"},
		{"HTTPS", "h HTTPS", "HTTPS: the data has 0 fields and needs at least 2"},
		{"HTTPS priority", "h HTTPS 1", "HTTPS: the data has 1 fields"},
		{"TXT", "t TXT", "TXT: the data has 0 fields"},
		{"MX", "m MX 10", "MX: the data has 1 of 2"},
		{"SRV", "_x._tcp SRV 0 5 5060", "SRV: the data has 3 of 4"},
		{"SOA", "@ SOA ns1 host 1 3600", "SOA: the data has 4 of 7"},
		{"SOA in parentheses", "@ SOA ns1 host ( 1 3600", "the parenthesis is not closed; the file may be cut off"},
		{"quoted text", `t TXT "abc`, "quoted text does not end; the file may be cut off"},
		{"quoted text at the end of a line", "t TXT \"abc\nx A 192.0.2.7", "quoted text does not end on its line"},
		{"DS without digest", "s NS x.example.\ns DS 1 13 2\n", "DS: the data has 3 fields"},
		{"DS with a short digest", "s NS x.example.\ns DS 1 13 2 00112233\n", "DS: the digest has 8 hexadecimal digits; type 2 has 64"},
		{"TLSA", "t TLSA 3 1 1\n", "TLSA: the data has 3 fields"},
		{"TLSA with a short digest", "t TLSA 3 1 1 0011\n", "TLSA: the digest has 4 hexadecimal digits"},
		{"SSHFP with a short digest", "t SSHFP 4 2 0011\n", "SSHFP: the digest has 4 hexadecimal digits"},
		{"HINFO", `h HINFO "PC"`, "HINFO: the data has 1 of 2"},
		{"CAA", "c CAA 0 issue", "CAA: the data has 2 of 3"},
		{"opaque data", "o TYPE65280 \\# 4 0011", `TYPE65280: \# 4 is followed by other than 4 bytes`},
		{"opaque data of a known type", "o A \\# 4 0011", `A: \# 4 is followed by other than 4 bytes`},
		{"escape", `t TXT "\999"`, `the escape \999 is not a byte`},
		{"short escape", `t TXT "\12"`, "is not a byte"},
		{"generated", "$GENERATE 1-9 g$ A", "$GENERATE"},
		{"one field too many", "m MX 10 ns1 ns2", `MX: "ns2" is one field too many`},
		{"unknown type", "m FOO 10", "m.cdn.example has the unknown type FOO"},
		{"a time to live beyond 31 bits", "a 2147483648 A 192.0.2.7", "the time to live 2147483648 is too long"},
		{"no owner", "$ORIGIN", "$ORIGIN takes one name"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, end := range []string{"", "\n", "\nz 60 IN A 192.0.2.9\n"} {
				if end != "" && strings.HasPrefix(tt.want, "quoted text does not end;") {
					continue
				}
				if got := buildError(t, "$TTL 60\n"+tt.data+end); !strings.Contains(got, tt.want) && !strings.Contains(tt.want, "not closed") {
					t.Errorf("end %q: got %s, want %s", end, got, tt.want)
				}
			}
		})
	}
}

func TestGenerate(t *testing.T) {
	// Compared with named-compilezone of BIND 9.18.
	tests := []struct{ line, want string }{
		{"$GENERATE 1-3 g$ A 192.0.2.$", "g1 60 A 192.0.2.1, g2 60 A 192.0.2.2, g3 60 A 192.0.2.3"},
		{"$GENERATE 0-4/2 g${1,3} 5 IN A 192.0.2.${-0}", "g001 5 A 192.0.2.0, g003 5 A 192.0.2.2, g005 5 A 192.0.2.4"},
		{"$GENERATE 10-11 ${0,4,x} TXT ${0,2,o}", `000a 60 TXT "12", 000b 60 TXT "13"`},
		{"$GENERATE 26-26 ${0,1,n} TXT ${0,7,N}", `a.1 60 TXT "A.1.0.0"`},
		{"$GENERATE 1-1 a TXT \\$x", `a 60 TXT "$x"`},
		{"$GENERATE 1-1 a TXT $$x", `a 60 TXT "$x"`},
		{"$GENERATE 1-1 a A", "error"},
		{"$GENERATE 1-1 $$TTL 5 A 192.0.2.1", "error"},
		{"$GENERATE 2-1 a$ A 192.0.2.1", "error"},
		{"$GENERATE 1-2/0 a$ A 192.0.2.1", "error"},
		{"$GENERATE 1-99999999 a$ A 192.0.2.1", "error"},
		{"$GENERATE 1-2 a${0,999999} A 192.0.2.1", "error"},
		{"$GENERATE 1-2 a${-5} A 192.0.2.1", "error"},
		{"$GENERATE 1-2 a${0,1,q} A 192.0.2.1", "error"},
		{"$GENERATE 1-2 a${0 A 192.0.2.1", "error"},
		{"$GENERATE 250-256 a$ A 192.0.2.$", "error"},
	}
	for _, tt := range tests {
		t.Run(tt.line, func(t *testing.T) {
			m := newMaster([]byte("$TTL 60\n"+tt.line), "cdn.example.")
			rrs, _, err := m.next()
			var got []string
			for _, rr := range rrs {
				f := strings.Fields(strings.TrimSpace(rr.String()))
				got = append(got, strings.TrimSuffix(f[0], ".cdn.example.")+" "+f[1]+" "+strings.Join(f[3:], " "))
			}
			if err != nil {
				got = []string{"error"}
			}
			if strings.Join(got, ", ") != tt.want {
				t.Errorf("got %s, error %v; want %s", strings.Join(got, ", "), err, tt.want)
			}
		})
	}
}

func TestEveryMistakeOfAZoneFileIsReported(t *testing.T) {
	got := buildError(t, "$TTL 60\na A 192.0.2\nt TXT (\n\"\\999\"\nb )\nb MX 10\nc A 192.0.2.7\nc CNAME d\nwww.example.org. A 192.0.2.7\n")
	want := `cdn.zone:5: a.cdn.example A: "192.0.2" is not valid (bad A A)
cdn.zone:7: the escape \999 is not a byte: it takes three digits from 000 to 255
cdn.zone:9: b.cdn.example MX: the data has 1 of 2 fields; the line may be cut off
cdn.zone:12: www.example.org lies outside the zone cdn.example
cdn.zone:10: c.cdn.example: a CNAME stands alone (RFC 1034, section 3.6.2)`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	var many strings.Builder
	for range maxErrors + 5 {
		many.WriteString("a 60 A x\n")
	}
	if got := buildError(t, many.String()); !strings.HasSuffix(got, "cdn.zone: and 5 more") {
		t.Errorf("got %s", got)
	}
}

func TestSignedZonesAndDNAMEAreRefused(t *testing.T) {
	const rrsig = "ns1 60 IN RRSIG A 13 3 60 20300101000000 20200101000000 1 cdn.example. AAAA\n"
	tests := []struct{ name, data, want string }{
		{"RRSIG", rrsig, "cdn.zone:4: ns1.cdn.example RRSIG: the zone is signed (1 DNSSEC records) and this version does not serve signatures"},
		{"DNSKEY", "@ 60 IN DNSKEY 257 3 13 AAAA\n", "cdn.example DNSKEY: the zone is signed"},
		{"NSEC", "@ 60 IN NSEC ns1 A\n" + rrsig, "cdn.example NSEC: the zone is signed (2 DNSSEC records)"},
		{"NSEC3", "ABCDEFGH 60 IN NSEC3 1 0 0 - ABCDEFGH A\n", "NSEC3: the zone is signed"},
		{"NSEC3PARAM", "@ 60 IN NSEC3PARAM 1 0 0 -\n", "NSEC3PARAM: the zone is signed"},
		{"DNAME", "d 60 IN DNAME example.org.\n", "cdn.zone:4: d.cdn.example DNAME: this version does not serve DNAME records (1 in the zone); write a CNAME"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := buildError(t, tt.data)
			if !strings.Contains(got, tt.want) || strings.Contains(got, "\n") {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
	// A signed alias is one mistake: the zone is signed. RRSIG and NSEC beside a CNAME
	// are no mistake.
	got := buildError(t, "c 60 IN CNAME ns1\nc 60 IN NSEC ns1 CNAME\n"+rrsig)
	if strings.Contains(got, "stands alone") {
		t.Errorf("got %s", got)
	}
}

func TestRecordSetBeyondAMessageIsRefused(t *testing.T) {
	var data strings.Builder
	for i := range 300 {
		fmt.Fprintf(&data, "t 60 IN TXT %03d%s\n", i, strings.Repeat("x", 240))
	}
	if got := buildError(t, data.String()); !strings.Contains(got, "t.cdn.example TXT: the 300 records take 76800 bytes and a DNS message has room for 65023") {
		t.Errorf("got %s", got)
	}
}

// FuzzMaster reads broken files. Every call returns a record or a mistake, and the file
// ends.
func FuzzMaster(f *testing.F) {
	f.Add(zoneHead)
	f.Add("$TTL 60\na TXT ( \"x\" y;z\n w )\n  MX 10 b\n")
	f.Add("$GENERATE 1-3 a$ 60 IN A 192.0.2.$\n$ORIGIN x\n@ 60 CH TXT a\n")
	f.Add("a 1w HTTPS 1 . alpn=\"h2,h3\" port=443\n\\065 TYPE1 \\# 4 01020304")
	f.Fuzz(func(t *testing.T, data string) {
		m := newMaster([]byte(data), "cdn.example.")
		for range len(data) + 2 {
			rrs, line, err := m.next()
			if line == 0 {
				return
			}
			if err == nil && len(rrs) == 0 {
				t.Fatalf("line %d: neither a record nor a mistake", line)
			}
		}
		t.Fatal("the file does not end")
	})
}
