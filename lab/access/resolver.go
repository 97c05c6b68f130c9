package access

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"perto/mapping"
)

// Resolver is a caching DNS resolver of an Internet provider, an enterprise or a public
// service. It starts from the root and follows delegations. It obeys times to live and
// the scopes of client subnets (RFC 7871, section 7.3.1). Like most resolvers, it
// rotates the records of a set in each answer.
type Resolver struct {
	Station *Station
	Roots   []netip.Addr
	SendECS bool // send the client's subnet to name servers (ECS)
	// Listen is its address, "IP:port". "" means port 53 of all addresses.
	Listen string

	cache resolverCache
	conns []net.PacketConn
	tcp   []net.Listener
	stop  context.CancelFunc
	ctx   context.Context
	busy  sync.WaitGroup
}

const (
	maxReferrals   = 12 // delegations followed for one name
	maxAliases     = 10 // CNAMEs followed for one query
	upstreamWait   = 2 * time.Second
	upstreamTries  = 3
	resolverBuffer = 1232 // EDNS size, in bytes
)

// Start opens the resolver's port, for UDP and TCP, and serves until Close.
func (r *Resolver) Start() error {
	r.ctx, r.stop = context.WithCancel(context.Background())
	address := cmp.Or(r.Listen, ":53")
	p, err := r.Station.ListenPacket(r.ctx, "udp", address)
	if err != nil {
		return err
	}
	r.conns = append(r.conns, p)
	l, err := r.Station.Listen(r.ctx, "tcp", address)
	if err != nil {
		p.Close()
		return err
	}
	r.tcp = append(r.tcp, l)
	r.busy.Go(func() { r.servePackets(p) })
	r.busy.Go(func() { r.serveStreams(l) })
	return nil
}

// Close stops the resolver and waits for its goroutines.
func (r *Resolver) Close() {
	if r.stop == nil {
		return
	}
	r.stop()
	for _, c := range r.conns {
		c.Close()
	}
	for _, l := range r.tcp {
		l.Close()
	}
	r.busy.Wait()
}

// Flush empties the cache.
func (r *Resolver) Flush() { r.cache.flush() }

func (r *Resolver) servePackets(p net.PacketConn) {
	buf := make([]byte, 4096)
	for {
		n, from, err := p.ReadFrom(buf)
		if err != nil {
			if r.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		query := new(dns.Msg)
		if query.Unpack(buf[:n]) != nil || query.Response {
			continue
		}
		r.busy.Go(func() {
			reply := r.Resolve(r.ctx, query, addrOf(from), nil)
			size := dns.MinMsgSize
			if opt := query.IsEdns0(); opt != nil {
				size = max(size, min(int(opt.UDPSize()), resolverBuffer))
			}
			reply.Truncate(size)
			if b, err := reply.Pack(); err == nil {
				p.WriteTo(b, from)
			}
		})
	}
}

func (r *Resolver) serveStreams(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			if r.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		r.busy.Go(func() {
			defer c.Close()
			stop := context.AfterFunc(r.ctx, func() { c.Close() })
			defer stop()
			conn := &dns.Conn{Conn: c}
			for {
				c.SetReadDeadline(time.Now().Add(10 * time.Second))
				query, err := conn.ReadMsg()
				if err != nil {
					return
				}
				if conn.WriteMsg(r.Resolve(r.ctx, query, addrOf(c.RemoteAddr()), nil)) != nil {
					return
				}
			}
		})
	}
}

// Hop is one query of a resolver to a name server, for traces.
type Hop struct {
	From, To string // names of hosts
	ToAddr   netip.Addr
	Name     string
	Type     string
	ECS      string // the client subnet in the query, or ""
	Took     time.Duration
	Result   string // the response or the error, as text
}

