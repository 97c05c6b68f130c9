package geodata

import (
	"net/netip"
	"testing"

	"perto"
)

// TestEmbedded checks the examples of the RFCs, and neighbours of each prefix.
func TestEmbedded(t *testing.T) {
	tests := []struct {
		addr, want string
		form       Transition
	}{
		{"192.0.2.1", "192.0.2.1", Native},
		{"::ffff:192.0.2.1", "192.0.2.1", Mapped},
		{"2002:c000:0201::1", "192.0.2.1", SixToFour},
		{"2003:c000:0201::1", "2003:c000:201::1", Native},
		{"64:ff9b::192.0.2.33", "192.0.2.33", NAT64}, // RFC 6052, section 2.4
		{"64:ff9b:1::192.0.2.33", "64:ff9b:1::c000:221", Native},
		{"64:ff9b::1:192.0.2.33", "64:ff9b::1:c000:221", Native},
		{"2001:0:4136:e378:8000:63bf:3fff:fdd2", "192.0.2.45", Teredo},
		{"2001:1:4136:e378:8000:63bf:3fff:fdd2", "2001:1:4136:e378:8000:63bf:3fff:fdd2", Native},
		{"::1", "::1", Native},
		{"fe80::1%eth0", "fe80::1", Native},
	}
	for _, tt := range tests {
		a := netip.MustParseAddr(tt.addr)
		got, form := Embedded(a)
		if got.String() != tt.want || form != tt.form {
			t.Errorf("%s: got %s (%s), want %s (%s)", tt.addr, got, form, tt.want, tt.form)
		}
		if form != Native && !form.Prefix().Contains(a.WithZone("")) && form != Mapped {
			t.Errorf("%s: %s has the prefix %s", tt.addr, form, form.Prefix())
		}
	}
	if a, form := Embedded(netip.Addr{}); a.IsValid() || form != Native {
		t.Errorf("the zero Addr: got %v, %v", a, form)
	}
}

// TestTransitionAddressesAreWhereTheirIPv4Is looks up one client in all forms.
func TestTransitionAddressesAreWhereTheirIPv4Is(t *testing.T) {
	m := loadWorld(t)
	addrs := []string{"2002:c890:f801::1", "2001:0:4136:e378:8000:63bf:376f:07fe", "64:ff9b::c890:f801", "::ffff:200.144.248.1"}
	want := m.LookupPlace(netip.MustParseAddr("200.144.248.1"))
	if want.Name != "São Paulo" {
		t.Fatalf("the client is in %s", want)
	}
	plain := m.Prefix(netip.MustParseAddr("200.144.248.1"))
	for _, s := range addrs {
		a := netip.MustParseAddr(s)
		if got := m.LookupPlace(a); got != want {
			t.Errorf("%s: got %s, want %s", a, got, want)
		}
		p := m.Prefix(a)
		_, form := Embedded(a)
		bits := plain.Bits()
		if form != Mapped {
			bits += int(form.Bits())
		}
		if !p.Contains(a.Unmap()) || p.Bits() != bits {
			t.Errorf("%s: got the network %s, want /%d", a, p, bits)
		}
		if n := testing.AllocsPerRun(100, func() { m.Lookup(a) }); n != 0 {
			t.Errorf("%s: got %v allocations, want 0", a, n)
		}
	}
	if c := m.Lookup(netip.MustParseAddr("64:ff9b:1::c890:f801")); c != 0 {
		t.Errorf("a local-use prefix has cell %d", c)
	}
	for _, p := range []string{"2002:c890::/32", "2001::/32", "64:ff9b::/96"} {
		if _, err := m.WithOverrides([]Override{{Prefix: netip.MustParsePrefix(p), Place: perto.Place{Country: "PT"}}}); err == nil {
			t.Errorf("an override of %s was accepted", p)
		}
	}
}
