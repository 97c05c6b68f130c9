package replicas

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"perto"
	"perto/internal/netx"
)

// HeartbeatInterval is how often an edge reports to each DNS node.
const HeartbeatInterval = 500 * time.Millisecond

// SenderConfig says what a Sender reports, and to whom.
type SenderConfig struct {
	Network  netx.Network
	Replica  perto.Replica
	Keys     []Key // the first one signs
	Targets  []netip.AddrPort
	Interval time.Duration // 0: HeartbeatInterval
	Status   func() Status // what the edge says of itself now
	Logger   *slog.Logger
}

// Sender reports an edge's whole record to every DNS node, again and again.
type Sender struct {
	cfg      SenderConfig
	socket   net.PacketConn
	epoch    uint64
	sequence uint64
}

// NewSender opens the socket that heartbeats leave from.
func NewSender(ctx context.Context, cfg SenderConfig) (*Sender, error) {
	if cfg.Interval == 0 {
		cfg.Interval = HeartbeatInterval
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	socket, err := cfg.Network.ListenPacket(ctx, "udp", ":0")
	if err != nil {
		return nil, &perto.Error{Op: "open heartbeat socket of", Path: string(cfg.Replica), Kind: perto.KindUnavailable, Err: err}
	}
	return &Sender{cfg: cfg, socket: socket, epoch: uint64(time.Now().UnixNano())}, nil
}

// Run sends until the context ends.
func (s *Sender) Run(ctx context.Context) {
	ticker := time.NewTicker(s.cfg.Interval)
	defer ticker.Stop()
	for {
		s.send(false)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// Close says farewell, if asked to, and closes the socket. Run must have ended.
func (s *Sender) Close(farewell bool) error {
	if farewell {
		s.send(true)
	}
	return s.socket.Close()
}

func (s *Sender) send(farewell bool) {
	s.sequence++
	m := message{kind: kindHeartbeat, epoch: s.epoch, sequence: s.sequence, name: []byte(s.cfg.Replica), status: s.cfg.Status(), farewell: farewell, interval: s.cfg.Interval}
	packet := appendMessage(make([]byte, 0, maxMessage), &m, &s.cfg.Keys[0])
	for _, to := range s.cfg.Targets {
		if _, err := s.socket.WriteTo(packet, net.UDPAddrFromAddrPort(to)); err != nil {
			s.cfg.Logger.Debug("send heartbeat", "to", to, "error", err)
		}
	}
}
