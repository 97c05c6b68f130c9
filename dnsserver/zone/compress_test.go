package zone

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"perto/dnsserver/wire"
)

// TestReferralIsCompressed: the names and both address families of 13 name servers fit
// in a response over UDP. The response has 879 bytes (890 in BIND 9.18).
func TestReferralIsCompressed(t *testing.T) {
	var data strings.Builder
	var want []string
	for i := range 13 {
		fmt.Fprintf(&data, "sub 60 IN NS ns%02d.servers.sub\nns%02d.servers.sub 60 IN A 192.0.2.%d\nns%02d.servers.sub 60 IN AAAA 2001:db8::%d\n", i, i, i+1, i, i+1)
		want = append(want, fmt.Sprintf("sub.cdn.example. 60 IN NS ns%02d.servers.sub.cdn.example.", i),
			fmt.Sprintf("ns%02d.servers.sub.cdn.example. 60 IN A 192.0.2.%d", i, i+1), fmt.Sprintf("ns%02d.servers.sub.cdn.example. 60 IN AAAA 2001:db8::%x", i, i+1))
	}
	for i := range want { // zone files write the labels above as decimal escapes
		want[i] = strings.NewReplacer("::a", "::10", "::b", "::11", "::c", "::12", "::d", "::13").Replace(want[i])
	}
	z := build(t, data.String())
	got := strings.Split(ask(t, z, "www.sub.cdn.example", "A"), "\n")[1:]
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	packed, _ := wire.PackName("www.sub.cdn.example")
	if n := len(z.Find(packed, wire.TypeA).Tail.Bytes); n > 850 {
		t.Errorf("the referral takes %d bytes", n)
	}
}

func TestNamesOutsideOfTheZoneAreCompressed(t *testing.T) {
	z := build(t, "m 60 IN MX 1 a.mail.example.org.\nm 60 IN MX 2 b.mail.example.org.\nm 60 IN MX 3 B.Mail.example.org.\nm 60 IN MX 4 c.\n")
	want := "answer, MX 1 a.mail.example.org., MX 2 b.mail.example.org., MX 3 B.Mail.example.org., MX 4 c."
	if got := answers(t, z, "m.cdn.example", "MX"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
