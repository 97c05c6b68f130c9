package replicas

import (
	"fmt"
	"time"

	"perto"
)

// What silence means. With heartbeats every 0.5 s a killed edge is asked after
// 1.05 s at the latest and refuses within a round trip; a silent one is out
// within 2.5 s of its last words, the way here included.
const (
	// suspectAfter is two missed heartbeats and a little for jitter.
	suspectAfter = 2*HeartbeatInterval + 50*time.Millisecond
	// downAfter is how long a replica may be silent when nobody vouches for it.
	downAfter = 2250 * time.Millisecond
	// vouchLasts is how long a successful probe or a witness's word counts.
	vouchLasts = 1500 * time.Millisecond
	// askAgain is the time between probes of a suspect.
	askAgain = 500 * time.Millisecond
	// bootGrace is how long after the start nobody is asked for being silent.
	bootGrace = 3 * time.Second
	// unheardProbe is the time between probes of a replica never heard of.
	unheardProbe = 2 * time.Second
	// beatsToReturn is how many heartbeats in a row bring a dead replica back.
	beatsToReturn = 2
	// unheardFailures is how many probes of a replica never heard of must fail.
	unheardFailures = 3
)

// lease is what the registry knows of one replica. Only the registry's goroutine
// touches it.
type lease struct {
	Declared
	probes []probing

	state  State
	reason string
	since  time.Time

	status          Status
	epoch, sequence uint64
	heard           time.Time // the last heartbeat; zero: never
	beats           int       // heartbeats since it was last down
	farewell        bool

	evidence string    // proof that it is dead since the last heartbeat; "" for none
	vouched  time.Time // when a probe or a witness last said that it lives
	asked    time.Time // when it was last probed for being silent
	asking   bool
	failures int // probes of it that failed since it was last known to live

	admin      string
	adminUntil time.Time
}

// probing is a declared probe under way.
type probing struct {
	Probe
	damping damping
	last    time.Time
	busy    bool
	reason  string
}

// silentFor returns how long a replica has said nothing.
func (l *lease) silentFor(now time.Time) time.Duration { return now.Sub(l.heard) }

// beat takes a heartbeat. It returns replayed when it is not newer than the last
// one.
func (l *lease) beat(m *message, now time.Time) parseOutcome {
	if m.epoch < l.epoch || m.epoch == l.epoch && m.sequence <= l.sequence {
		return replayed
	}
	l.epoch, l.sequence = m.epoch, m.sequence
	l.heard, l.status, l.farewell = now, m.status, m.farewell
	l.evidence, l.failures = "", 0
	l.beats++
	return parsed
}

// judge returns the state that follows from everything known, and why. alone
// says that no replica at all is being heard, so that this node's own network
// is suspect.
func (l *lease) judge(now time.Time, heartbeats, alone bool) (State, string) {
	switch l.admin {
	case "down":
		return StateDown, "taken down by the administrator"
	case "drain":
		return StateDraining, "drained by the administrator"
	case "up":
		return StateUp, "held up by the administrator"
	}
	for i := range l.probes {
		if p := &l.probes[i]; p.damping.down {
			return StateDown, fmt.Sprintf("%s probe: %s", p.Kind, p.reason)
		}
	}
	if l.evidence != "" {
		return StateDown, l.evidence
	}
	if !heartbeats || l.heard.IsZero() {
		return l.judgeUnheard(heartbeats)
	}
	silent := l.silentFor(now)
	switch {
	case l.farewell:
		return StateDown, "said farewell"
	case silent >= downAfter && now.Sub(l.vouched) >= vouchLasts:
		if alone {
			return StateUnknown, "nobody is heard: this node's own network is suspect"
		}
		return StateDown, fmt.Sprintf("silent for %s", downAfter)
	case l.state == StateDown && l.beats < beatsToReturn:
		return StateDown, l.reason
	case silent >= suspectAfter:
		return StateSuspect, "missed two heartbeats"
	case !l.status.Serving:
		return StateDown, "says that it does not serve"
	case l.status.Draining:
		return StateDraining, "says that it drains"
	}
	return StateUp, "heartbeats"
}

// judgeUnheard decides about a replica that never reported: it is assumed up
// until probes say otherwise.
func (l *lease) judgeUnheard(heartbeats bool) (State, string) {
	switch {
	case l.failures >= unheardFailures:
		return StateDown, "never heard of, and it does not answer"
	case !l.vouched.IsZero():
		return StateUp, "answers probes"
	case !heartbeats && len(l.probes) > 0 && l.probes[0].damping.successes > 0:
		return StateUp, "answers probes"
	}
	return StateUnknown, "nothing heard yet"
}

// enter changes the state; it reports whether anything changed.
func (l *lease) enter(s State, reason string, now time.Time) bool {
	if l.state == s && l.reason == reason {
		return false
	}
	if l.state != s {
		l.since = now
		if s == StateDown {
			l.beats = 0
		}
	}
	l.state, l.reason = s, reason
	return true
}

// member shows a lease in a Fleet.
func (l *lease) member() Member {
	return Member{Declared: l.Declared, State: l.state, Reason: l.reason, Since: l.since, Load: l.status.Load, Admin: l.admin}
}

// Event is a change of a replica's state.
type Event struct {
	Time    time.Time     `json:"time"`
	Replica perto.Replica `json:"replica"`
	From    State         `json:"from"`
	To      State         `json:"to"`
	Reason  string        `json:"reason"`
}