// Resolve returns the response to a client's query. It calls seen, if it is not nil,
// for each query to a name server.
func (r *Resolver) Resolve(ctx context.Context, query *dns.Msg, client netip.Addr, seen func(Hop)) *dns.Msg {
	reply := new(dns.Msg)
	reply.SetReply(query)
	reply.RecursionAvailable = true
	opt := query.IsEdns0()
	if opt != nil {
		reply.SetEdns0(resolverBuffer, false)
	}
	if len(query.Question) != 1 || query.Opcode != dns.OpcodeQuery {
		reply.Rcode = dns.RcodeFormatError
		return reply
	}
	subnet := r.subnetOf(client, opt)
	answers, rcode, err := r.follow(ctx, query.Question[0], subnet, seen)
	if err != nil {
		reply.Rcode = dns.RcodeServerFailure
		return reply
	}
	reply.Rcode = rcode
	reply.Answer = answers
	return reply
}

// subnetOf returns the client subnet to send. As in public resolvers, a subnet in the
// client's query replaces the client's address. A source prefix length of 0 opts out.
func (r *Resolver) subnetOf(client netip.Addr, opt *dns.OPT) netip.Prefix {
	if !r.SendECS {
		return netip.Prefix{}
	}
	if opt != nil {
		for _, o := range opt.Option {
			if e, ok := o.(*dns.EDNS0_SUBNET); ok {
				if e.SourceNetmask == 0 {
					return netip.Prefix{}
				}
				if a, ok := netip.AddrFromSlice(e.Address); ok {
					return clampSubnet(a.Unmap(), int(e.SourceNetmask))
				}
			}
		}
	}
	return clampSubnet(client.Unmap(), 128)
}

func clampSubnet(a netip.Addr, bits int) netip.Prefix {
	limit := mapping.MaxScopeIPv6
	if a.Is4() {
		limit = mapping.MaxScopeIPv4
	}
	p, _ := a.Prefix(min(bits, limit))
	return p
}

// follow follows aliases until the records of the type are found.
func (r *Resolver) follow(ctx context.Context, q dns.Question, subnet netip.Prefix, seen func(Hop)) ([]dns.RR, int, error) {
	var chain []dns.RR
	name := dns.CanonicalName(q.Name)
	for range maxAliases {
		set, rcode, err := r.lookup(ctx, name, q.Qtype, subnet, seen)
		if err != nil {
			return nil, 0, err
		}
		chain = append(chain, set...)
		next := ""
		for _, rr := range set {
			if c, ok := rr.(*dns.CNAME); ok && q.Qtype != dns.TypeCNAME {
				next = dns.CanonicalName(c.Target)
			} else {
				next = ""
				break
			}
		}
		if next == "" || rcode != dns.RcodeSuccess {
			return chain, rcode, nil
		}
		name = next
	}
	return nil, 0, fmt.Errorf("%s: more than %d aliases", q.Name, maxAliases)
}

// lookup returns one set of records (perhaps with aliases before it) from the
// cache or from the name servers.
func (r *Resolver) lookup(ctx context.Context, name string, qtype uint16, subnet netip.Prefix, seen func(Hop)) ([]dns.RR, int, error) {
	if set, rcode, ok := r.cache.get(name, qtype, subnet); ok {
		return rotate(set), rcode, nil
	}
	servers := r.nearestServers(name)
	for range maxReferrals {
		reply, scope, err := r.askOne(ctx, servers, name, qtype, subnet, seen)
		if err != nil {
			return nil, 0, err
		}
		if referred := referral(reply, name); len(referred.addrs) > 0 || len(referred.names) > 0 {
			if len(referred.addrs) == 0 {
				referred.addrs = r.addressesOf(ctx, referred.names, seen)
			}
			if len(referred.addrs) == 0 {
				return nil, 0, fmt.Errorf("%s: no address of a name server of %s", name, referred.zone)
			}
			r.cache.putServers(referred)
			servers = referred.addrs
			continue
		}
		r.cache.put(name, qtype, scope, reply)
		return rotate(reply.Answer), reply.Rcode, nil
	}
	return nil, 0, fmt.Errorf("%s: more than %d delegations", name, maxReferrals)
}

