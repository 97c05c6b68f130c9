package replicas

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"net"
	"time"

	"perto"
)

// message is a verified packet that the reader passes to the owner goroutine.
type message struct {
	kind  uint8
	beat  Heartbeat // its Name is in name
	query inquiry   // its name is in name, too
	proof proof
	from  net.Addr
	size  int
	name  [maxName]byte
}

// read takes packets from the port until it is closed. It checks signatures here, so
// that a flood of forged packets does not delay the owner's lease checks.
func (r *Registry) read() {
	var ring currentKeys
	var noticed time.Time
	var unread logLimit
	notice := make([]byte, 0, MaxPacket)
	// One byte more than allowed, to detect packets that are too long.
	p := make([]byte, MaxPacket+1)
	for {
		n, from, err := r.conn.ReadFrom(p)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if omitted, ok := unread.allow(time.Now()); ok {
				r.log.Warn("cannot read heartbeats", "err", err, "omitted", omitted)
			}
			time.Sleep(tick)
			continue
		}
		var m message
		kind, body, reject := ring.of(&r.readerKeys).open(p[:n])
		if reject == Accepted {
			m.kind, m.from = kind, from
			switch kind {
			case kindHeartbeat:
				m.beat, reject = parseHeartbeat(p[:n], body)
				m.size = copy(m.name[:], m.beat.Name)
				m.beat.Name = nil // it points into p, which the next read overwrites
			case kindQuery, kindAnswer, kindChallenge:
				m.query, reject = parseInquiry(p[:n], body)
				m.size = copy(m.name[:], m.query.name)
				m.query.name = nil
			case kindProof, kindAck:
				var name []byte
				m.proof, name, reject = parseProof(p[:n], body)
				m.size = copy(m.name[:], name)
			default:
				reject = RejectForm
			}
		}
		if reject != Accepted {
			r.stats.received[reject].Inc()
			if reject != RejectKey && reject != RejectMAC {
				continue
			}
			r.reject(rejected{claimedName(p[:n]), reject, binary.BigEndian.Uint32(p[8:]), from})
			if now := time.Now(); now.Sub(noticed) >= noticeEvery {
				noticed = now
				r.conn.WriteTo(appendNotice(notice[:0], reject, p[:n]), from)
			}
			continue
		}
		select {
		case r.inbox <- m:
		default:
			r.stats.received[RejectOverload].Inc()
		}
	}
}

// reject hands a rejected packet to the owner, unless too many are queued.
func (r *Registry) reject(j rejected) {
	select {
	case r.rejects <- j:
	default:
	}
}

// receive handles a message on the owner's goroutine.
func (r *Registry) receive(msg *message) {
	now := time.Now()
	m := r.members[perto.Replica(msg.name[:msg.size])]
	switch msg.kind {
	case kindQuery, kindAnswer:
		r.life(now)
		r.witness(msg, m, now)
		return
	case kindProof:
		r.proved(msg.proof, m, now)
		return
	case kindChallenge, kindAck:
		return // only senders handle these
	}
	if m == nil {
		r.stats.received[RejectName].Inc()
		r.noteRejected(rejected{perto.Replica(msg.name[:msg.size]), RejectName, 0, msg.from}, now)
		return
	}
	reject := m.beat(&msg.beat, now)
	r.stats.received[reject].Inc()
	if reject == RejectEpoch {
		r.noteRejected(rejected{m.declared.Name, reject, 0, msg.from}, now)
		r.challenge(m, msg.from, now)
	}
	if reject != Accepted {
		return
	}
	m.rejection = rejection{}
	r.acknowledge(m, msg.from, now)
	r.compare(m, now)
	if m.declared.Name != r.cfg.Self {
		r.life(now)
	}
	r.judge(m, now, r.isolated(now))
}

