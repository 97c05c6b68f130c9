package replicas

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/miekg/dns"

	"perto/internal/netx"
)

// The defaults of a probe in the configuration.
const (
	defaultProbeInterval = 5 * time.Second
	defaultProbeTimeout  = 2 * time.Second
	defaultProbeUp       = 2
	defaultProbeDown     = 3

	// confirmTimeout is how long the probe of a silent replica may take. It must end
	// before the lease does.
	confirmTimeout = time.Second
	// firstProbeWithin is the period over which the first probes after a start are
	// spread.
	firstProbeWithin = time.Second
)

// check is a probe of one replica with its results.
type check struct {
	probe  Probe
	target netip.AddrPort
	hysteresis
	last    string    // the last bad result
	due     time.Time // time of the next run
	running bool
	run     uint64 // counts runs, to ignore the result of an earlier run
	cancel  context.CancelFunc
}

// stop cancels a run in progress and ignores its result.
func (k *check) stop() {
	k.run++
	k.running = false
	if k.cancel != nil {
		k.cancel()
		k.cancel = nil
	}
}

// newChecks makes the checks of a replica. A hash of the name spreads their first runs.
func newChecks(d Declared, now time.Time) []check {
	out := make([]check, len(d.Probes))
	for i, p := range d.Probes {
		if p.Interval <= 0 {
			p.Interval = defaultProbeInterval
		}
		if p.Timeout <= 0 {
			p.Timeout = min(defaultProbeTimeout, p.Interval)
		}
		if p.Up <= 0 {
			p.Up = defaultProbeUp
		}
		if p.Down <= 0 {
			p.Down = defaultProbeDown
		}
		if p.Path == "" {
			p.Path = "/"
		}
		h := fnv.New32a()
		fmt.Fprintf(h, "%s %d", d.Name, i)
		wait := time.Duration(h.Sum32()) % min(p.Interval, firstProbeWithin)
		out[i] = check{probe: p, target: probeTarget(d, p.Port), due: now.Add(wait), hysteresis: hysteresis{up: p.Up, down: p.Down}}
	}
	return out
}

// probeTarget returns the address to probe: the declared check address or the first
// address. It is zero when the replica has none.
func probeTarget(d Declared, port uint16) netip.AddrPort {
	switch {
	case d.Check.IsValid():
		return d.Check
	case len(d.Addresses) > 0 && port != 0:
		return netip.AddrPortFrom(d.Addresses[0], port)
	}
	return netip.AddrPort{}
}

func sameProbes(a, b Declared) bool {
	return slices.Equal(a.Probes, b.Probes) && a.Check == b.Check && slices.Equal(a.Addresses, b.Addresses)
}

// outcome is the result class of a probe.
type outcome uint8

const (
	outcomeOK      outcome = iota
	outcomeRefused         // positive evidence: no process listens on the port
	outcomeReset           // positive evidence: the connection was reset
	outcomeTimeout
	outcomeBad   // it responded with a failure
	outcomeError // any other error, for example no route: no evidence about the server
)

var outcomeNames = [...]string{"ok", "refused", "reset", "timeout", "bad", "error"}

// badAnswer is the description of a response that is not good.
type badAnswer string

func (b badAnswer) Error() string { return string(b) }

func (o outcome) String() string { return outcomeNames[o] }

// classify returns the outcome for the error of a connection.
func classify(err error) outcome {
	switch {
	case err == nil:
		return outcomeOK
	case errors.Is(err, syscall.ECONNREFUSED):
		return outcomeRefused
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return outcomeReset
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return outcomeTimeout
	}
	if _, ok := errors.AsType[badAnswer](err); ok {
		return outcomeBad
	}
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		return outcomeTimeout
	}
	return outcomeError
}

// prober runs probes.
type prober struct {
	network netx.Network
	tls     *tls.Config
}

// run makes one probe within the context's deadline, which must be set. The error is
// nil when the response is good.
func (p *prober) run(ctx context.Context, probe Probe, target netip.AddrPort) error {
	network := "tcp"
	if probe.Kind == ProbeDNS {
		network = "udp"
	}
	conn, err := p.network.DialContext(ctx, network, target.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	switch probe.Kind {
	case ProbeHTTP, ProbeHTTPS:
		return p.askHTTP(ctx, conn, probe, target)
	case ProbeDNS:
		return askDNS(conn, probe)
	case ProbeTCP: // the connection was the probe
	}
	return nil
}

// maxReply limits the head of an HTTP response, in bytes. The body is not read.
const maxReply = 64 << 10

// askHTTP accepts a final status of 200 to 399. A RoundTrip follows no redirects and
// skips interim responses. The Transport uses conn only: its own dials continue after
// the context's end, to fill a pool that probes do not have.
func (p *prober) askHTTP(ctx context.Context, conn net.Conn, probe Probe, target netip.AddrPort) error {
	t := &http.Transport{
		DialContext:            func(context.Context, string, string) (net.Conn, error) { return conn, nil },
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxReply,
	}
	u := &url.URL{Scheme: probe.Kind.String(), Host: target.String(), Opaque: probe.Path}
	if strings.HasPrefix(probe.Path, "//") {
		u.Opaque = "" // it would be sent with the scheme in front
		u.Path, u.RawQuery, _ = strings.Cut(probe.Path, "?")
	}
	if probe.Kind == ProbeHTTPS {
		// The certificate is not verified. An expired certificate must not remove all
		// edges at once; it needs an alarm of its own.
		t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
		if p.tls != nil {
			t.TLSClientConfig = p.tls.Clone()
		}
		t.TLSClientConfig.ServerName = probe.Host
		t.TLSClientConfig.NextProtos = []string{"http/1.1"}
	}
	var received atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotFirstResponseByte: func() { received.Store(true) }})
	request := &http.Request{Method: http.MethodGet, URL: u, Host: probe.Host, Header: http.Header{"User-Agent": {"perto-probe"}}}
	response, err := t.RoundTrip(request.WithContext(ctx))
	if err != nil {
		if received.Load() && classify(err) == outcomeError {
			return badAnswer("the response is not complete HTTP/1: " + err.Error())
		}
		return err
	}
	defer response.Body.Close()
	if response.StatusCode < 200 || response.StatusCode > 399 {
		return badAnswer("status " + strconv.Itoa(response.StatusCode))
	}
	return nil
}

// askDNS accepts each response without an error. NXDOMAIN also counts as good.
func askDNS(conn net.Conn, probe Probe) error {
	c := &dns.Conn{Conn: conn}
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(probe.Host), dns.TypeSOA)
	if err := c.WriteMsg(q); err != nil {
		return err
	}
	for {
		r, err := c.ReadMsg()
		switch {
		case err != nil:
			return err
		case r.Id != q.Id || !r.Response:
			continue // response to an earlier probe from the same port
		case r.Rcode != dns.RcodeSuccess && r.Rcode != dns.RcodeNameError:
			return badAnswer("answer " + dns.RcodeToString[r.Rcode])
		}
		return nil
	}
}
