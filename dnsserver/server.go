package dnsserver

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"perto"
	"perto/internal/netx"
	"perto/mapping"
	"perto/metrics"
)

// Config holds the parameters of a Server.
type Config struct {
	Name    string // name of the node, returned by whoami
	Network netx.Network
	Listen  []string // "host:port" each, for UDP and TCP
	Logger  *slog.Logger
	Metrics *metrics.Registry
	Limits  Limits // zero fields take the defaults
	// Readers is the number of goroutines that read each UDP socket; 0: one.
	Readers int
}

// Server answers DNS queries over UDP and TCP from the newest [View].
type Server struct {
	cfg    Config
	view   atomic.Pointer[View]
	limits atomic.Pointer[Limits] // in place of cfg.Limits

	tagKeys atomic.Pointer[mapping.TagKeys]

	packets []net.PacketConn
	streams []net.Listener
	conns   connections
	running sync.WaitGroup
	closing atomic.Bool

	received  []metrics.Counter // by transport
	answered  []metrics.Counter // by outcome
	accepted  []metrics.Counter // TCP connections by tcpResult
	tcpLogged atomic.Int64      // last log line for a refused connection, in nanoseconds since 1970
}

// New returns a server that does not listen yet.
func New(cfg Config) *Server {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Metrics == nil {
		cfg.Metrics = metrics.New()
	}
	s := &Server{cfg: cfg}
	s.SetLimits(cfg.Limits)
	s.received = cfg.Metrics.CounterSet("perto_dns_received_total", "DNS messages received, by transport.", "transport", transportNames[:]...)
	s.answered = cfg.Metrics.CounterSet("perto_dns_queries_total", "DNS queries, by outcome.", "outcome", outcomeNames[:]...)
	s.accepted = cfg.Metrics.CounterSet("perto_dns_tcp_connections_total", "New TCP connections, by result.", "result", tcpResultNames[:]...)
	cfg.Metrics.Gauge("perto_dns_tcp_connections", "TCP connections that are open.", func() float64 { return float64(s.conns.count()) })
	return s
}

// SetTagKeys replaces the keys of tags. Without keys, answers have no tags.
func (s *Server) SetTagKeys(keys *mapping.TagKeys) { s.tagKeys.Store(keys) }

// SetView replaces the view for all later queries.
func (s *Server) SetView(v *View) { s.view.Store(v) }

// View returns the current view, or nil before the first SetView.
func (s *Server) View() *View { return s.view.Load() }

// Queries returns the number of messages received since the start, on all transports.
func (s *Server) Queries() uint64 {
	var n uint64
	for i := range s.received {
		n += s.received[i].Value()
	}
	return n
}

// Start opens the sockets and serves until Close. If an address cannot be opened, Start
// returns an error and leaves no socket open.
func (s *Server) Start(ctx context.Context) error {
	for _, address := range s.cfg.Listen {
		p, l, err := s.open(ctx, address)
		if err != nil {
			return s.startFailed(address, err)
		}
		s.packets, s.streams = append(s.packets, p), append(s.streams, l)
	}
	var responders []*netx.Responder
	for i, p := range s.packets {
		for range max(1, s.cfg.Readers) {
			r, err := netx.NewResponder(p)
			if err != nil {
				return s.startFailed(s.cfg.Listen[i], err)
			}
			responders = append(responders, r)
		}
	}
	for _, r := range responders {
		s.running.Go(func() { s.servePackets(r) })
	}
	for _, l := range s.streams {
		s.running.Go(func() { s.serveStreams(l) })
	}
	return nil
}

// portTries is how often Start tries another port when a port is free for one transport
// only.
const portTries = 20

// open opens an address for both transports; port 0 means one port that is free
// for both.
func (s *Server) open(ctx context.Context, address string) (net.PacketConn, net.Listener, error) {
	for try := 1; ; try++ {
		p, err := s.cfg.Network.ListenPacket(ctx, "udp", address)
		if err != nil {
			return nil, nil, err
		}
		same := address
		if strings.HasSuffix(address, ":0") {
			same = p.LocalAddr().String()
		}
		l, err := s.cfg.Network.Listen(ctx, "tcp", same)
		if err == nil {
			return p, l, nil
		}
		p.Close()
		if !strings.HasSuffix(address, ":0") || try == portTries {
			return nil, nil, err
		}
	}
}

func (s *Server) startFailed(address string, err error) error {
	s.Close()
	return &perto.Error{Op: "serve DNS on", Path: address, Kind: perto.KindUnavailable, Err: err,
		Hint: "another process may hold the port; set dns = [...] in the node block to listen elsewhere"}
}

// Addrs returns the listen addresses. UDP and TCP have the same ones.
func (s *Server) Addrs() []netip.AddrPort {
	var out []netip.AddrPort
	for _, p := range s.packets {
		if a, err := netip.ParseAddrPort(p.LocalAddr().String()); err == nil {
			out = append(out, a)
		}
	}
	return out
}

// Close stops serving and waits for the goroutines to end. It answers queries that were
// already read, and closes idle TCP connections.
func (s *Server) Close() error {
	s.closing.Store(true)
	var errs []error
	for _, p := range s.packets {
		// The deadline wakes the reader without losing a packet, and does not close the
		// socket while a response is written.
		if p.SetReadDeadline(time.Unix(1, 0)) != nil {
			errs = append(errs, p.Close())
		}
	}
	for _, l := range s.streams {
		errs = append(errs, l.Close())
	}
	s.conns.wake()
	s.running.Wait()
	for _, p := range s.packets {
		p.Close()
	}
	return errors.Join(errs...)
}
