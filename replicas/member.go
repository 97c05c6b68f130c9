package replicas

import (
	"fmt"
	"time"
)

// The times of the lease, in units of the sender's interval (0.5 s by default).
const (
	// minInterval and maxInterval bound the interval that a sender may claim. A lease
	// of hours would delay removals by hours.
	minInterval = 100 * time.Millisecond
	maxInterval = 10 * time.Second

	// leaseSlack allows for network jitter: two missed heartbeats are noticed 0.1 s
	// after the second was due.
	leaseSlack = 100 * time.Millisecond
	// missedRemove intervals of silence, less the slack, remove a replica. This is 2.4
	// s, which ticks and the network extend to the documented 2.5 s.
	missedSuspect, missedRemove = 2, 5

	// bootGrace is how long a replica that should send heartbeats is assumed up after
	// its declaration although none arrived.
	bootGrace = 5 * time.Second
	// beatsBack is how many heartbeats in a row bring back a replica that was silent or
	// dead. A new process needs only one.
	beatsBack = 3
)

// member is the registry's record of one replica. It is a pure state machine: its
// inputs are events and the time, its output is a judgement. The registry's goroutine
// owns it.
type member struct {
	declared Declared
	born     time.Time // time of its declaration in this process

	// Heartbeats.
	epoch, sequence uint64
	status          Status
	shown           Digest    // status.World in the last Fleet
	differs         time.Time // since when it has another configuration; zero when it has not
	differsLogged   bool
	interval        time.Duration
	heard           time.Time // the last heartbeat; zero when this process has received none
	run             int       // heartbeats without a gap, since the last evidence of death
	counted         time.Time // the last heartbeat that counted for run
	renewed         bool      // the process is not the one that went down
	farewell        bool
	rejection       rejection // the newest, since the last heartbeat that was accepted
	acknowledged    time.Time // time of the last acknowledgement to it
	challenged      time.Time // time of the challenge; zero when none is open
	nonce           uint64    // of that challenge
	adopted         time.Time // when a lower epoch was logged last

	// Other evidence.
	sign     time.Time // newest weaker sign of life: a probe's response or a witness
	dead     string    // positive evidence of death; "" when there is none
	restored bool      // it was down when the state file was written, and no newer evidence exists
	checks   []check   // one for each declared probe
	confirm  check     // the TCP probe of a silent replica without probes

	judged  State  // state by evidence alone
	why     string // the reason for judged
	hold    holdDown
	held    time.Time // the end of the current hold-down; zero when there is none
	nextAsk time.Time // while silent: the next probe and witness query

	admin      string
	adminUntil time.Time // zero means without end

	minorLogged logLimit // of changes that leave it in the answers

	// As published.
	state  State
	reason string
	since  time.Time
	load   float64
}

func newMember(d Declared, now time.Time) *member {
	m := &member{born: now, interval: DefaultInterval, judged: StateUnknown, state: StateUnknown, reason: "no evidence yet", since: now}
	m.declare(d, now)
	return m
}

// declare applies the current configuration. Evidence stays, but changed probes start
// again.
func (m *member) declare(d Declared, now time.Time) {
	if !sameProbes(m.declared, d) || m.checks == nil {
		for i := range m.checks {
			m.checks[i].stop()
		}
		m.checks = newChecks(d, now)
	}
	if m.declared.Check != d.Check || len(m.declared.Addresses) > 0 && len(d.Addresses) > 0 && m.declared.Addresses[0] != d.Addresses[0] {
		m.confirm.stop()
		m.dead = "" // the evidence was about another address
	}
	m.declared = d
}

// stop ends the running probes of a removed record.
func (m *member) stop() {
	for i := range m.checks {
		m.checks[i].stop()
	}
	m.confirm.stop()
}

func (m *member) suspectAfter() time.Duration { return missedSuspect*m.interval + leaseSlack }
func (m *member) removeAfter() time.Duration  { return missedRemove*m.interval - leaseSlack }

// beat handles a heartbeat with a verified signature.
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
		// Evidence about an earlier process does not apply to a new one.
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
	// A process that wakes sends its delayed heartbeats at once. Only heartbeats at
	// their proper distance prove that it keeps running.
	if m.run == 0 || now.Sub(m.counted) >= m.interval/2 {
		m.run++
		m.counted = now
	}
	if m.run >= beatsBack {
		m.dead = ""
	}
	return Accepted
}

// die records positive evidence of death.
func (m *member) die(why string) {
	m.dead, m.run, m.renewed = why, 0, false
}

// alive records a sign of life other than a heartbeat.
func (m *member) alive(at time.Time) {
	if at.After(m.sign) {
		m.sign = at
	}
}

