package dnsserver

import (
	"net/netip"

	"perto/dnsserver/wire"
	"perto/dnsserver/zone"
	"perto/mapping"
)

// outcome is the result of a query, and a label of the query counter.
type outcome uint8

const (
	outcomeAnswer outcome = iota
	outcomeService
	outcomeNoData
	outcomeNXDomain
	outcomeReferral
	outcomeWhoami
	outcomeRefused
	outcomeFormErr
	outcomeNotImp
	outcomeBadVers
	outcomeServFail
	outcomeDropped
	outcomeCount
)

var outcomeNames = [outcomeCount]string{"answer", "service", "nodata", "nxdomain", "referral", "whoami",
	"refused", "formerr", "notimp", "badvers", "servfail", "dropped"}

// transport is the transport of a query.
type transport uint8

const (
	overUDP transport = iota
	overTCP
	transportCount
)

var transportNames = [transportCount]string{"udp", "tcp"}

// maxTCP is the largest response over TCP, in bytes (its length has 16 bits).
const maxTCP = 1<<16 - 1

func limit(t transport, q *wire.Query) int {
	if t == overTCP {
		return maxTCP
	}
	return q.UDPLimit()
}

// handle answers one packet from source. It builds the response in out's capacity. An
// empty response means that nothing is sent. All engines call this function. It
// allocates nothing for queries on the fast path.
func (s *Server) handle(packet []byte, source netip.Addr, t transport, out []byte) []byte {
	s.received[t].Inc()
	var q wire.Query
	switch wire.Parse(packet, &q) {
	case wire.OK:
		return s.query(packet, &q, source, t, out)
	case wire.Odd:
		return s.slow(packet, source, t, out)
	case wire.FormErr:
		return s.fail(packet, &q, t, out, wire.RcodeFormErr, outcomeFormErr)
	case wire.NotImp:
		return s.fail(packet, &q, t, out, wire.RcodeNotImp, outcomeNotImp)
	case wire.BadVers:
		return s.fail(packet, &q, t, out, wire.RcodeBadVers, outcomeBadVers)
	default: // wire.Drop
		s.answered[outcomeDropped].Inc()
		return nil
	}
}

func (s *Server) fail(packet []byte, q *wire.Query, t transport, out []byte, rcode int, o outcome) []byte {
	s.answered[o].Inc()
	return wire.AppendError(out, packet, q, rcode, limit(t, q))
}

// query answers a query on the fast path.
func (s *Server) query(packet []byte, q *wire.Query, source netip.Addr, t transport, out []byte) []byte {
	view := s.view.Load()
	if view == nil {
		return s.fail(packet, q, t, out, wire.RcodeServFail, outcomeServFail)
	}
	if q.Class != wire.ClassIN || q.Type == wire.TypeAXFR || q.Type == wire.TypeIXFR {
		return s.fail(packet, q, t, out, wire.RcodeRefused, outcomeRefused)
	}
	var buf [wire.MaxName]byte
	name := wire.Lower(&buf, q.Name)
	i := view.zones.Match(name, q.Type)
	if i < 0 {
		return s.fail(packet, q, t, out, wire.RcodeRefused, outcomeRefused)
	}
	z := view.zones.At(i)
	found := z.Find(name, q.Type)
	r := wire.Begin(out, packet, q, limit(t, q))
	if found.Kind != zone.Referral {
		r.SetAuthoritative()
	}
	if found.Kind == zone.Alias {
		found = follow(&r, z, found, q.Type)
	}
	if found.Tail != nil {
		r.Append(found.Tail, z.ApexLen())
	}
	o, scope := outcomeAnswer, uint8(0)
	switch found.Kind {
	case zone.Answer, zone.Alias:
	case zone.NoData:
		o = outcomeNoData
	case zone.NXDomain: // also for the last name of a chain (RFC 6604, section 3)
		o = outcomeNXDomain
		r.SetRcode(wire.RcodeNXDomain)
	case zone.Referral:
		o = outcomeReferral
	case zone.ToService:
		o = outcomeService
		scope = s.service(&r, view.services[i][found.Service], q, source, z)
	case zone.Whoami:
		o = outcomeWhoami
		scope = s.whoami(&r, q, source, view.services[i])
	}
	s.answered[o].Inc()
	return r.Finish(scope, 0)
}

// follow adds aliases and returns the result for the target of the last one.
func follow(r *wire.Response, z *zone.Zone, found zone.Result, qtype uint16) zone.Result {
	for range zone.MaxAliases {
		r.AppendAlias(found.Tail, z.ApexLen())
		if found.Target == nil {
			break
		}
		if found = z.Find(found.Target, qtype); found.Kind != zone.Alias {
			return found
		}
	}
	return zone.Result{Kind: zone.Answer} // the resolver continues from here
}

// service adds the addresses of a service and returns the scope of the response.
func (s *Server) service(r *wire.Response, svc *service, q *wire.Query, source netip.Addr, z *zone.Zone) uint8 {
	var ecs mapping.Subnet
	if q.HasECS {
		ecs = mapping.Subnet{Addr: q.ECS.Addr, Bits: q.ECS.Source}
	}
	at := svc.answers.Map.Locate(source, ecs)
	family, size := mapping.IPv4, 4
	if q.Type == wire.TypeAAAA {
		family, size = mapping.IPv6, 16
	}
	choice, ordered := svc.answers.ChooseOrder(family, at.Class, at.Hash)
	if choice < 0 {
		// NODATA, also behind aliases (RFC 2308, section 2.2). It changes with the
		// addresses, so resolvers must not keep it longer than an address record.
		r.AppendNegative(z.Negative(), z.ApexLen(), svc.ttl)
		return at.Scope
	}
	set := &svc.sets[choice]
	rdata := set.rdata
	var buf [maxTagged * 16]byte
	// With a client subnet, the answer is for one client network, and no group is learned.
	if set.tagged != nil && !at.ByECS {
		if keys := s.tagKeys.Load(); keys != nil {
			rdata = set.withTags(buf[:], keys, source)
		}
	}
	r.AppendAddresses(q.Type, set.ttl, rdata, size, !ordered)
	return at.Scope
}
