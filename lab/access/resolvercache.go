package access

import (
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// resolverCache is the cache of a resolver. It has answers, each for all clients or for
// the clients of one network, and the name servers of zones. The zero value is empty.
type resolverCache struct {
	mu      sync.Mutex
	answers map[question][]cachedAnswer
	zones   map[string]cachedServers
}

type question struct {
	name  string // canonical, with the final dot
	qtype uint16
}

type cachedAnswer struct {
	scope   netip.Prefix // zero for all clients
	records []dns.RR
	rcode   int
	stored  time.Time
	ttl     time.Duration
}

type cachedServers struct {
	addrs   []netip.Addr
	expires time.Time
}

// maxCached bounds the answers for one question, so that small scopes cannot fill the
// memory.
const maxCached = 4096

// get returns the cached records for a client subnet, which is zero when none is sent.
// Of several scopes that contain the client, the longest counts (RFC 7871, section
// 7.3.1).
func (c *resolverCache) get(name string, qtype uint16, client netip.Prefix) ([]dns.RR, int, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	best := -1
	list := c.answers[question{name, qtype}]
	for i := range list {
		a := &list[i]
		if now.Sub(a.stored) >= a.ttl {
			continue
		}
		if a.scope.IsValid() && !(client.IsValid() && a.scope.Bits() <= client.Bits() && a.scope.Contains(client.Addr())) {
			continue
		}
		if best < 0 || a.scope.Bits() > list[best].scope.Bits() {
			best = i
		}
	}
	if best < 0 {
		return nil, 0, false
	}
	a := &list[best]
	age := uint32(now.Sub(a.stored) / time.Second)
	out := make([]dns.RR, len(a.records))
	for i, rr := range a.records {
		out[i] = dns.Copy(rr)
		out[i].Header().Ttl -= min(age, out[i].Header().Ttl)
	}
	return out, a.rcode, true
}

// put caches a reply for the clients of a network.
func (c *resolverCache) put(name string, qtype uint16, scope netip.Prefix, reply *dns.Msg) {
	ttl := uint32(0)
	switch {
	case len(reply.Answer) > 0:
		ttl = reply.Answer[0].Header().Ttl
		for _, rr := range reply.Answer {
			ttl = min(ttl, rr.Header().Ttl)
		}
	default: // RFC 2308, section 5: the SOA has the TTL of negative answers
		for _, rr := range reply.Ns {
			if soa, ok := rr.(*dns.SOA); ok {
				ttl = min(soa.Hdr.Ttl, soa.Minttl)
			}
		}
	}
	if ttl == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.answers == nil {
		c.answers = make(map[question][]cachedAnswer)
	}
	key := question{name, qtype}
	now := time.Now()
	list := c.answers[key][:0:0]
	for _, a := range c.answers[key] {
		if a.scope != scope && now.Sub(a.stored) < a.ttl {
			list = append(list, a)
		}
	}
	if len(list) >= maxCached {
		list = list[1:]
	}
	c.answers[key] = append(list, cachedAnswer{scope: scope, records: reply.Answer, rcode: reply.Rcode, stored: now, ttl: time.Duration(ttl) * time.Second})
}

// putServers caches a delegation.
func (c *resolverCache) putServers(d delegation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.zones == nil {
		c.zones = make(map[string]cachedServers)
	}
	c.zones[d.zone] = cachedServers{d.addrs, time.Now().Add(time.Duration(d.ttl) * time.Second)}
}

// servers returns the cached servers of a zone.
func (c *resolverCache) servers(zone string) []netip.Addr {
	c.mu.Lock()
	defer c.mu.Unlock()
	z, ok := c.zones[zone]
	if !ok || time.Now().After(z.expires) {
		return nil
	}
	return z.addrs
}

func (c *resolverCache) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.answers)
	clear(c.zones)
}