// witness answers a query of another DNS node, or handles the response to a query.
func (r *Registry) witness(msg *message, m *member, now time.Time) {
	if msg.kind == kindQuery {
		q := inquiry{nonce: msg.query.nonce, age: never, name: msg.name[:msg.size]}
		if m != nil && !m.heard.IsZero() && !m.farewell {
			q.age = uint32(min(now.Sub(m.heard).Milliseconds(), never-1))
		}
		r.stats.witness[witnessAnswered].Inc()
		r.scratch = appendInquiry(r.scratch[:0], kindAnswer, &q, r.keys)
		r.conn.WriteTo(r.scratch, msg.from) // best effort, like all packets on this port
		return
	}
	q, ok := r.asked[msg.query.nonce]
	if !ok || q.about != m {
		return // replayed, too late, or about a replica that was removed
	}
	delete(r.asked, msg.query.nonce)
	if msg.query.age == never {
		r.stats.witness[witnessNever].Inc()
		return
	}
	// The age counts from the departure of the question. The travel time of the
	// response therefore does not make the heartbeat look fresher.
	age := time.Duration(msg.query.age) * time.Millisecond
	if age >= m.removeAfter() {
		r.stats.witness[witnessNever].Inc()
		return
	}
	r.stats.witness[witnessHeard].Inc()
	m.alive(q.at.Add(-age))
	r.judge(m, now, r.isolated(now))
}

// ask probes a silent replica at once and asks witnesses about it.
func (r *Registry) ask(ctx context.Context, m *member, now time.Time) {
	for i := range m.checks {
		r.probe(ctx, m, &m.checks[i], min(m.checks[i].probe.Timeout, confirmTimeout))
	}
	if len(m.checks) == 0 {
		// The replica's last status holds the port that it listens on.
		if target := probeTarget(m.declared, m.status.Port); target.IsValid() {
			m.confirm.probe, m.confirm.target = Probe{Kind: ProbeTCP}, target
			m.confirm.up, m.confirm.down = defaultProbeUp, defaultProbeDown
			r.probe(ctx, m, &m.confirm, confirmTimeout)
		}
	}
	n := len(r.cfg.Witnesses)
	for i := range min(n, maxWitnesses) {
		r.nonce++
		to := r.cfg.Witnesses[(int(r.nonce%math.MaxInt32)+i)%n]
		q := inquiry{nonce: r.nonce, age: never, name: []byte(m.declared.Name)}
		r.asked[q.nonce] = question{m, now}
		r.stats.witness[witnessAsked].Inc()
		r.scratch = appendInquiry(r.scratch[:0], kindQuery, &q, r.keys)
		r.conn.WriteTo(r.scratch, net.UDPAddrFromAddrPort(to))
	}
}

// result is the outcome of a probe run.
type result struct {
	member  *member
	check   *check
	run     uint64
	started time.Time
	outcome outcome
	err     error
}

// probe starts a check unless it is running already.
func (r *Registry) probe(ctx context.Context, m *member, k *check, timeout time.Duration) {
	now := time.Now()
	if k.running || r.probing >= maxProbing || !k.target.IsValid() {
		return
	}
	k.due = now.Add(k.probe.Interval)
	k.running = true
	k.run++
	r.probing++
	ctx, k.cancel = context.WithTimeout(ctx, timeout)
	cancel, probe, target, run := k.cancel, k.probe, k.target, k.run
	go func() {
		defer cancel()
		err := r.probes.run(ctx, probe, target)
		r.results <- result{member: m, check: k, run: run, started: now, outcome: classify(err), err: err}
	}()
}

// publishChanges publishes a Fleet when a relevant value changed.
func (r *Registry) publishChanges() {
	if r.changed {
		r.publish()
		r.save()
		return
	}
	now := time.Now()
	if now.Sub(r.loaded) < loadEvery {
		return
	}
	r.loaded = now
	for _, m := range r.sorted {
		if math.Abs(m.status.Load-m.load) >= loadStep {
			r.publish()
			return
		}
	}
}

// publish makes a new Fleet.
func (r *Registry) publish() {
	f := &Fleet{Isolated: r.wasIsolated, World: r.cfg.World, Sites: r.sites, Members: make([]Member, 0, len(r.sorted))}
	for _, m := range r.sorted {
		m.load = m.status.Load
		f.Members = append(f.Members, Member{
			Declared: m.declared, State: m.state, Reason: m.reason, Since: m.since, HeldUntil: m.held, World: m.status.World, Load: m.load, Admin: m.admin,
		})
	}
	r.fleet.Store(f)
	r.changed = false
}

// save hands the state to the writer goroutine of the file.
func (r *Registry) save() {
	out := make([]stored, 0, len(r.sorted))
	for _, m := range r.sorted {
		out = append(out, stored{
			Name: m.declared.Name, Down: m.judged == StateDown, Epoch: m.epoch, Sequence: m.sequence,
			Admin: m.admin, AdminUntil: m.adminUntil,
		})
	}
	r.store.save(out)
}
