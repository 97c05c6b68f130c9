package replicas

import (
	"fmt"
	"time"
)

// The times of the lease, in units of the sender's interval (0.5 s by default).
const (
	// minInterval and maxInterval bound what a sender may claim: a lease of
	// hours would be no lease.
	minInterval = 100 * time.Millisecond
	maxInterval = 10 * time.Second

	// leaseSlack is for jitter of the network: two missed beats are noticed
	// 0.1 s after the second was due.
	leaseSlack = 100 * time.Millisecond
	// missedRemove intervals of silence, less the slack, remove a replica: 2.4 s,
	// which the ticks and the network round up to the promised 2.5 s.
	missedSuspect, missedRemove = 2, 5

	// bootGrace is how long a replica that should send heartbeats is assumed up
	// after its declaration although none came.
	bootGrace = 5 * time.Second
	// beatsBack is how many heartbeats in a row bring a replica back that was
	// silent or dead; a new process needs only one.
	beatsBack = 3
)

// member is what the registry knows of one replica. It is a pure state machine:
// events and the time go in, a judgement comes out. The registry's goroutine
// owns it.
type member struct {
	declared Declared
	born     time.Time // when it was declared here

	// Heartbeats.
	epoch, sequence uint64
	status          Status
	interval        time.Duration
	heard           time.Time // the last heartbeat; zero when none came in this life of ours
	run             int       // heartbeats without a gap, since the last evidence of death
	counted         time.Time // the last that counted for run
	renewed         bool      // the process is another than the one that went down
	farewell        bool
	rejection       rejection // the newest, since the last heartbeat that was accepted
	challenged      time.Time // when a challenge was sent; zero: none is open
	nonce           uint64    // of that challenge
	adopted         time.Time // when a lower epoch was logged last

	// Other evidence.
	sign     time.Time // when it was last known to live by a weaker sign: a probe's answer, a witness
	dead     string    // positive evidence of death; "" when there is none
	restored bool      // it was down when our file was written, nothing newer is known
	checks   []check   // one for each declared probe
	confirm  check     // the TCP probe of a silent replica without probes

	judged  State  // by evidence alone
	why     string // the reason for that
	hold    holdDown
	nextAsk time.Time // while silent: when to probe and to ask witnesses again

	admin      string
	adminUntil time.Time // zero: without end

	// As published.
	state  State
	reason string
	since  time.Time
	load   float64
}

func newMember(d Declared, now time.Time) *member {
	m := &member{born: now, interval: DefaultInterval, judged: StateUnknown, state: StateUnknown, reason: "nothing heard yet", since: now}
	m.declare(d, now)
	return m
}

// declare takes over what the configuration says now. Evidence stays, but
// probes that changed start anew.
func (m *member) declare(d Declared, now time.Time) {
	if !sameProbes(m.declared, d) || m.checks == nil {
		for i := range m.checks {
			m.checks[i].stop()
		}
		m.checks = newChecks(d, now)
	}
	if m.declared.Check != d.Check || len(m.declared.Addresses) > 0 && len(d.Addresses) > 0 && m.declared.Addresses[0] != d.Addresses[0] {
		m.confirm.stop()
		m.dead = "" // it was the death of another address
	}
	m.declared = d
}

// stop ends the probes under way: checks die with the record.
func (m *member) stop() {
	for i := range m.checks {
		m.checks[i].stop()
	}
	m.confirm.stop()
}

func (m *member) suspectAfter() time.Duration { return missedSuspect*m.interval + leaseSlack }
func (m *member) removeAfter() time.Duration  { return missedRemove*m.interval - leaseSlack }

// beat takes a heartbeat whose signature was checked.
func (m *member) beat(h *Heartbeat, now time.Time) Reject {
	switch {
	case h.Epoch < m.epoch:
		return RejectEpoch
	case h.Epoch == m.epoch && m.farewell:
		return RejectFarewell
	case h.Epoch == m.epoch && h.Sequence <= m.sequence:
		return RejectSequence
	}
	if h.Epoch > m.epoch {
		// Another process: what is known of the one before does not concern it.
		m.renewed, m.run, m.dead, m.farewell = true, 0, "", false
	}
	if !m.heard.IsZero() && now.Sub(m.heard) >= m.suspectAfter() {
		m.run = 0
	}
	m.epoch, m.sequence = h.Epoch, h.Sequence
	m.status = h.Status
	m.interval = min(max(h.Interval, minInterval), maxInterval)
	m.heard = now
	m.restored = false
	if h.Farewell {
		m.farewell, m.run = true, 0
		return Accepted
	}
	// A process that wakes sends what it had ready at once: only beats at their
	// proper distance prove that it keeps going.
	if m.run == 0 || now.Sub(m.counted) >= m.interval/2 {
		m.run++
		m.counted = now
	}
	if m.run >= beatsBack {
		m.dead = ""
	}
	return Accepted
}

// die notes positive evidence of death.
func (m *member) die(why string) {
	m.dead, m.run, m.renewed = why, 0, false
}

// alive notes a sign of life which is not a heartbeat.
func (m *member) alive(at time.Time) {
	if at.After(m.sign) {
		m.sign = at
	}
}

// silence is how long no heartbeat came; 0 when none ever did.
func (m *member) silence(now time.Time) time.Duration {
	if m.heard.IsZero() {
		return 0
	}
	return now.Sub(m.heard)
}

// silent reports whether the replica should be probed and asked about: it
// missed two heartbeats, or should send some and never did.
func (m *member) silent(now time.Time, heartbeats bool) bool {
	if m.judged == StateDown || !heartbeats {
		return false
	}
	if m.heard.IsZero() {
		return m.declared.Beats && now.Sub(m.born) >= m.suspectAfter()
	}
	return now.Sub(m.heard) >= m.suspectAfter()
}

