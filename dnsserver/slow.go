package dnsserver

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"perto/dnsserver/wire"
	"perto/mapping"
)

// slow answers messages that the fast path does not handle, with miekg/dns: other
// opcodes, signed messages, and records in sections that a query leaves empty.
func (s *Server) slow(packet []byte, source netip.Addr, t transport, out []byte) []byte {
	m := new(dns.Msg)
	if err := m.Unpack(packet); err != nil || misplaced(m) {
		var q wire.Query
		wire.Parse(packet, &q)
		return s.fail(packet, &q, t, out, wire.RcodeFormErr, outcomeFormErr)
	}
	reply := new(dns.Msg)
	switch {
	case m.IsTsig() != nil:
		// The server has no TSIG key, so no signature can be correct.
		s.answered[outcomeRefused].Inc()
		reply.SetRcode(m, dns.RcodeNotAuth)
	case m.Opcode != dns.OpcodeQuery:
		s.answered[outcomeNotImp].Inc()
		reply.SetRcode(m, dns.RcodeNotImplemented)
	default:
		// Records without meaning in a query are dropped, and the rest is answered as
		// usual.
		plain := &dns.Msg{MsgHdr: m.MsgHdr, Question: m.Question}
		if opt := m.IsEdns0(); opt != nil {
			plain.Extra = []dns.RR{opt}
		}
		var q wire.Query
		repacked, err := plain.Pack()
		if err == nil {
			switch wire.Parse(repacked, &q) {
			case wire.OK:
				return s.query(repacked, &q, source, t, out)
			case wire.BadVers:
				return s.fail(repacked, &q, t, out, wire.RcodeBadVers, outcomeBadVers)
			default: // still unusual
			}
		}
		s.answered[outcomeFormErr].Inc()
		reply.SetRcode(m, dns.RcodeFormatError)
	}
	reply.Opcode = m.Opcode
	if opt := m.IsEdns0(); opt != nil {
		reply.SetEdns0(wire.MaxUDP, opt.Do())
	}
	if tsig := m.IsTsig(); tsig != nil {
		reply.Extra = append(reply.Extra, badKey(tsig))
	}
	b, err := reply.Pack()
	if err != nil {
		s.answered[outcomeServFail].Inc()
		return nil
	}
	return append(out[:0], b...)
}

// misplaced reports whether a message breaks the rules of OPT (RFC 6891, section
// 6.1.1: one, in the additional section), of TSIG (RFC 8945, section 5.1: one, the
// last record) or has several questions.
func misplaced(m *dns.Msg) bool {
	if len(m.Question) > 1 || len(m.Question) == 0 && m.Opcode == dns.OpcodeQuery {
		return true
	}
	for _, rr := range slices.Concat(m.Answer, m.Ns) {
		if t := rr.Header().Rrtype; t == dns.TypeOPT || t == dns.TypeTSIG {
			return true
		}
	}
	opts := 0
	for i, rr := range m.Extra {
		switch rr.Header().Rrtype {
		case dns.TypeOPT:
			opts++
		case dns.TypeTSIG:
			if i != len(m.Extra)-1 {
				return true
			}
		}
	}
	return opts > 1
}

// badKey returns the TSIG record for a request with an unknown key. It is not signed,
// since there is no key for it (RFC 8945, sections 5.2.1 and 5.3.2).
func badKey(request *dns.TSIG) *dns.TSIG {
	return &dns.TSIG{Hdr: dns.RR_Header{Name: request.Hdr.Name, Rrtype: dns.TypeTSIG, Class: dns.ClassANY}, Algorithm: request.Algorithm,
		TimeSigned: request.TimeSigned, Fudge: request.Fudge, OrigId: request.OrigId, Error: dns.RcodeBadKey}
}

// whoami adds TXT records with the address of the resolver, the client subnet of the
// query, and the decision for both. It returns the scope of the response.
func (s *Server) whoami(r *wire.Response, q *wire.Query, source netip.Addr, services []*service) uint8 {
	var ecs mapping.Subnet
	lines := []string{"resolver=" + source.Unmap().String()}
	if q.HasECS && q.ECS.Addr.IsValid() {
		ecs = mapping.Subnet{Addr: q.ECS.Addr, Bits: q.ECS.Source}
		lines = append(lines, fmt.Sprintf("ecs=%s/%d", ecs.Addr, ecs.Bits))
	} else {
		lines = append(lines, "ecs=none")
	}
	scope := min(q.ECS.Source, mapping.MaxScopeIPv4)
	if ecs.Addr.Is4In6() {
		scope = q.ECS.Source
	} else if ecs.Addr.Is6() {
		scope = min(q.ECS.Source, mapping.MaxScopeIPv6)
	}
	for _, svc := range services {
		e := svc.answers.Explain(source, ecs, mapping.IPv4)
		lines = append(lines,
			fmt.Sprintf("place=%s", asciiPlace(e.Place.Name, e.Place.Country, e.Place.Lat, e.Place.Lon)),
			fmt.Sprintf("cell=%d class=%d scope=%d", e.Cell, e.Class, e.Scope),
			fmt.Sprintf("%s=%s", e.Service, describeAnswer(e)))
		break // one service is enough to show the map's decision
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

// asciiPlace writes a place in ASCII, because dig prints other bytes as numbers.
func asciiPlace(name, country string, lat, lon float64) string {
	for _, c := range name {
		if c > '~' {
			name = ""
			break
		}
	}
	return strings.TrimSpace(fmt.Sprintf("%.2f,%.2f %s %s", lat, lon, name, country))
}