// silence returns the time since the last heartbeat, or 0 when none ever arrived.
func (m *member) silence(now time.Time) time.Duration {
	if m.heard.IsZero() {
		return 0
	}
	return now.Sub(m.heard)
}

// silent reports whether the replica should be probed and witnesses be asked. It missed
// two heartbeats, or should send heartbeats and never did.
func (m *member) silent(now time.Time, heartbeats bool) bool {
	if m.judged == StateDown || !heartbeats {
		return false
	}
	if m.heard.IsZero() {
		return m.declared.Beats && now.Sub(m.born) >= m.suspectAfter()
	}
	return now.Sub(m.heard) >= m.suspectAfter()
}

// askPause returns the pause before the next query about a silent replica. It is short
// while the result can change answers. It is longer when queries brought no evidence
// for a while.
func (m *member) askPause(now time.Time) time.Duration {
	quiet := now.Sub(later(later(m.heard, m.sign), m.born))
	if quiet > 2*m.removeAfter() {
		return askSeldom
	}
	return askEvery
}

// circumstances are the facts beyond one member that a judgement needs.
type circumstances struct {
	now        time.Time
	heartbeats bool // heartbeats are on
	isolated   bool // no packet arrived from any replica: this node's own network is suspect
}

// judge weighs the evidence. The earlier judgement is no input.
func (m *member) judge(c circumstances) (State, string) {
	if m.farewell {
		return StateDown, "sent a farewell"
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
			return StateDraining, "reports that it drains"
		}
		return StateUp, "heartbeats"
	}
	if life := min(silence, c.now.Sub(m.sign)); life >= m.removeAfter() && !c.isolated {
		return StateDown, "silent, and no probe or witness found it alive"
	}
	switch {
	case m.status.Draining:
		return StateDraining, "reported that it drains, now silent"
	case silence < m.removeAfter():
		return StateSuspect, fmt.Sprintf("%d heartbeats missed", missedSuspect)
	case c.isolated:
		return StateUnknown, "no replica is reachable: the network of this node is suspected"
	}
	return StateSuspect, "no heartbeats, but a probe or a witness found it alive"
}

// judgeUnheard judges a replica that sent no heartbeat since this process started.
func (m *member) judgeUnheard(c circumstances) (State, string) {
	if m.restored {
		return StateDown, "was down before this node restarted"
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
		return StateDown, "no heartbeat ever arrived"
	}
	return StateUnknown, "no evidence yet"
}

// update judges the member and decides how long a removed replica stays down. It
// returns the time from the last sign of life to the removal, or -1 without a removal.
func (m *member) update(c circumstances) (removal time.Duration) {
	removal = -1
	state, reason := m.judge(c)
	held := !m.held.IsZero()
	m.held = time.Time{}
	switch {
	case m.judged == StateDown && state != StateDown:
		switch recovered := m.recovered(); {
		case (held || recovered) && c.now.Before(m.hold.until):
			m.held = m.hold.until
			state, reason = StateDown, m.hold.reason()
		case recovered:
			m.dead, m.restored, m.renewed = "", false, false
		case held:
			state, reason = StateDown, "was held down, and is not well enough to return"
		default:
			state, reason = StateDown, m.why
		}
	case state == StateDown && (m.judged != StateDown || held):
		if !m.farewell {
			m.hold.died(c.now)
		}
		m.run = 0
		m.renewed = false
		if m.judged != StateDown && !m.heard.IsZero() && !m.farewell {
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

// rejected returns the reason why heartbeats of the replica are rejected. It is "" when
// none is rejected or an accepted one is fresh.
func (m *member) rejected(now time.Time) string {
	if m.rejection.text == "" || now.Sub(m.rejection.at) >= rejectionLasts {
		return ""
	}
	if !m.heard.IsZero() && now.Sub(m.heard) < m.suspectAfter() {
		return ""
	}
	return m.rejection.text
}

// recovered reports whether there is enough evidence that a removed replica is back.
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

// publish sets the state that readers see: the judgement, unless an administrator's
// order overrides it.
func (m *member) publish(state State, reason string, now time.Time) {
	if m.admin != "" && !m.adminUntil.IsZero() && !now.Before(m.adminUntil) {
		m.admin = ""
	}
	switch m.admin {
	case AdminUp:
		state, reason = StateUp, "set by an administrator"
	case AdminDown:
		state, reason = StateDown, "set by an administrator"
	case AdminDrain:
		if state != StateDown {
			state, reason = StateDraining, "drained by an administrator"
		}
	}
	if state != m.state {
		m.since = now
	}
	m.state, m.reason = state, reason
}

// extend moves all expiry times, because this node could not receive for a while.
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