// nearestServers returns the servers of the closest cached zone above a name, or the
// root servers.
func (r *Resolver) nearestServers(name string) []netip.Addr {
	for labels := dns.SplitDomainName(name); len(labels) > 0; labels = labels[1:] {
		if addrs := r.cache.servers(dns.Fqdn(strings.Join(labels, "."))); len(addrs) > 0 {
			return addrs
		}
	}
	return r.Roots
}

// addressesOf resolves the names of name servers of a referral without addresses.
func (r *Resolver) addressesOf(ctx context.Context, names []string, seen func(Hop)) []netip.Addr {
	var out []netip.Addr
	for _, n := range names {
		set, _, err := r.lookup(ctx, n, dns.TypeA, netip.Prefix{}, seen)
		if err != nil {
			continue
		}
		for _, rr := range set {
			if a, ok := rr.(*dns.A); ok {
				if addr, ok := netip.AddrFromSlice(a.A.To4()); ok {
					out = append(out, addr)
				}
			}
		}
	}
	return out
}

// askOne asks servers in random order until one answers. It asks again when none does.
func (r *Resolver) askOne(ctx context.Context, servers []netip.Addr, name string, qtype uint16, subnet netip.Prefix, seen func(Hop)) (*dns.Msg, netip.Prefix, error) {
	if len(servers) == 0 {
		return nil, netip.Prefix{}, fmt.Errorf("%s: no name server known", name)
	}
	order := slices.Clone(servers)
	rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	order = r.usable(order)
	var last error
	for try := range max(upstreamTries, len(order)) {
		reply, scope, err := r.exchange(ctx, order[try%len(order)], name, qtype, subnet, seen)
		if err == nil && (reply.Rcode == dns.RcodeSuccess || reply.Rcode == dns.RcodeNameError) {
			return reply, scope, nil
		}
		if err == nil {
			err = fmt.Errorf("%s answered %s", order[try%len(order)], dns.RcodeToString[reply.Rcode])
		}
		last = err
		if ctx.Err() != nil {
			break
		}
	}
	return nil, netip.Prefix{}, last
}

// usable drops addresses of a family that the host does not have.
func (r *Resolver) usable(servers []netip.Addr) []netip.Addr {
	has4, has6 := r.Station.Has(4), r.Station.Has(6)
	out := slices.DeleteFunc(slices.Clone(servers), func(a netip.Addr) bool { return a.Is4() && !has4 || a.Is6() && !has6 })
	if len(out) == 0 {
		return servers
	}
	return out
}

// exchange asks one server, and again over TCP when its response is truncated.
func (r *Resolver) exchange(ctx context.Context, server netip.Addr, name string, qtype uint16, subnet netip.Prefix, seen func(Hop)) (*dns.Msg, netip.Prefix, error) {
	m := new(dns.Msg)
	m.SetQuestion(name, qtype)
	m.RecursionDesired = false
	m.SetEdns0(resolverBuffer, false)
	if subnet.IsValid() {
		family := uint16(1)
		if subnet.Addr().Is6() {
			family = 2
		}
		m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_SUBNET{
			Code: dns.EDNS0SUBNET, Family: family, SourceNetmask: uint8(subnet.Bits()), Address: subnet.Addr().AsSlice()})
	}
	start := time.Now()
	reply, err := exchangeOver(ctx, r.Station, "udp", netip.AddrPortFrom(server, 53), m, upstreamWait)
	if err == nil && reply.Truncated {
		reply, err = exchangeOver(ctx, r.Station, "tcp", netip.AddrPortFrom(server, 53), m, upstreamWait)
	}
	if seen != nil {
		seen(r.hop(server, m, reply, err, subnet, time.Since(start)))
	}
	if err != nil {
		return nil, netip.Prefix{}, err
	}
	return reply, scopeOf(reply, subnet), nil
}

