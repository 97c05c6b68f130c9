package lab

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"perto/mapping"
	"perto/node"
)

// TestNameServersLearnAnOffice: an office in Jakarta has its resolver in London. Its
// clients connect to tagged addresses of the edge in London. After a minute the name
// servers have learned where they are, and new answers name Singapore. Nothing else
// changes, and queries with a client subnet have no tags.
func TestNameServersLearnAnOffice(t *testing.T) {
	l := startLab(t, func(c *Config) { c.Tags, c.Crowd = true, true })
	var clients []*Vantage
	for _, v := range l.crowd {
		if v.Kind == ResolverOffice {
			clients = append(clients, v)
		}
	}
	if len(clients) != crowdSize {
		t.Fatalf("the office has %d desks", len(clients))
	}
	serves := func(v *Vantage) string {
		v.Client.Forget()
		f := fetch(t, v, shopURL)
		return string(popOf(&l.World.World, f.Address))
	}
	for _, v := range clients {
		if got := serves(v); got != "lhr" {
			t.Fatalf("%s is served by %s at first", v.Name, got)
		}
	}
	deadline := time.After(2 * time.Minute)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for start := time.Now(); ; {
		l.ResolverOf(clients[0]).Flush()
		served := make(map[string]int)
		for _, v := range clients {
			served[serves(v)]++
		}
		if served["sin"] == len(clients) {
			t.Logf("the whole office is served by Singapore after %s", time.Since(start).Round(time.Second))
			break
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("after two minutes the office is served by %v", served)
		}
	}
	if got := serves(at(t, l, "jakarta-office")); got != "sin" {
		t.Errorf("the vantage of the same office is served by %s", got)
	}
	if got := serves(at(t, l, "london")); got != "lhr" {
		t.Errorf("London is served by %s", got)
	}
	// The resolver asks over IPv4 or IPv6, so one of its groups is learned first.
	n := l.nameServer()
	status := n.Status().(*node.Status)
	i := slices.IndexFunc(status.Learned, func(g mapping.LearnedGroup) bool {
		return g.Used && slices.ContainsFunc(l.ResolverOf(clients[0]).Host.Addrs, func(a netip.Addr) bool { return mapping.GroupOf(a) == g.Group })
	})
	if i < 0 {
		t.Fatalf("the status has %+v", status.Learned)
	}
	x, err := n.Explain("shop.cdn.example", status.Learned[i].Group.Prefix().Addr(), mapping.Subnet{}, 0)
	if err != nil || x.Source != "learned" || x.Learned == nil || x.Learned.Best != "sin" || x.Learned.Geo != "lhr" || x.Learned.Blocks < 8 || x.Answer.PoP != "sin" {
		t.Errorf("explained as %+v (%+v), %v", x, x.Learned, err)
	}
}
