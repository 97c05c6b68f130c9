package dnsserver

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/miekg/dns"

	"perto/dnsserver/wire"
	"perto/mapping"
)

// slow answers what the fast path finds odd, with miekg/dns: other opcodes,
// signed messages, records where a query has none.
func (s *Server) slow(packet []byte, source netip.Addr, t transport, out []byte) []byte {
	m := new(dns.Msg)
	if err := m.Unpack(packet); err != nil || len(m.Question) > 1 {
		var q wire.Query
		wire.Parse(packet, &q)
		return s.fail(packet, &q, t, out, wire.RcodeFormErr, outcomeFormErr)
	}
	reply := new(dns.Msg)
	switch {
	case m.Opcode != dns.OpcodeQuery:
		s.answered[outcomeNotImp].Inc()
		reply.SetRcode(m, dns.RcodeNotImplemented)
	case m.IsTsig() != nil:
		// No key is known here, so the signature cannot be right (RFC 8945,
		// section 5.2.1): NOTAUTH.
		s.answered[outcomeRefused].Inc()
		reply.SetRcode(m, dns.RcodeNotAuth)
	case len(m.Question) == 0:
		s.answered[outcomeFormErr].Inc()
		reply.SetRcode(m, dns.RcodeFormatError)
	default:
		// Records that mean nothing in a query are left out, and the rest is
		// answered as usual.
		plain := &dns.Msg{MsgHdr: m.MsgHdr, Question: m.Question}
		if opt := m.IsEdns0(); opt != nil {
			plain.Extra = []dns.RR{opt}
		}
		repacked, err := plain.Pack()
		var q wire.Query
		if err != nil || wire.Parse(repacked, &q) != wire.OK {
			s.answered[outcomeFormErr].Inc()
			reply.SetRcode(m, dns.RcodeFormatError)
			break
		}
		return s.query(repacked, &q, source, t, out)
	}
	reply.Opcode = m.Opcode
	b, err := reply.Pack()
	if err != nil {
		s.answered[outcomeServFail].Inc()
		return nil
	}
	return append(out[:0], b...)
}

// whoami adds TXT records with what the server sees of the client: the way to find
// out which resolver a client really uses, and which subnet the resolver sends. It
// returns the scope of the response.
func (s *Server) whoami(r *wire.Response, q *wire.Query, source netip.Addr, services []*service) uint8 {
	var ecs mapping.Subnet
	lines := []string{"resolver=" + source.Unmap().String()}
	if q.HasECS && q.ECS.Addr.IsValid() {
		ecs = mapping.Subnet{Addr: q.ECS.Addr, Bits: q.ECS.Source}
		lines = append(lines, fmt.Sprintf("ecs=%s/%d", ecs.Addr, ecs.Bits))
	} else {
		lines = append(lines, "ecs=none")
	}
	scope := min(q.ECS.Source, 24)
	if ecs.Addr.Is6() {
		scope = min(q.ECS.Source, 56)
	}
	for _, svc := range services {
		e := svc.answers.Explain(source, ecs, mapping.IPv4)
		lines = append(lines,
			fmt.Sprintf("place=%s", asciiPlace(e.Place.Name, e.Place.Country, e.Place.Lat, e.Place.Lon)),
			fmt.Sprintf("cell=%d class=%d scope=%d", e.Cell, e.Class, e.Scope),
			fmt.Sprintf("%s=%s", e.Service, describeAnswer(e)))
		break // one service is enough to see the map at work
	}
	if s.cfg.Name != "" {
		lines = append(lines, "server="+s.cfg.Name)
	}
	for _, line := range lines {
		r.AppendText(0, line)
	}
	return scope
}

func describeAnswer(e *mapping.Explanation) string {
	if e.Answer == nil {
		return "none"
	}
	var names []string
	for _, r := range e.Answer.Replicas {
		names = append(names, string(r))
	}
	return fmt.Sprintf("%s (%s)", e.Answer.PoP, strings.Join(names, " "))
}

// asciiPlace writes a place for dig, which shows other bytes as numbers.
func asciiPlace(name, country string, lat, lon float64) string {
	for _, c := range name {
		if c > '~' {
			name = ""
			break
		}
	}
	return strings.TrimSpace(fmt.Sprintf("%.2f,%.2f %s %s", lat, lon, name, country))
}
