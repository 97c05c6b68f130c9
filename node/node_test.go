package node

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"perto"
	"perto/config"
	"perto/geodata"
	"perto/internal/netx"
	"perto/mapping"
	"perto/replicas"
)

var world = sync.OnceValues(geodata.World)

// testConfig is a node with all roles, on ports that the system chooses.
func testConfig(t *testing.T, edit func(src string) string) Config {
	t.Helper()
	src := `
node "one" {
  roles     = ["dns", "edge"]
  dns       = ["127.0.0.1:0"]
  http      = ["127.0.0.1:0"]
  heartbeat = "127.0.0.1:0"
}
pop "here" {
  place = "38.7,-9.1"
  edge "one" { addresses = ["127.0.0.1"] }
}
pop "there" {
  place = "-23.5,-46.6"
  edge "two" { addresses = ["127.0.0.2"] }
}
zone "cdn.example" { file = "cdn.zone" }
service "shop.cdn.example" {
  aliases = ["www.shop.example"]
  origin "http://127.0.0.1:1" {}
}
`
	// The configuration names the heartbeat port, so it must be a real one.
	p, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	src = strings.Replace(src, `heartbeat = "127.0.0.1:0"`, `heartbeat = "`+p.LocalAddr().String()+`"`, 1)
	p.Close()
	if edit != nil {
		src = edit(src)
	}
	place := func(query string) (perto.Place, error) {
		var c geodata.Cities
		return c.FindCity(query)
	}
	cfg, err := config.Parse([]byte(src), "test.hcl", place, func(string) ([]byte, error) {
		return []byte("$TTL 60\n@ IN SOA ns1 h 1 2 3 4 5\n@ IN NS ns1\nns1 IN A 127.0.0.1\n"), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	geo, err := world()
	if err != nil {
		t.Fatal(err)
	}
	local, _ := cfg.Local("one")
	return Config{Local: *local, World: cfg.World, Network: &netx.OS{}, Geo: geo, Keys: []replicas.Key{replicas.NewKey()}}
}

// TestNodeEndsCompletely starts and stops several nodes in one process, by Close and by
// Kill.
func TestNodeEndsCompletely(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	for i, end := range []func(*Node) error{(*Node).Close, (*Node).Kill} {
		n, err := New(testConfig(t, nil))
		if err != nil {
			t.Fatal(err)
		}
		m, err := New(testConfig(t, nil))
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range []*Node{n, m} {
			if err := x.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		e, err := n.Explain("shop.cdn.example", netip.MustParseAddr("200.144.248.1"), mapping.Subnet{}, mapping.IPv4)
		if err != nil || e.Answer == nil || e.Answer.PoP != "there" {
			t.Errorf("explain: got %+v, error %v", e, err)
		}
		if s := n.status(); s.Edge == nil || !s.Edge.Listening || len(s.Zones) != 1 || len(s.Services) != 1 || len(s.Replicas) != 2 {
			t.Errorf("status: got %+v", s)
		}
		for _, x := range []*Node{n, m} {
			if err := end(x); err != nil {
				t.Errorf("end %d: %v", i, err)
			}
			if err := end(x); err != nil {
				t.Errorf("ending twice: %v", err)
			}
		}
	}
}

func TestFailedStartEndsCompletely(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	first, err := New(testConfig(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	taken := first.DNSAddrs()[0].String()
	second, err := New(testConfig(t, func(src string) string {
		return strings.Replace(src, `dns       = ["127.0.0.1:0"]`, `dns = ["`+taken+`"]`, 1)
	}))
	if err != nil {
		t.Fatal(err)
	}
	err = second.Start(t.Context())
	if e, ok := errors.AsType[*perto.Error](err); !ok || e.Kind != perto.KindUnavailable || !strings.Contains(err.Error(), taken) {
		t.Errorf("busy port: got %v", err)
	}
}

func TestNewRejectsUnsupportedSettings(t *testing.T) {
	tests := []struct {
		name string
		edit func(*config.Zone)
		want string
	}{
		{"signing", func(z *config.Zone) { z.DNSSEC = true }, "does not sign zones"},
		{"signed zone", func(z *config.Zone) {
			z.Data = append(z.Data, "ns1 RRSIG A 13 3 60 20300101000000 20200101000000 1 cdn.example. AAAA\n"...)
		}, "the zone is signed"},
		{"DNAME", func(z *config.Zone) { z.Data = append(z.Data, "d DNAME example.org.\n"...) }, "does not serve DNAME"},
	}
	for _, tt := range tests {
		cfg := testConfig(t, nil)
		tt.edit(&cfg.World.Zones[0])
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
}

// TestAbsentEdgeIsLeftOut: the second edge never runs. Its clients are sent to the first.
func TestAbsentEdgeIsLeftOut(t *testing.T) {
	n, err := New(testConfig(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := n.WaitFleet(ctx, func(f *replicas.Fleet) bool { return f.Member("two").State == replicas.StateDown }); err != nil {
		t.Fatalf("%v: %+v", err, n.Fleet().Members)
	}
	for { // another goroutine publishes the view for this Fleet
		e, err := n.Explain("shop.cdn.example", netip.MustParseAddr("200.144.248.1"), mapping.Subnet{}, mapping.IPv4)
		if err != nil {
			t.Fatal(err)
		}
		if e.Answer.PoP == "here" {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("still %s: %s", e.Answer.PoP, e.Why)
		}
	}
}
