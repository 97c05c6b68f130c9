package lab

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"perto"
	"perto/config"
	"perto/geodata"
	"perto/lab/access"
)

// maps decodes the embedded data once for all tests of the package.
var maps = sync.OnceValues(func() (struct {
	geo   *geodata.Map
	place config.PlaceResolver
}, error) {
	var m struct {
		geo   *geodata.Map
		place config.PlaceResolver
	}
	cities, err := geodata.LoadCities()
	if err != nil {
		return m, err
	}
	m.place = cities.FindCity
	m.geo, err = geodata.World()
	return m, err
})

// startLab starts the demo world on free ports.
func startLab(t *testing.T, edit func(*Config)) *Lab {
	t.Helper()
	m, err := maps()
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Geo: m.geo, Place: m.place, Ports: Ports{Ephemeral: true}}
	if edit != nil {
		edit(&cfg)
	}
	l, err := Up(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return l
}

// shared is one demo world for all tests that do not change it. TestMain stops it.
var shared struct {
	sync.Mutex
	lab *Lab
}

func sharedLab(t testing.TB) *Lab {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.lab != nil {
		return shared.lab
	}
	m, err := maps()
	if err != nil {
		t.Fatal(err)
	}
	l, err := Up(context.Background(), Config{Geo: m.geo, Place: m.place, Ports: Ports{Ephemeral: true}})
	if err != nil {
		t.Fatal(err)
	}
	shared.lab = l
	return l
}

// TestMain fails when goroutines are left after every world is down.
func TestMain(m *testing.M) {
	code := m.Run()
	if shared.lab != nil {
		if err := shared.lab.Close(); err != nil {
			fmt.Println("close the shared world:", err)
			code = 1
		}
	}
	if err := goleak.Find(); err != nil {
		fmt.Println(err)
		code = 1
	}
	os.Exit(code)
}

// TestWorldAddressesAreOnTheMap: every host of the demo world has an IPv4 and an
// IPv6 address that the embedded map places in its city.
func TestWorldAddressesAreOnTheMap(t *testing.T) {
	l := sharedLab(t)
	const cityKm = 60 // the map's precision at p99
	for _, h := range l.Internet.hosts {
		if h.Addr(4) == (netip.Addr{}) || h.Addr(6) == (netip.Addr{}) {
			t.Errorf("%s has not both families: %v", h.Name, h.Addrs)
		}
		for _, a := range h.Addrs {
			got := l.cfg.Geo.LookupPlace(a)
			if km := got.DistanceKm(h.End.Place); km > cityKm || got.Country != h.End.Place.Country {
				t.Errorf("%s in %s: the map places %s in %s, %.0f km away", h.Name, h.End.Place, a, got, km)
			}
		}
	}
	if n := len(l.Internet.hosts); n < 90 {
		t.Errorf("only %d hosts", n)
	}
	countries := make(map[string]bool)
	for _, v := range l.vantages {
		countries[v.Place.Country] = true
	}
	if len(l.vantages) < 24 || len(countries) < 20 {
		t.Errorf("%d vantages in %d countries", len(l.vantages), len(countries))
	}
}

func popOf(w *config.World, a netip.Addr) perto.PoP {
	for _, p := range w.PoPs {
		for _, e := range p.Edges {
			if e.Has(a) {
				return p.Name
			}
		}
	}
	return ""
}

// TestResolverDistance shows the effect of a distant resolver: a client in Jakarta is
// sent to London because its resolver is there.
func TestResolverDistance(t *testing.T) {
	l := sharedLab(t)
	for vantage, want := range map[string]perto.PoP{"jakarta": "sin", "jakarta-office": "lhr", "sao-paulo": "gru", "tokyo": "nrt"} {
		reply, err := l.Dig(t.Context(), vantage, "www.shop.example", "A")
		if err != nil {
			t.Fatal(err)
		}
		last := reply.Answer[len(reply.Answer)-1]
		if got := popOf(&l.World.World, netip.MustParseAddr(last.Data)); got != want || reply.Answer[0].Type != "CNAME" {
			t.Errorf("%s: got %s (%v), want an alias and %s", vantage, got, reply.Answer, want)
		}
	}
	if _, err := l.Dig(t.Context(), "tokio", "www.shop.example", "A"); err == nil || !strings.Contains(err.Error(), "did you mean tokyo?") {
		t.Errorf("unknown vantage: got %v, want a similar name", err)
	}
	if _, err := l.Dig(t.Context(), "tokyo", "www.shop.example", "NONSENSE"); err == nil {
		t.Error("an unknown type was asked for")
	}
}

