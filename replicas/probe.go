package replicas

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
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
	case ProbeHTTPS:
		// The certificate is not verified. An expired certificate must not remove all
		// edges at once; it needs an alarm of its own.
		cfg := &tls.Config{InsecureSkipVerify: true}
		if p.tls != nil {
			cfg = p.tls.Clone()
		}
		cfg.ServerName = probe.Host
		cfg.NextProtos = []string{"http/1.1"}
		secure := tls.Client(conn, cfg)
		if err := secure.HandshakeContext(ctx); err != nil {
			return err
		}
		return askHTTP(secure, probe, target)
	case ProbeHTTP:
		return askHTTP(conn, probe, target)
	case ProbeDNS:
		return askDNS(conn, probe)
	}
	return nil
}

const (
	// maxStatusLine limits a line of an HTTP response. maxReply limits the bytes read
	// of one, interim responses included. Both are in bytes.
	maxStatusLine = 1024
	maxReply      = 64 << 10
)

// askHTTP accepts a final status of 200 to 399. net/http would follow redirects, pool
// connections and parse bodies. Only the status line matters here.
func askHTTP(conn net.Conn, probe Probe, target netip.AddrPort) error {
	host := probe.Host
	if host == "" {
		host = target.String()
	}
	request := "GET " + probe.Path + " HTTP/1.1\r\nHost: " + host + "\r\nUser-Agent: perto-probe\r\nConnection: close\r\n\r\n"
	if _, err := io.WriteString(conn, request); err != nil {
		return err
	}
	r := bufio.NewReaderSize(io.LimitReader(conn, maxReply), maxStatusLine)
	for {
		status, err := readStatus(r)
		switch {
		case err != nil:
			return err
		case status < 200 && status != 101:
			if err := skipFields(r); err != nil {
				return err
			}
			continue // an interim response (RFC 9110, section 15.2)
		case status < 200 || status > 399:
			return badAnswer("status " + strconv.Itoa(status))
		}
		return nil
	}
}

// readStatus reads a status line. It accepts a cut line as far as it was received.
func readStatus(r *bufio.Reader) (int, error) {
	line, err := r.ReadSlice('\n')
	if err != nil && len(line) == 0 {
		return 0, err
	}
	version, rest, _ := strings.Cut(strings.TrimSpace(string(line)), " ")
	code, _, _ := strings.Cut(rest, " ")
	status, err := strconv.Atoi(code)
	if err != nil || status < 100 || !strings.HasPrefix(version, "HTTP/1.") {
		return 0, badAnswer("the answer is not HTTP")
	}
	return status, nil
}

// skipFields reads the fields of an interim response.
func skipFields(r *bufio.Reader) error {
	for empty := false; !empty; {
		line, err := r.ReadSlice('\n')
		for ; errors.Is(err, bufio.ErrBufferFull); _, err = r.ReadSlice('\n') {
			line = []byte("long")
		}
		if err != nil {
			return err
		}
		empty = len(strings.TrimSpace(string(line))) == 0
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
