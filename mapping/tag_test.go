package mapping

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// TestTags: a tag comes back as its group for two hours, and forged tags are rejected.
func TestTags(t *testing.T) {
	secret := []byte("a secret of the cluster")
	at := time.Unix(1_800_000_000, 0)
	keys := NewTagKeys(secret, at)
	for _, a := range []string{"193.0.2.53", "1.1.1.1", "255.255.255.255", "2001:db8:77::53", "fd00:1:2::3", "2a00::1"} {
		g := GroupOf(netip.MustParseAddr(a))
		tag := keys.Seal(g)
		if got, ok := keys.Open(tag); !ok || got != g {
			t.Errorf("%s: got %s, %v", a, got, ok)
		}
		if got, ok := NewTagKeys(secret, at.Add(TagHour)).Open(tag); !ok || got != g {
			t.Errorf("%s an hour later: got %s, %v", a, got, ok)
		}
		if _, ok := NewTagKeys(secret, at.Add(2*TagHour)).Open(tag); ok {
			t.Errorf("%s: accepted two hours later", a)
		}
		if _, ok := NewTagKeys([]byte("another secret"), at).Open(tag); ok {
			t.Errorf("%s: accepted with another secret", a)
		}
	}
	r := rand.New(rand.NewPCG(1, 1))
	accepted := 0
	for range 1_000_000 {
		if _, ok := keys.Open(r.Uint64()); ok {
			accepted++
		}
	}
	if accepted > 60 { // two keys of 16 bits: some 30 are expected
		t.Errorf("%d of a million random tags are accepted", accepted)
	}
	if _, ok := keys.Open(0); ok {
		t.Error("the zero tag is accepted")
	}
	if n := testing.AllocsPerRun(100, func() { keys.Open(keys.Seal(groupV4 | 5)) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkSealTag(b *testing.B) {
	keys := NewTagKeys([]byte("secret"), time.Unix(0, 0))
	b.ReportAllocs()
	g := groupV4 | 1
	for b.Loop() {
		keys.Seal(g)
	}
}
