package access

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"

	"perto/internal/netx"
)

// Client is a client machine at a vantage. It asks its resolver for names and connects
// to the addresses in turn. It starts with the next address when the last one has not
// replied within 250 ms (RFC 8305, section 5).
//
// Like the stub resolver of an operating system, it caches addresses in the order in
// which they came, for their time to live. So a page that is loaded again comes from
// the same edge.
type Client struct {
	Station  *Station
	Resolver netip.Addr // its DNS resolver

	mu    sync.Mutex
	known map[string]knownName
}

type knownName struct {
	addrs   []netip.Addr
	expires time.Time
}

// Forget empties the client's cache of names.
func (c *Client) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.known)
}

func (c *Client) cacheAddrs(name string, addrs []netip.Addr, ttl time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil {
		c.known = make(map[string]knownName)
	}
	c.known[name] = knownName{addrs, time.Now().Add(ttl)}
}

func (c *Client) cachedAddrs(name string) []netip.Addr {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.known[name]; time.Now().Before(k.expires) {
		return k.addrs
	}
	return nil
}

// attemptDelay is the Connection Attempt Delay of RFC 8305, section 8.
const attemptDelay = 250 * time.Millisecond

// The time that a client waits for its resolver, and the number of its attempts.
const (
	clientDNSWait  = 3 * time.Second
	clientDNSTries = 2
)

// DNSReply is the response of a resolver.
type DNSReply struct {
	Message *dns.Msg
	Took    time.Duration
}

// Ask asks the vantage's resolver.
func (c *Client) Ask(ctx context.Context, name string, qtype uint16) (DNSReply, error) {
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(name), qtype)
	m.SetEdns0(resolverBuffer, false)
	return c.Exchange(ctx, m)
}

// Exchange sends a message to the vantage's resolver, and again over TCP when the
// response is truncated.
func (c *Client) Exchange(ctx context.Context, m *dns.Msg) (DNSReply, error) {
	start := time.Now()
	var last error
	for range clientDNSTries {
		reply, err := exchangeOver(ctx, c.Station, "udp", netip.AddrPortFrom(c.Resolver, 53), m, clientDNSWait)
		if err == nil && reply.Truncated {
			reply, err = exchangeOver(ctx, c.Station, "tcp", netip.AddrPortFrom(c.Resolver, 53), m, clientDNSWait)
		}
		if err == nil {
			return DNSReply{reply, time.Since(start)}, nil
		}
		last = err
		if ctx.Err() != nil {
			break
		}
	}
	return DNSReply{}, fmt.Errorf("ask resolver %s: %w", c.Resolver, last)
}

// exchangeOver sends one message from a host and waits for the response.
func exchangeOver(ctx context.Context, from *Station, network string, server netip.AddrPort, m *dns.Msg, wait time.Duration) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	c, err := from.DialContext(ctx, network, server.String())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	deadline, _ := ctx.Deadline()
	c.SetDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	conn := &dns.Conn{Conn: c, UDPSize: resolverBuffer}
	if err := conn.WriteMsg(m); err != nil {
		return nil, err
	}
	for {
		reply, err := conn.ReadMsg()
		if err != nil {
			return nil, err
		}
		if reply.Id == m.Id && reply.Response && len(reply.Question) == len(m.Question) &&
			(len(m.Question) == 0 || strings.EqualFold(reply.Question[0].Name, m.Question[0].Name)) {
			return reply, nil
		}
	}
}