// askPause is how long to wait before asking about a silent replica again: not
// long while the answers matter, longer when nobody knew anything for a while.
func (m *member) askPause(now time.Time) time.Duration {
	quiet := now.Sub(later(later(m.heard, m.sign), m.born))
	if quiet > 2*m.removeAfter() {
		return askSeldom
	}
	return askEvery
}

// circumstances are what the registry knows beyond one member.
type circumstances struct {
	now        time.Time
	heartbeats bool // we listen for heartbeats
	isolated   bool // nothing was heard from anybody: our own network is suspect
}

// judge weighs the evidence. It does not look at what was judged before.
func (m *member) judge(c circumstances) (State, string) {
	if m.farewell {
		return StateDown, "said farewell"
	}
	if m.dead != "" {
		return StateDown, m.dead
	}
	for i := range m.checks {
		if k := &m.checks[i]; k.verdict == bad {
			return StateDown, fmt.Sprintf("probe %s failed %d times: %s", k.probe.Kind, k.down, k.last)
		}
	}
	if m.heard.IsZero() {
		return m.judgeUnheard(c)
	}
	if m.status.Listeners != 0 && m.status.Listeners&^m.status.Failing == 0 {
		return StateDown, "none of its listeners works"
	}
	silence := m.silence(c.now)
	if silence < m.suspectAfter() {
		if m.status.Draining {
			return StateDraining, "says that it drains"
		}
		return StateUp, "heartbeats"
	}
	if life := min(silence, c.now.Sub(m.sign)); life >= m.removeAfter() && !c.isolated {
		return StateDown, "silent, and nobody else heard it"
	}
	switch {
	case m.status.Draining:
		return StateDraining, "said that it drains, now silent"
	case silence < m.removeAfter():
		return StateSuspect, fmt.Sprintf("%d heartbeats missed", missedSuspect)
	case c.isolated:
		return StateUnknown, "nobody is heard: our own network is suspected"
	}
	return StateSuspect, "no heartbeats, but a probe or a witness found it alive"
}

// judgeUnheard judges a replica of which no heartbeat came since we started.
func (m *member) judgeUnheard(c circumstances) (State, string) {
	if m.restored {
		return StateDown, "was down before we restarted"
	}
	for i := range m.checks {
		if m.checks[i].verdict == good {
			return StateUp, "probes succeed"
		}
	}
	if c.heartbeats && m.declared.Beats && !c.isolated && c.now.Sub(m.born) >= bootGrace {
		if !m.sign.IsZero() && c.now.Sub(m.sign) < m.removeAfter() {
			return StateSuspect, "no heartbeats, but a probe or a witness found it alive"
		}
		return StateDown, "never heard"
	}
	return StateUnknown, "nothing heard yet"
}

// update judges anew and settles how long a removed replica stays away. It
// returns how long after the last sign of life a removal came, or -1 when there
// was none.
func (m *member) update(c circumstances) (removal time.Duration) {
	removal = -1
	state, reason := m.judge(c)
	switch {
	case m.judged == StateDown && state != StateDown:
		if !m.recovered() {
			state, reason = StateDown, m.why
		} else if c.now.Before(m.hold.until) {
			state, reason = StateDown, "held down: it went down several times"
		} else {
			m.dead, m.restored, m.renewed = "", false, false
		}
	case m.judged != StateDown && state == StateDown:
		m.hold.removed(c.now)
		m.run = 0
		m.renewed = false
		if !m.heard.IsZero() {
			removal = c.now.Sub(later(m.heard, m.sign))
		}
	}
	m.judged, m.why = state, reason
	if why := m.rejected(c.now); why != "" {
		reason = "its heartbeats are rejected: " + why
	}
	m.publish(state, reason, c.now)
	return removal
}

// rejected returns why heartbeats of the replica are rejected, if they are and no
// accepted one is fresh; else "".
func (m *member) rejected(now time.Time) string {
	if m.rejection.text == "" || now.Sub(m.rejection.at) >= rejectionLasts {
		return ""
	}
	if !m.heard.IsZero() && now.Sub(m.heard) < m.suspectAfter() {
		return ""
	}
	return m.rejection.text
}

// recovered reports whether there is enough evidence that a removed replica is
// back.
func (m *member) recovered() bool {
	if m.run >= beatsBack || m.run > 0 && m.renewed {
		return true
	}
	for i := range m.checks {
		if k := &m.checks[i]; k.verdict != good || k.successes < k.up {
			return false
		}
	}
	return len(m.checks) > 0
}

// publish sets what readers see: the judgement, unless an administrator has
// said something.
func (m *member) publish(state State, reason string, now time.Time) {
	if m.admin != "" && !m.adminUntil.IsZero() && !now.Before(m.adminUntil) {
		m.admin = ""
	}
	switch m.admin {
	case AdminUp:
		state, reason = StateUp, "an administrator says so"
	case AdminDown:
		state, reason = StateDown, "an administrator says so"
	case AdminDrain:
		if state != StateDown {
			state, reason = StateDraining, "an administrator drains it"
		}
	}
	if state != m.state {
		m.since = now
	}
	m.state, m.reason = state, reason
}

// extend moves all that expires: this node could not hear for a while.
func (m *member) extend(by time.Duration, now time.Time) {
	m.born = m.born.Add(by)
	for _, t := range []*time.Time{&m.heard, &m.sign} {
		if !t.IsZero() {
			*t = earlier(t.Add(by), now)
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