// scopeOf returns the network of the clients that may receive a reply. The zero Prefix
// means all clients. A scope longer than the sent subnet counts as that subnet (RFC
// 7871, section 7.3.1).
func scopeOf(reply *dns.Msg, sent netip.Prefix) netip.Prefix {
	opt := reply.IsEdns0()
	if opt == nil || !sent.IsValid() {
		return netip.Prefix{}
	}
	for _, o := range opt.Option {
		if e, ok := o.(*dns.EDNS0_SUBNET); ok && e.SourceScope > 0 {
			p, _ := sent.Addr().Prefix(min(int(e.SourceScope), sent.Bits()))
			return p
		}
	}
	return netip.Prefix{}
}

// hop describes an exchange for a trace.
func (r *Resolver) hop(server netip.Addr, m, reply *dns.Msg, err error, subnet netip.Prefix, took time.Duration) Hop {
	h := Hop{From: r.Station.Name, To: server.String(), ToAddr: server, Name: m.Question[0].Name, Type: dns.TypeToString[m.Question[0].Qtype], Took: took}
	if name := r.Station.nameOf(server); name != "" {
		h.To = name
	}
	if subnet.IsValid() {
		h.ECS = subnet.String()
	}
	switch {
	case err != nil:
		h.Result = err.Error()
	case len(reply.Answer) > 0:
		var parts []string
		for _, rr := range reply.Answer {
			parts = append(parts, dns.TypeToString[rr.Header().Rrtype]+" "+Data(rr))
		}
		h.Result = strings.Join(parts, ", ")
	default:
		if ref := referral(reply, h.Name); ref.zone != "" {
			h.Result = "ask the name servers of " + strings.TrimSuffix(ref.zone, ".")
		} else {
			h.Result = dns.RcodeToString[reply.Rcode]
		}
	}
	return h
}

// Data returns a record's data as text.
func Data(rr dns.RR) string {
	return strings.TrimSpace(strings.TrimPrefix(rr.String(), rr.Header().String()))
}

// delegation is the content of a referral.
type delegation struct {
	zone  string
	names []string
	addrs []netip.Addr
	ttl   uint32
}

// referral reads a referral to other name servers. The zone of the result is empty when
// the reply is not a referral.
func referral(reply *dns.Msg, name string) delegation {
	var d delegation
	if reply.Authoritative || len(reply.Answer) > 0 || reply.Rcode != dns.RcodeSuccess {
		return d
	}
	for _, rr := range reply.Ns {
		if ns, ok := rr.(*dns.NS); ok && dns.IsSubDomain(ns.Hdr.Name, name) {
			d.zone = dns.CanonicalName(ns.Hdr.Name)
			d.names = append(d.names, dns.CanonicalName(ns.Ns))
			d.ttl = ns.Hdr.Ttl
		}
	}
	for _, rr := range reply.Extra {
		if !slices.Contains(d.names, dns.CanonicalName(rr.Header().Name)) {
			continue
		}
		switch rr := rr.(type) {
		case *dns.A:
			if a, ok := netip.AddrFromSlice(rr.A.To4()); ok {
				d.addrs = append(d.addrs, a)
			}
		case *dns.AAAA:
			if a, ok := netip.AddrFromSlice(rr.AAAA); ok {
				d.addrs = append(d.addrs, a)
			}
		}
	}
	return d
}

// rotate rotates the records of the last set by a random number, so that clients are
// spread over the addresses.
func rotate(set []dns.RR) []dns.RR {
	out := slices.Clone(set)
	first := len(out)
	for first > 0 && out[first-1].Header().Rrtype == out[len(out)-1].Header().Rrtype && out[first-1].Header().Name == out[len(out)-1].Header().Name {
		first--
	}
	if tail := out[first:]; len(tail) > 1 {
		k := rand.IntN(len(tail))
		rotated := slices.Concat(tail[k:], tail[:k])
		copy(tail, rotated)
	}
	return out
}

func addrOf(a net.Addr) netip.Addr {
	ap, _ := netip.ParseAddrPort(a.String())
	return ap.Addr().Unmap()
}
