package replicas

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"time"
)

// A registry acknowledges accepted heartbeats, so that an edge can show which name
// servers receive it. No decision depends on acknowledgements.

const (
	// ackEvery is the shortest time between two acknowledgements to one replica.
	ackEvery = 2 * time.Second
	// ackLasts is how long the status shows a name server as reached after its last
	// acknowledgement: four may get lost.
	ackLasts = 5 * ackEvery
)

// appendAck appends the acknowledgement of a heartbeat: epoch and sequence of the
// heartbeat in the head, and the digest of the registry's configuration in the body.
func appendAck(out []byte, epoch, sequence uint64, world Digest, name []byte, keys *Keyring) []byte {
	from := len(out)
	out = appendHead(out, kindAck, 0, keys.ids[0], epoch, sequence)
	out = binary.BigEndian.AppendUint64(out, uint64(world))
	out = append(out, byte(len(name)))
	out = append(out, name...)
	return keys.seal(out, from)
}

// acknowledge tells a replica from time to time that its heartbeats arrive.
func (r *Registry) acknowledge(m *member, from net.Addr, now time.Time) {
	if now.Sub(m.acknowledged) < ackEvery {
		return
	}
	m.acknowledged = now
	r.scratch = appendAck(r.scratch[:0], m.epoch, m.sequence, r.cfg.World, []byte(m.declared.Name), r.keys)
	r.conn.WriteTo(r.scratch, from) // best effort: the next one comes soon
}

// acknowledged is the newest acknowledgement of a name server.
type acknowledged struct {
	at       time.Time
	sequence uint64
	world    Digest
}

// acked records an acknowledgement, unless it is replayed or for another process.
func (s *Sender) acked(p, body []byte, from net.Addr) {
	a, name, reject := parseProof(p, body) // the same layout
	at, err := netip.ParseAddrPort(from.String())
	if reject != Accepted || err != nil || string(name) != string(s.cfg.Name) || a.epoch != s.cfg.Epoch {
		return
	}
	at = netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
	l := &s.inbound
	l.mu.Lock()
	defer l.mu.Unlock()
	if a.sequence > l.sent || a.sequence <= l.acks[at].sequence {
		return
	}
	if l.acks == nil {
		l.acks = make(map[netip.AddrPort]acknowledged)
	}
	l.acks[at] = acknowledged{time.Now(), a.sequence, Digest(a.nonce)}
}

// Reached is a name server as a sender sees it.
type Reached struct {
	Target netip.AddrPort `json:"target"`
	// Acknowledged is the time of its newest acknowledgement. It is zero when none arrived.
	Acknowledged time.Time `json:"acknowledged,omitzero"`
	World        Digest    `json:"config,omitzero"`   // of its configuration
	Rejects      string    `json:"rejects,omitempty"` // why it rejects the heartbeats
}

// Fresh reports whether the name server has acknowledged heartbeats recently.
func (r *Reached) Fresh(now time.Time) bool {
	return !r.Acknowledged.IsZero() && now.Sub(r.Acknowledged) < ackLasts
}

// Reached returns the targets with what is known about them, in their order.
func (s *Sender) Reached() []Reached {
	rejections := s.Rejections()
	targets := *s.targets.Load()
	l := &s.inbound
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]Reached, 0, len(targets))
	for _, t := range targets {
		at, err := netip.ParseAddrPort(t.String())
		if err != nil {
			continue
		}
		ack := l.acks[at]
		r := Reached{Target: at, Acknowledged: ack.at, World: ack.world}
		if i := slices.IndexFunc(rejections, func(x Rejection) bool { return x.Target == at }); i >= 0 {
			r.Rejects = rejections[i].Reason
		}
		out = append(out, r)
	}
	return out
}