// Lookup returns the addresses of a name in the order of the resolver: IPv6 and IPv4
// addresses in turn, IPv6 first (RFC 8305, section 4). It omits a family that the
// vantage does not have. took is the time until both answers arrived.
func (c *Client) Lookup(ctx context.Context, name string) (addrs []netip.Addr, took time.Duration, err error) {
	if a, err := netip.ParseAddr(name); err == nil {
		return []netip.Addr{a}, 0, nil
	}
	if addrs := c.cachedAddrs(name); addrs != nil {
		return addrs, 0, nil
	}
	type result struct {
		addrs []netip.Addr
		rcode int
		ttl   time.Duration
		err   error
	}
	ask := func(family int, qtype uint16) <-chan result {
		out := make(chan result, 1)
		if !c.Station.Has(family) {
			out <- result{}
			return out
		}
		go func() {
			reply, err := c.Ask(ctx, name, qtype)
			if err != nil {
				out <- result{err: err}
				return
			}
			out <- result{addrs: Addresses(reply.Message), rcode: reply.Message.Rcode, ttl: lifetime(reply.Message)}
		}()
		return out
	}
	start := time.Now()
	six, four := ask(6, dns.TypeAAAA), ask(4, dns.TypeA)
	r6, r4 := <-six, <-four
	took = time.Since(start)
	for i := range max(len(r6.addrs), len(r4.addrs)) {
		if i < len(r6.addrs) {
			addrs = append(addrs, r6.addrs[i])
		}
		if i < len(r4.addrs) {
			addrs = append(addrs, r4.addrs[i])
		}
	}
	if len(addrs) > 0 {
		ttl := r4.ttl
		if len(r4.addrs) == 0 || len(r6.addrs) > 0 && r6.ttl < ttl {
			ttl = r6.ttl
		}
		c.cacheAddrs(name, addrs, ttl)
		return addrs, took, nil
	}
	if err := errors.Join(r6.err, r4.err); err != nil {
		return nil, took, err
	}
	return nil, took, &net.DNSError{Err: "the resolver replied " + dns.RcodeToString[max(r6.rcode, r4.rcode)] + " and names no address", Name: name, IsNotFound: true}
}

// lifetime returns the shortest time to live of an answer's records.
func lifetime(m *dns.Msg) time.Duration {
	if len(m.Answer) == 0 {
		return 0
	}
	ttl := m.Answer[0].Header().Ttl
	for _, rr := range m.Answer {
		ttl = min(ttl, rr.Header().Ttl)
	}
	return time.Duration(ttl) * time.Second
}

// Addresses returns the addresses in an answer.
func Addresses(m *dns.Msg) []netip.Addr {
	var out []netip.Addr
	for _, rr := range m.Answer {
		switch rr := rr.(type) {
		case *dns.A:
			if a, ok := netip.AddrFromSlice(rr.A.To4()); ok {
				out = append(out, a)
			}
		case *dns.AAAA:
			if a, ok := netip.AddrFromSlice(rr.AAAA); ok {
				out = append(out, a)
			}
		}
	}
	return out
}

// DialContext connects to "host:port" from the vantage. It asks the resolver for the
// name and tries the addresses in turn.
func (c *Client) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := netx.SplitPort(address)
	if err != nil {
		return nil, err
	}
	addrs, _, err := c.Lookup(ctx, host)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	return c.DialAddrs(ctx, network, addrs, port)
}

// DialAddrs connects to the first of the addresses that replies. It tries the next one
// when the last failed or has not replied for 250 ms.
func (c *Client) DialAddrs(ctx context.Context, network string, addrs []netip.Addr, port uint16) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		conn net.Conn
		err  error
	}
	results := make(chan result, len(addrs))
	pending := 0
	defer func() { // close connections that come too late
		go func() {
			for range pending {
				if r := <-results; r.conn != nil {
					r.conn.Close()
				}
			}
		}()
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var errs []error
	for next := 0; ; {
		select {
		case <-timer.C:
		case r := <-results:
			pending--
			if r.err == nil {
				return r.conn, nil
			}
			errs = append(errs, r.err)
			if next == len(addrs) && pending == 0 {
				return nil, errors.Join(errs...)
			}
		case <-ctx.Done():
			return nil, errors.Join(append(errs, context.Cause(ctx))...)
		}
		if next < len(addrs) {
			to := netip.AddrPortFrom(addrs[next], port).String()
			next++
			pending++
			go func() {
				conn, err := c.Station.DialContext(ctx, network, to)
				results <- result{conn, err}
			}()
			timer.Reset(attemptDelay)
		}
	}
}

func isRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

func isNotFound(err error) bool {
	e, ok := errors.AsType[*net.DNSError](err)
	return ok && e.IsNotFound
}
