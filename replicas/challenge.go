package replicas

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"perto"
)

// A registry rejects a heartbeat with a lower epoch than an earlier one, because it may
// be replayed. The epoch of a sender is legitimately lower when its clock was set back.
// The registry then sends a challenge with a random nonce. A sender that signs the
// nonce proves that it runs now. docs/formats/heartbeat.md describes the packets.

const (
	// challengeEvery is the shortest time between two challenges of one replica. The
	// proof must arrive within it.
	challengeEvery = time.Second
	// noticeEvery is the shortest time between two notices of one registry. A notice is
	// shorter than the packet that caused it, so it amplifies nothing.
	noticeEvery = 100 * time.Millisecond
	// rejectionLasts is how long the registry shows a rejection after the last one:
	// several heartbeats at the longest interval that a sender may claim.
	rejectionLasts = 2 * maxInterval
	// logEvery is the shortest time between two log lines about one cause.
	logEvery = time.Minute
)

// appendProof appends the response to a challenge: the sender's epoch and sequence in
// the head, and the nonce of the challenge in the body.
func appendProof(out []byte, epoch, sequence, nonce uint64, name []byte, keys *Keyring) []byte {
	from := len(out)
	out = appendHead(out, kindProof, 0, keys.ids[0], epoch, sequence)
	out = binary.BigEndian.AppendUint64(out, nonce)
	out = append(out, byte(len(name)))
	out = append(out, name...)
	return keys.seal(out, from)
}

// proof is the content of a proof with a verified signature.
type proof struct{ nonce, epoch, sequence uint64 }

func parseProof(p, body []byte) (_ proof, name []byte, _ Reject) {
	const fixed = 9
	if len(body) < fixed {
		return proof{}, nil, RejectForm
	}
	n := int(body[8])
	if n == 0 || n > maxName || len(body) < fixed+n {
		return proof{}, nil, RejectForm
	}
	return proof{
		nonce:    binary.BigEndian.Uint64(body),
		epoch:    binary.BigEndian.Uint64(p[16:]),
		sequence: binary.BigEndian.Uint64(p[24:]),
	}, body[fixed : fixed+n], Accepted
}

// echoBytes is how many bytes of a rejected packet's signature its notice repeats. Only
// a receiver of the packet, or a machine on its path, can have them.
const echoBytes = 8

// appendNotice appends the notice that a packet was rejected: the reason and the echo.
// The notice has no signature, because a sender with another key cannot check one.
func appendNotice(out []byte, reason Reject, rejected []byte) []byte {
	from := len(out)
	out = appendHead(out, kindNotice, 0, binary.BigEndian.Uint32(rejected[8:]), 0, 0)
	out = append(out, byte(reason))
	out = append(out, rejected[len(rejected)-macBytes:][:echoBytes]...)
	binary.BigEndian.PutUint16(out[from+12:], uint16(len(out)-from))
	return out
}

// parseNotice reads a notice. It checks no signature.
func parseNotice(p []byte) (reason Reject, echo [echoBytes]byte, ok bool) {
	if len(p) != headBytes+1+echoBytes || binary.BigEndian.Uint32(p) != magic || p[4] != wireVersion || p[5] != kindNotice {
		return 0, echo, false
	}
	reason = Reject(p[headBytes])
	copy(echo[:], p[headBytes+1:])
	return reason, echo, int(reason) < len(rejectNames)
}

// claimedName returns the name in a packet that was rejected before its signature was
// checked. It is "" when the packet has none.
func claimedName(p []byte) perto.Replica {
	if len(p) < headBytes+macBytes || p[5] != kindHeartbeat {
		return ""
	}
	h, reject := parseHeartbeat(p, p[headBytes:len(p)-macBytes])
	if reject != Accepted {
		return ""
	}
	return perto.Replica(h.Name)
}

// rejection is the newest rejected heartbeat of a replica.
type rejection struct {
	at   time.Time
	text string // the reason in words, for logs and status
}

// explainReject returns the reason for a rejection, for the log and for status. key is
// the id of the key that signed the packet.
func explainReject(reason Reject, key uint32) string {
	switch reason {
	case RejectKey:
		return fmt.Sprintf("signed with key %08x, which this node does not have", key)
	case RejectMAC:
		return fmt.Sprintf("the signature does not match this node's key %08x", key)
	case RejectEpoch:
		return "its epoch is lower than an earlier one: its clock was set back, or the packet was replayed"
	case RejectName:
		return "this node's configuration does not declare it"
	default:
		return "reason: " + reason.String()
	}
}

// rejected is a rejected heartbeat that the reader passes to the owner goroutine.
type rejected struct {
	name   perto.Replica // unverified name in the packet
	reason Reject
	key    uint32
	from   net.Addr
}

// noteRejected shows a rejection in the Fleet and in the log. The name of a packet
// without a good signature is only a claim, so the rejection changes no state.
func (r *Registry) noteRejected(j rejected, now time.Time) {
	text := explainReject(j.reason, j.key)
	if omitted, ok := r.rejectLogged[j.reason].allow(now); ok {
		r.log.Warn("a heartbeat was rejected", "replica", string(j.name), "from", j.from, "reason", text, "omitted", omitted)
	}
	if m := r.members[j.name]; m != nil {
		m.rejection = rejection{now, text}
	}
}

