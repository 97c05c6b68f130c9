package zone

import (
	"strings"
	"testing"
)

// zoneHead is the start of a small zone, of three lines.
const zoneHead = "@ 60 IN SOA ns1 h 1 2 3 4 5\n@ 60 IN NS ns1\nns1 60 IN A 192.0.2.1\n"

func build(t testing.TB, data string, services ...string) *Zone {
	t.Helper()
	z, err := Build(Config{Name: "cdn.example", File: "cdn.zone", Data: []byte(zoneHead + data), Services: services})
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// buildError returns the error of a zone that must not load.
func buildError(t testing.TB, data string, services ...string) string {
	t.Helper()
	_, err := Build(Config{Name: "cdn.example", File: "cdn.zone", Data: []byte(zoneHead + data), Services: services})
	if err == nil {
		t.Fatalf("was accepted: %s", data)
	}
	return err.Error()
}

// answers returns the answer section's records without owner, TTL and class.
func answers(t testing.TB, z *Zone, name, qtype string) string {
	t.Helper()
	lines := strings.Split(ask(t, z, name, qtype), "\n")
	out := []string{lines[0]}
	for _, l := range lines[1:] {
		f := strings.Fields(l)
		out = append(out, strings.Join(f[3:], " "))
	}
	return strings.Join(out, ", ")
}

func TestEscapedNamesAreOneName(t *testing.T) {
	tests := []struct{ name, data, ask, qtype, want string }{
		{"decimal escape of a letter", `\065bc 60 IN A 192.0.2.7`, "abc.cdn.example", "A", "answer, A 192.0.2.7"},
		{"record set in two spellings", "dec 60 IN A 192.0.2.7\n\\100ec 60 IN TXT x\n", "dec.cdn.example", "A", "answer, A 192.0.2.7"},
		{"the other type of it", "dec 60 IN A 192.0.2.7\n\\100ec 60 IN TXT x\n", "dec.cdn.example", "TXT", `answer, TXT "x"`},
		{"duplicate in another spelling", "dec 60 IN A 192.0.2.7\n\\100EC 60 IN A 192.0.2.7\n", "dec.cdn.example", "A", "answer, A 192.0.2.7"},
		{"duplicate data in another spelling", "m 60 IN MX 1 ns1\nm 60 IN MX 1 \\110S1\n", "m.cdn.example", "MX", "answer, MX 1 ns1.cdn.example."},
		{"dot inside a label is not a cut", "b 60 IN NS x.example.\na\\.b 60 IN A 192.0.2.7\n", `a\.b.cdn.example`, "A", "answer, A 192.0.2.7"},
		{"name below the dotted label", "b 60 IN NS x.example.\na\\.b 60 IN A 192.0.2.7\n", "a.b.cdn.example", "A", "referral, NS x.example."},
		{"alias to an escaped name", "c 60 IN CNAME \\065bc\nabc 60 IN A 192.0.2.7\n", "c.cdn.example", "A", "answer, CNAME Abc.cdn.example., A 192.0.2.7"},
		{"glue in another spelling", "s 60 IN NS ns.s\n\\110s.s 60 IN A 192.0.2.7\n", "s.cdn.example", "A", "referral, NS ns.s.cdn.example., A 192.0.2.7"},
		{"escaped star is a wildcard", "\\042.w 60 IN A 192.0.2.7\n", "x.w.cdn.example", "A", "answer, A 192.0.2.7"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := answers(t, build(t, tt.data), tt.ask, tt.qtype); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestEscapedNameMatchesService(t *testing.T) {
	got := buildError(t, "sho\\112 60 IN A 192.0.2.7\n", "shop.cdn.example")
	if !strings.Contains(got, "shop.cdn.example is a service") {
		t.Errorf("got %s", got)
	}
}
