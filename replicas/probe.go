package replicas

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"syscall"
	"time"

	"github.com/miekg/dns"

	"perto/internal/netx"
)

// Probe asks a replica whether it serves.
type Probe struct {
	Kind     string         // "http", "https", "tcp" or "dns"
	Target   netip.AddrPort // asked instead of the replica's first address; zero: that one
	Port     uint16         // when Target is zero; 0: the usual one of the kind
	Path     string         // of http and https
	Host     string         // Host header of http and https, SNI of https
	Name     string         // that dns asks for
	Interval time.Duration
	Timeout  time.Duration
	Up, Down int // thresholds: see damping
}

var usualPorts = map[string]uint16{"http": 80, "https": 443, "tcp": 80, "dns": 53}

func (p *Probe) target(d *Declared) netip.AddrPort {
	if p.Target.IsValid() {
		return p.Target
	}
	port := p.Port
	if port == 0 {
		port = usualPorts[p.Kind]
	}
	return netip.AddrPortFrom(d.Addresses[0], port)
}

// run asks once. nil means that the replica serves.
func (p *Probe) run(ctx context.Context, network netx.Network, target netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	switch p.Kind {
	case "http", "https":
		return p.runHTTP(ctx, network, target)
	case "dns":
		return p.runDNS(ctx, network, target)
	}
	c, err := network.DialContext(ctx, "tcp", target.String())
	if err != nil {
		return err
	}
	return c.Close()
}

func (p *Probe) runHTTP(ctx context.Context, network netx.Network, target netip.AddrPort) error {
	host := p.Host
	if host == "" {
		host = target.String()
	}
	req, err := http.NewRequestWithContext(ctx, "GET", p.Kind+"://"+host+p.Path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "perto-probe")
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{ServerName: p.Host},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return network.DialContext(ctx, "tcp", target.String())
		}}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 400 {
		return fmt.Errorf("%s answered %s", req.URL.Path, strconv.Itoa(resp.StatusCode))
	}
	return nil
}

func (p *Probe) runDNS(ctx context.Context, network netx.Network, target netip.AddrPort) error {
	c, err := network.DialContext(ctx, "udp", target.String())
	if err != nil {
		return err
	}
	defer c.Close()
	deadline, _ := ctx.Deadline()
	c.SetDeadline(deadline)
	conn := &dns.Conn{Conn: c}
	m := new(dns.Msg).SetQuestion(dns.Fqdn(p.Name), dns.TypeSOA)
	if err := conn.WriteMsg(m); err != nil {
		return err
	}
	reply, err := conn.ReadMsg()
	switch {
	case err != nil:
		return err
	case reply.Id != m.Id || reply.Rcode != dns.RcodeSuccess:
		return fmt.Errorf("answered %s", dns.RcodeToString[reply.Rcode])
	}
	return nil
}

// isEvidence reports whether an error proves that nobody serves there: the
// kernel of the far end says so. Silence proves nothing.
func isEvidence(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET)
}

// damping keeps a flapping probe from flapping the answers, as gdnsd does: down
// after Down failures that were not interrupted by Up successes in a row, up
// again after Up successes in a row.
type damping struct {
	failures, successes int
	down                bool
}

func (d *damping) add(p *Probe, ok bool) {
	if !ok {
		d.successes = 0
		if d.failures++; d.failures >= p.Down {
			d.down = true
		}
		return
	}
	if d.successes++; d.successes >= p.Up {
		d.failures, d.down = 0, false
	}
}