func door(t *testing.T, l *Lab, kind, to string) *Door {
	t.Helper()
	for _, d := range l.Doors() {
		if d.Kind == kind && d.To == to {
			return d
		}
	}
	t.Fatalf("no %s door to %s", kind, to)
	return nil
}

// TestDigThroughDoors runs the program dig through the doors.
func TestDigThroughDoors(t *testing.T) {
	dig, err := exec.LookPath("dig")
	if err != nil {
		t.Skip("dig is not installed; ./scripts/test installs it")
	}
	l := sharedLab(t)
	run := func(d *Door, args ...string) string {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		all := append([]string{"@127.0.0.1", "-p", fmt.Sprint(d.Addr.Port())}, args...)
		out, err := exec.CommandContext(ctx, dig, all...).CombinedOutput()
		if err != nil {
			t.Fatalf("dig %v: %v: %s", all, err, out)
		}
		return string(out)
	}
	ns1, ns2, office := door(t, l, "authoritative", "ns1"), door(t, l, "authoritative", "ns2"), door(t, l, "resolver", "jakarta-office")
	tests := []struct {
		name string
		out  string
		want []string
	}{
		{"client subnet in São Paulo", run(ns1, "shop.cdn.example", "+subnet=200.144.248.0/24"), []string{"54.20.0.11", "54.20.0.12", "CLIENT-SUBNET: 200.144.248.0/24/"}},
		{"the other server agrees", run(ns2, "shop.cdn.example", "+subnet=200.144.248.0/24"), []string{"54.20.0.11", "54.20.0.12"}},
		{"no subnet: the door's own place", run(ns1, "shop.cdn.example", "+short"), []string{"54.20.0.11"}},
		{"opt-out", run(ns1, "shop.cdn.example", "+subnet=0"), []string{"54.20.0.11", "CLIENT-SUBNET: 0.0.0.0/0/0"}},
		{"over TCP", run(ns1, "shop.cdn.example", "AAAA", "+tcp"), []string{"2a05:e600::11"}},
		{"the office's resolver is in London", run(office, "www.shop.example", "+short"), []string{"shop.cdn.example.", "25.192.0.11"}},
		{"whoami", run(ns1, "whoami.cdn.example", "TXT", "+subnet=200.144.248.0/24"), []string{"resolver=56.124.0.9", "ecs=200.144.248.0/24", "class=", "shop.cdn.example=gru (gru-1 gru-2)", "server=ns1"}},
		{"an edge's own name", run(ns1, "fra-2.edge.cdn.example", "+short"), []string{"91.28.0.12"}},
		{"no such name", run(ns1, "nothing.cdn.example"), []string{"NXDOMAIN", "SOA"}},
		{"not ours", run(ns1, "example.org"), []string{"REFUSED"}},
	}
	for _, tt := range tests {
		for _, want := range tt.want {
			if !strings.Contains(tt.out, want) {
				t.Errorf("%s: %q is missing in\n%s", tt.name, want, tt.out)
			}
		}
	}
}

func TestDoorPlaceMoves(t *testing.T) {
	m, err := maps()
	if err != nil {
		t.Fatal(err)
	}
	tokyo, err := m.place("Tokyo, JP")
	if err != nil {
		t.Fatal(err)
	}
	l := startLab(t, func(c *Config) { c.DoorPlace = tokyo })
	d := door(t, l, "authoritative", "ns1")
	reply, err := dns.Exchange(new(dns.Msg).SetQuestion("shop.cdn.example.", dns.TypeA), d.Addr.String())
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range access.Addresses(reply) {
		if got := popOf(&l.World.World, a); got != "nrt" {
			t.Errorf("from Tokyo: got %s, want nrt", got)
		}
	}
}

// TestGarbageDoesNotHurt sends random bytes to a name server, which must go on serving.
func TestGarbageDoesNotHurt(t *testing.T) {
	l := sharedLab(t)
	c, err := l.doorHost.DialContext(t.Context(), "udp", "32.192.0.53:53")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := range 200 {
		junk := make([]byte, i)
		for k := range junk {
			junk[k] = byte(i*31 + k*17)
		}
		c.Write(junk)
	}
	if _, err := l.Dig(t.Context(), "london", "shop.cdn.example", "A"); err != nil {
		t.Errorf("after the garbage: %v", err)
	}
}

func TestBusyPortsAreReplaced(t *testing.T) {
	l := sharedLab(t)
	taken := l.Doors()[0].Addr
	d, err := openDNSDoor("authoritative", "ns1", int(taken.Port()), l.doorHost, netip.MustParseAddrPort("32.192.0.53:53"))
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	if d.Addr.Port() <= taken.Port() {
		t.Errorf("got port %d beside the taken %d", d.Addr.Port(), taken.Port())
	}
}
