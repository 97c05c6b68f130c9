package lab

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"perto/lab/access"
)

// nameServer serves the answers of a function on port 53 of a host, with miekg/dns.
func nameServer(t *testing.T, h *Host, answer func(q dns.Question, ecs *dns.EDNS0_SUBNET, m *dns.Msg)) *atomic.Int64 {
	t.Helper()
	var asked atomic.Int64
	p, err := h.ListenPacket(t.Context(), "udp", ":53")
	if err != nil {
		t.Fatal(err)
	}
	srv := &dns.Server{PacketConn: p, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) {
		asked.Add(1)
		m := new(dns.Msg)
		m.SetReply(r)
		m.Authoritative = true
		var ecs *dns.EDNS0_SUBNET
		if opt := r.IsEdns0(); opt != nil {
			m.SetEdns0(1232, false)
			for _, o := range opt.Option {
				if e, ok := o.(*dns.EDNS0_SUBNET); ok {
					echo := *e
					ecs = &echo
					m.IsEdns0().Option = append(m.IsEdns0().Option, ecs)
				}
			}
		}
		answer(r.Question[0], ecs, m)
		w.WriteMsg(m)
	})}
	done := make(chan struct{})
	go func() { defer close(done); srv.ActivateAndServe() }()
	t.Cleanup(func() { p.Close(); <-done })
	return &asked
}

func record(t *testing.T, text string) dns.RR {
	t.Helper()
	rr, err := dns.NewRR(text)
	if err != nil {
		t.Fatal(err)
	}
	return rr
}

// resolverWorld is a root that delegates cdn.example, its name server and a
// resolver, all near each other.
func resolverWorld(t *testing.T, sendECS bool) (r *Resolver, client *Host, rootAsked, cdnAsked *atomic.Int64) {
	t.Helper()
	n := NewInternet(&Paths{Seed: 1})
	t.Cleanup(n.Close)
	at := End{Place: saoPaulo, Site: "one"}
	root := addHost(t, n, HostConfig{Name: "root", Addrs: addrs("198.41.0.4"), End: at})
	ns := addHost(t, n, HostConfig{Name: "ns1", Addrs: addrs("203.0.113.53"), End: at})
	isp := addHost(t, n, HostConfig{Name: "isp", Addrs: addrs("200.144.1.53"), End: at})
	client = addHost(t, n, HostConfig{Name: "client", Addrs: addrs("200.144.248.7"), End: at})

	rootAsked = nameServer(t, root, func(q dns.Question, _ *dns.EDNS0_SUBNET, m *dns.Msg) {
		m.Authoritative = false
		m.Ns = []dns.RR{record(t, "cdn.example. 3600 IN NS ns1.cdn.example.")}
		m.Extra = append(m.Extra, record(t, "ns1.cdn.example. 3600 IN A 203.0.113.53"))
	})
	cdnAsked = nameServer(t, ns, func(q dns.Question, ecs *dns.EDNS0_SUBNET, m *dns.Msg) {
		switch strings.ToLower(q.Name) {
		case "www.cdn.example.":
			m.Answer = []dns.RR{record(t, "www.cdn.example. 60 IN CNAME shop.cdn.example.")}
		case "shop.cdn.example.":
			for i := range 3 {
				m.Answer = append(m.Answer, record(t, fmt.Sprintf("shop.cdn.example. 1 IN A 203.0.113.%d", i+1)))
			}
		case "geo.cdn.example.":
			addr := "192.0.2.99" // for all other clients
			if ecs != nil && ecs.SourceNetmask > 0 {
				ecs.SourceScope = 20
				b := ecs.Address.To4()
				addr = fmt.Sprintf("192.0.2.%d", b[2]>>4)
			}
			m.Answer = []dns.RR{record(t, "geo.cdn.example. 60 IN A "+addr)}
		case "big.cdn.example.":
			m.Truncated = true
		default:
			m.Rcode = dns.RcodeNameError
			m.Ns = []dns.RR{record(t, "cdn.example. 60 IN SOA ns1.cdn.example. h.cdn.example. 1 2 3 4 60")}
		}
	})
	r = &Resolver{&access.Resolver{Station: isp.Station(), Roots: addrs("198.41.0.4"), SendECS: sendECS}, isp}
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r, client, rootAsked, cdnAsked
}

// askFrom sends a query of a client to the resolver, over the lab's network.
func askFrom(t *testing.T, client *Host, name string, edit func(*dns.Msg)) *dns.Msg {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(name), dns.TypeA)
	if edit != nil {
		edit(m)
	}
	c, err := client.DialContext(t.Context(), "udp", "200.144.1.53:53")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	conn := &dns.Conn{Conn: c}
	if err := conn.WriteMsg(m); err != nil {
		t.Fatal(err)
	}
	reply, err := conn.ReadMsg()
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

func dataOfAll(reply *dns.Msg) []string {
	var out []string
	for _, rr := range reply.Answer {
		out = append(out, access.Data(rr))
	}
	return out
}