// challenge asks a replica to prove that its lower epoch is current.
func (r *Registry) challenge(m *member, from net.Addr, now time.Time) {
	if now.Sub(m.challenged) < challengeEvery {
		return
	}
	r.nonce++
	m.challenged, m.nonce = now, r.nonce
	q := inquiry{nonce: m.nonce, age: never, name: []byte(m.declared.Name)}
	r.scratch = appendInquiry(r.scratch[:0], kindChallenge, &q, r.keys)
	r.conn.WriteTo(r.scratch, from) // best effort: the next heartbeat causes another one
}

// proved handles the response to a challenge.
func (r *Registry) proved(p proof, m *member, now time.Time) {
	if m == nil || m.challenged.IsZero() || p.nonce != m.nonce || now.Sub(m.challenged) > challengeEvery {
		return
	}
	m.challenged = time.Time{}
	if p.epoch >= m.epoch {
		return // the challenge came from a replayed packet: the epoch is correct
	}
	if now.Sub(m.adopted) >= logEvery {
		m.adopted = now
		r.log.Warn("the clock of a replica was set back: its new epoch is accepted", "replica", m.declared.Name, "before", m.epoch, "now", p.epoch,
			"hint", "if this comes again and again, two machines run with this name")
	}
	m.adopt(p.epoch, p.sequence)
	r.judge(m, now, r.isolated(now))
}

// adopt restarts the record of the replica at an epoch that it has proved.
func (m *member) adopt(epoch, sequence uint64) {
	m.epoch, m.sequence = epoch, sequence
	m.renewed, m.run, m.dead, m.farewell = true, 0, "", false
}

// Rejection is a name server's notice that it rejects a sender's heartbeats.
type Rejection struct {
	Target netip.AddrPort `json:"target"`
	Reason string         `json:"reason"`
	Since  time.Time      `json:"since"`
	last   time.Time
}

// inbound is the state of a Sender for packets that it receives from name servers.
type inbound struct {
	mu      sync.Mutex
	echoes  [4][echoBytes]byte // of the newest packets
	sent    uint64             // the sequence of the newest
	notices map[netip.AddrPort]Rejection
	acks    map[netip.AddrPort]acknowledged
}

// note records a sent packet, so that notices about it are accepted.
func (i *inbound) note(p []byte, sequence uint64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	copy(i.echoes[sequence%uint64(len(i.echoes))][:], p[len(p)-macBytes:])
	i.sent = sequence
}

func (i *inbound) sequence() uint64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.sent
}

// listen answers challenges and records notices until the connection is closed.
func (s *Sender) listen(conn net.PacketConn) {
	var ring currentKeys
	p, out := make([]byte, MaxPacket+1), make([]byte, 0, MaxPacket)
	for {
		n, from, err := conn.ReadFrom(p)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			time.Sleep(tick) // for example out of memory: sending goes on meanwhile
			continue
		}
		if reason, echo, ok := parseNotice(p[:n]); ok {
			s.noticed(reason, echo, from)
			continue
		}
		keys := ring.of(&s.keys)
		kind, body, reject := keys.open(p[:n])
		if reject != Accepted {
			continue
		}
		if kind == kindAck {
			s.acked(p[:n], body, from)
			continue
		}
		if kind != kindChallenge {
			continue
		}
		if q, reject := parseInquiry(p[:n], body); reject == Accepted && string(q.name) == string(s.cfg.Name) {
			out = appendProof(out[:0], s.cfg.Epoch, s.inbound.sequence(), q.nonce, q.name, keys)
			conn.WriteTo(out, from)
		}
	}
}

// noticed records a notice if it is about a packet that was sent recently.
func (s *Sender) noticed(reason Reject, echo [echoBytes]byte, from net.Addr) {
	at, err := netip.ParseAddrPort(from.String())
	if err != nil {
		return
	}
	at = netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
	l := &s.inbound
	l.mu.Lock()
	defer l.mu.Unlock()
	known := false
	for _, e := range l.echoes {
		known = known || e == echo
	}
	if !known {
		return
	}
	var text string
	switch reason {
	case RejectKey:
		text = fmt.Sprintf("it does not have this edge's key %08x", (*s.keys.Load())[0].ID)
	case RejectMAC:
		text = fmt.Sprintf("it has another secret for this edge's key %08x", (*s.keys.Load())[0].ID)
	case RejectName:
		text = "its configuration does not declare this edge"
	default:
		return
	}
	now := time.Now()
	n, ok := l.notices[at]
	if !ok || n.Reason != text || now.Sub(n.last) >= rejectionLasts {
		n = Rejection{Target: at, Reason: text, Since: now}
		s.cfg.Logger.Warn("a name server rejects the heartbeats of this edge", "server", at, "reason", text)
	}
	n.last = now
	if l.notices == nil {
		l.notices = make(map[netip.AddrPort]Rejection)
	}
	l.notices[at] = n
}

// Rejections returns the name servers that currently reject the heartbeats.
func (s *Sender) Rejections() []Rejection {
	l := &s.inbound
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []Rejection
	for at, n := range l.notices {
		if time.Since(n.last) >= rejectionLasts {
			delete(l.notices, at)
			continue
		}
		out = append(out, n)
	}
	return out
}
