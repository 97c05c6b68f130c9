package lab

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"perto/config"
)

// ownWorld is a file for real machines: https at the origin, a data folder, a key, an
// alias in a zone of a customer, two edges of which one has a node block, and a network
// with a configured place.
const ownWorld = `
geodata {
  override "203.0.113.0/24" { place = "Recife, BR" }
}
pop "north" {
  place = "Helsinki, FI"
  edge "north-1" { addresses = ["192.0.2.10", "2001:db8:1::10"] }
}
pop "south" {
  place = "Cape Town, ZA"
  edge "south-1" { addresses = ["192.0.2.74", "2001:db8:2::10"] }
}
node "north-1" {
  roles    = ["dns", "edge"]
  data     = "/nonexistent/perto"
  key      = "cluster.key"
}
zone "near.test" { file = "near.zone" }
service "www.near.test" {
  aliases = ["blog.writer.test", "near.test.mirror.test"]
  origin "https://home.writer.test:8443" {}
}
`

const ownZone = `$TTL 300
@       IN SOA north hostmaster 1 7200 3600 1209600 60
@       IN NS  north
north   IN A    192.0.2.10
north   IN AAAA 2001:db8:1::10
`

// TestOwnWorld starts a configuration of the user.
func TestOwnWorld(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"own.hcl": ownWorld, "near.zone": ownZone} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m, err := maps()
	if err != nil {
		t.Fatal(err)
	}
	world, err := config.Load(filepath.Join(dir, "own.hcl"), m.place)
	if err != nil {
		t.Fatal(err)
	}
	site := startSite(t, "written at home")
	l := startLab(t, func(c *Config) { c.World, c.Origin, c.CacheBytes = world, site, 8<<20 })
	for from, want := range map[string]string{"stockholm": "north-1", "cape-town": "south-1"} {
		for _, name := range []string{"www.near.test", "blog.writer.test", "near.test.mirror.test"} {
			f := fetch(t, at(t, l, from), "http://"+name+"/")
			if f.Server != want || string(f.Body) != "written at home" {
				t.Errorf("%s from %s: got %q from %s, want the site from %s", name, from, f.Body, f.Server, want)
			}
		}
	}
	for _, m := range l.machines {
		if m.local.CacheBytes != 8<<20 {
			t.Errorf("%s has a cache of %d bytes", m.local.Name, m.local.CacheBytes)
		}
	}
	d := door(t, l, "authoritative", "north-1")
	reply, err := dns.Exchange(new(dns.Msg).SetQuestion("www.near.test.", dns.TypeA), d.Addr.String())
	if err != nil || len(reply.Answer) == 0 {
		t.Errorf("through the door: %v, %v", reply, err)
	}
	if got := l.cfg.Geo.LookupPlace(netip.MustParseAddr("203.0.113.9")); got.Name != "Recife" {
		t.Errorf("the override says %s", got)
	}
	if service, name, edge := l.Named(); service != "www.near.test" || name != "blog.writer.test" || edge != "north-1" {
		t.Errorf("names to try: %s, %s, %s", service, name, edge)
	}
	if got := world.World.Services[0].Origins[0].URL; !strings.HasPrefix(got, "https://") {
		t.Errorf("the caller's configuration was changed: %s", got)
	}
}
