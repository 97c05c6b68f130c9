package replicas

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"perto"
	"perto/internal/netx"
)

const (
	// repeats is how often an important heartbeat is sent. Packets get lost, and without
	// a farewell clients lose two seconds to a silent edge.
	repeats     = 3
	repeatPause = 30 * time.Millisecond
)

// SenderConfig holds the parameters of a Sender.
type SenderConfig struct {
	Network  netx.Network
	Keys     []Key // the first signs
	Name     perto.Replica
	Targets  []netip.AddrPort // the heartbeat ports of all DNS nodes
	Status   func() Status    // called before each heartbeat; must not block
	Interval time.Duration    // 0 means DefaultInterval
	// Epoch is the start time of the process, as a number that grows with each start. 0
	// means the clock's microseconds. A receiver rejects a lower epoch than an earlier
	// one until the sender has answered a challenge.
	Epoch  uint64
	Logger *slog.Logger
}

// Sender sends an edge's whole record to every DNS node at each interval.
type Sender struct {
	cfg     SenderConfig
	keys    atomic.Pointer[[]Key]
	ring    currentKeys // used by Run
	inbound inbound
	targets atomic.Pointer[[]net.Addr]
	failed  bool // the last heartbeat could not be sent; it is logged once
	unsent  logLimit
	hushed  atomic.Bool
	news    chan struct{} // capacity 1: the status changed
}

// Announce makes Run send the status now, several times: a change of it, such as the
// start of draining, should not wait for an interval or get lost.
func (s *Sender) Announce() {
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// Hush makes Run end without a farewell, like a crash.
func (s *Sender) Hush() { s.hushed.Store(true) }

// NewSender returns a sender. It needs a key and a name.
func NewSender(cfg SenderConfig) (*Sender, error) {
	if len(cfg.Keys) == 0 || cfg.Name == "" || len(cfg.Name) > maxName {
		return nil, &perto.Error{Op: "send heartbeats of", Path: string(cfg.Name), Kind: perto.KindInvalid,
			Err: fmt.Errorf("%d keys, a name of %d bytes", len(cfg.Keys), len(cfg.Name)), Hint: "perto key new makes a key"}
	}
	if cfg.Interval == 0 {
		cfg.Interval = DefaultInterval
	}
	cfg.Interval = min(max(cfg.Interval, minInterval), maxInterval)
	if cfg.Epoch == 0 {
		cfg.Epoch = uint64(time.Now().UnixMicro())
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Sender{cfg: cfg, news: make(chan struct{}, 1)}
	s.SetKeys(cfg.Keys)
	s.SetTargets(cfg.Targets)
	return s, nil
}

// SetKeys replaces the keys. The first one signs. At least one is required.
func (s *Sender) SetKeys(keys []Key) { s.keys.Store(&keys) }

// SetTargets changes the destinations of heartbeats.
func (s *Sender) SetTargets(targets []netip.AddrPort) {
	out := make([]net.Addr, len(targets))
	for i, t := range targets {
		out[i] = net.UDPAddrFromAddrPort(t)
	}
	s.targets.Store(&out)
}

// Run sends until the context ends, then sends a farewell. DNS nodes then remove the
// edge at once instead of waiting for its lease.
func (s *Sender) Run(ctx context.Context) error {
	conn, err := s.cfg.Network.ListenPacket(ctx, "udp", ":0")
	if err != nil {
		return &perto.Error{Op: "send heartbeats of", Path: string(s.cfg.Name), Kind: perto.KindUnavailable, Err: err}
	}
	var listening sync.WaitGroup
	listening.Go(func() { s.listen(conn) })
	defer listening.Wait()
	defer conn.Close()
	h := Heartbeat{Name: []byte(s.cfg.Name), Epoch: s.cfg.Epoch, Interval: s.cfg.Interval}
	buf := make([]byte, 0, MaxPacket)
	ticker := time.NewTicker(s.cfg.Interval)
	defer ticker.Stop()
	for {
		h.Status = s.cfg.Status()
		s.send(conn, &h, buf)
		select {
		case <-ticker.C:
			continue
		case <-s.news:
			h.Status = s.cfg.Status()
			s.repeat(conn, &h, buf)
			continue
		case <-ctx.Done():
		}
		if s.hushed.Load() {
			return nil
		}
		h.Farewell = true
		s.repeat(conn, &h, buf)
		return nil
	}
}

// repeat sends an important heartbeat several times.
func (s *Sender) repeat(conn net.PacketConn, h *Heartbeat, buf []byte) {
	for i := range repeats {
		if i > 0 {
			time.Sleep(repeatPause)
		}
		s.send(conn, h, buf)
	}
}

// send makes one packet and sends it to all targets.
func (s *Sender) send(conn net.PacketConn, h *Heartbeat, buf []byte) {
	h.Sequence++
	p := AppendHeartbeat(buf[:0], h, s.ring.of(&s.keys))
	s.inbound.note(p, h.Sequence)
	failed := false
	for _, to := range *s.targets.Load() {
		if _, err := conn.WriteTo(p, to); err != nil {
			failed = true
			if !s.failed {
				if omitted, ok := s.unsent.allow(time.Now()); ok {
					s.cfg.Logger.Warn("cannot send a heartbeat", "to", to, "err", err, "omitted", omitted)
				}
			}
		}
	}
	s.failed = failed
}
