package zone

import (
	"fmt"
	"strings"
	"testing"
)

func TestCompareFindsShrunkZonesAndSerials(t *testing.T) {
	file := func(serial uint32, names int) Config {
		var b strings.Builder
		fmt.Fprintf(&b, "$TTL 60\n@ SOA ns1 h %d 2 3 4 5\n@ NS ns1\nns1 A 192.0.2.1\n", serial)
		for i := range names {
			fmt.Fprintf(&b, "n%d A 192.0.2.7\n", i)
		}
		return Config{Name: "cdn.example", File: "cdn.zone", Data: []byte(b.String())}
	}
	const last = 1<<32 - 1
	tests := []struct {
		name      string
		old, next Config
		want      string // warnings and error
	}{
		{"nothing changed", file(7, 39), file(7, 39), ""},
		{"grown", file(7, 39), file(8, 40), ""},
		{"a little smaller", file(7, 39), file(8, 30), ""},
		{"serial stays", file(7, 39), file(7, 38), "cdn.zone: the zone cdn.example changed and its serial 7 did not; raise it, or secondaries keep the old zone"},
		{"serial goes back", file(7, 39), file(6, 40), "cdn.zone: the serial of the zone cdn.example went back from 7 to 6; set it above 7, or secondaries keep the old zone"},
		{"serial passes zero", file(last, 39), file(3, 40), ""},
		{"serial passes zero backwards", file(3, 39), file(last, 40), "cdn.zone: the serial of the zone cdn.example went back from 3 to 4294967295; set it above 3, or secondaries keep the old zone"},
		{"shrunk on purpose", file(7, 39), file(8, 0), "cdn.zone: the zone cdn.example lost 39 of 41 names (serial 8, before 7)"},
		{"shrunk", file(7, 39), file(7, 0), "error: cdn.zone: the zone cdn.example lost 39 of 41 names, and its serial 7 is not higher than 7; set it above 7 to confirm the change"},
		{"shrunk and back", file(7, 39), file(6, 0), "error: cdn.zone: the zone cdn.example lost 39 of 41 names, and its serial 6 is not higher than 7; set it above 7 to confirm the change"},
		{"a small zone shrinks", file(7, 5), file(7, 0), "cdn.zone: the zone cdn.example changed and its serial 7 did not; raise it, or secondaries keep the old zone"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			warnings, err := Compare(tt.old, tt.next)
			got := strings.Join(warnings, "\n")
			if err != nil {
				got = "error: " + err.Error()
			}
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