func TestResolverStartsFromRootAndCaches(t *testing.T) {
	_, client, rootAsked, cdnAsked := resolverWorld(t, false)
	reply := askFrom(t, client, "www.cdn.example", nil)
	got := dataOfAll(reply)
	if len(got) != 4 || got[0] != "shop.cdn.example." || !reply.RecursionAvailable {
		t.Fatalf("got %v, want the alias and three addresses", got)
	}
	if rootAsked.Load() != 1 || cdnAsked.Load() != 2 {
		t.Errorf("asked the root %d times and cdn.example %d times, want 1 and 2", rootAsked.Load(), cdnAsked.Load())
	}
	if askFrom(t, client, "www.cdn.example", nil); cdnAsked.Load() != 2 {
		t.Error("a cached answer was asked for again")
	}
	// The addresses live one second, the alias sixty.
	deadline := time.Now().Add(10 * time.Second)
	for cdnAsked.Load() == 2 && time.Now().Before(deadline) {
		askFrom(t, client, "www.cdn.example", nil)
	}
	if cdnAsked.Load() != 3 || rootAsked.Load() != 1 {
		t.Errorf("after the TTL: asked cdn.example %d times and the root %d times, want 3 and 1", cdnAsked.Load(), rootAsked.Load())
	}
}

func TestResolverRotates(t *testing.T) {
	_, client, _, _ := resolverWorld(t, false)
	first := make(map[string]int)
	for range 40 {
		got := dataOfAll(askFrom(t, client, "shop.cdn.example", nil))
		first[got[0]]++
		slices.Sort(got)
		if len(got) != 3 || got[0] != "203.0.113.1" || got[2] != "203.0.113.3" {
			t.Fatalf("got %v, want all three addresses", got)
		}
	}
	if len(first) != 3 {
		t.Errorf("only %v came first in 40 answers", first)
	}
}

func TestResolverKeepsNegativeAnswers(t *testing.T) {
	_, client, _, cdnAsked := resolverWorld(t, false)
	for range 2 {
		if reply := askFrom(t, client, "no.cdn.example", nil); reply.Rcode != dns.RcodeNameError {
			t.Errorf("got %s, want NXDOMAIN", dns.RcodeToString[reply.Rcode])
		}
	}
	if cdnAsked.Load() != 1 {
		t.Errorf("asked %d times, want once", cdnAsked.Load())
	}
}

func TestResolverHonoursScopes(t *testing.T) {
	_, client, _, cdnAsked := resolverWorld(t, true)
	withSubnet := func(addr string, bits uint8) func(*dns.Msg) {
		return func(m *dns.Msg) {
			m.SetEdns0(1232, false)
			m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_SUBNET{
				Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: bits, Address: netip.MustParseAddr(addr).AsSlice()})
		}
	}
	steps := []struct {
		name      string
		edit      func(*dns.Msg)
		want      string
		wantAsked int64
	}{
		{"the client's own subnet is sent", nil, "192.0.2.15", 1}, // 248 >> 4
		{"the same /20 is answered from the cache", withSubnet("200.144.250.0", 24), "192.0.2.15", 1},
		{"another /20 is asked for", withSubnet("200.144.16.0", 24), "192.0.2.1", 2},
		{"a shorter subnet is not covered by the longer scopes", withSubnet("200.144.0.0", 16), "192.0.2.0", 3},
		{"opting out gets the answer for everybody", withSubnet("0.0.0.0", 0), "192.0.2.99", 4},
	}
	for _, s := range steps {
		got := dataOfAll(askFrom(t, client, "geo.cdn.example", s.edit))
		if len(got) != 1 || got[0] != s.want || cdnAsked.Load() != s.wantAsked {
			t.Errorf("%s: got %v after %d questions, want %s after %d", s.name, got, cdnAsked.Load(), s.want, s.wantAsked)
		}
	}
}

func TestResolverFailsWithoutAnswers(t *testing.T) {
	r, client, _, _ := resolverWorld(t, false)
	r.Host.net.Host("ns1").Reset() // the port is closed: refused at once
	if reply := askFrom(t, client, "shop.cdn.example", nil); reply.Rcode != dns.RcodeServerFailure {
		t.Errorf("got %s, want SERVFAIL", dns.RcodeToString[reply.Rcode])
	}
}

func TestResolverReportsHops(t *testing.T) {
	r, client, _, _ := resolverWorld(t, true)
	var hops []access.Hop
	m := new(dns.Msg)
	m.SetQuestion("shop.cdn.example.", dns.TypeA)
	r.Resolve(t.Context(), m, client.Addrs[0], func(h access.Hop) { hops = append(hops, h) })
	var got []string
	for _, h := range hops {
		got = append(got, fmt.Sprintf("%s -> %s %s %s %s: %s", h.From, h.To, h.Name, h.Type, h.ECS, h.Result))
	}
	want := []string{
		"isp -> root shop.cdn.example. A 200.144.248.0/24: ask the name servers of cdn.example",
		"isp -> ns1 shop.cdn.example. A 200.144.248.0/24: A 203.0.113.1, A 203.0.113.2, A 203.0.113.3",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
