package main

import (
	"net/netip"
	"slices"
	"testing"

	"perto/config"
)

func TestPoPsAreRegions(t *testing.T) {
	r := regionOf(&config.PoP{Name: "gru", Edges: []config.Edge{
		{Addresses: []netip.Addr{netip.MustParseAddr("198.18.1.10"), netip.MustParseAddr("2001:db8:1::10")}},
		{Addresses: []netip.Addr{netip.MustParseAddr("198.18.1.11"), netip.MustParseAddr("198.18.4.11")}},
	}})
	want := []netip.Prefix{netip.MustParsePrefix("198.18.1.0/24"), netip.MustParsePrefix("2001:db8:1::/64"), netip.MustParsePrefix("198.18.4.0/24")}
	if r.Name != "gru" || !slices.Equal(r.Prefixes, want) {
		t.Errorf("got %+v", r)
	}
}

func TestRateRoundTrip(t *testing.T) {
	for n, want := range map[uint64]string{0: "no limit", 1000: "1kbps", 56_600: "56.6kbps", 20_000_000: "20Mbps", 2_500_000_000: "2.5Gbps"} {
		if got := rate(n); got != want {
			t.Errorf("%d bit/s is %q, want %q", n, got, want)
		} else if back, err := config.ParseRate(got); n > 0 && (err != nil || back != n) {
			t.Errorf("%q is read as %d, %v", got, back, err)
		}
	}
}
