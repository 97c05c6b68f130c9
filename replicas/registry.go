package replicas

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"time"

	"perto"
	"perto/internal/netx"
	"perto/internal/snapshot"
	"perto/metrics"
)

const (
	// tick is the interval of lease checks.
	tick = 50 * time.Millisecond
	// stallAfter is how late a tick may be before the registry concludes that it could
	// not receive packets meanwhile.
	stallAfter = 300 * time.Millisecond
	// askEvery is the interval of probes and witness queries about a silent replica.
	// askSeldom is the interval after these brought no evidence.
	askEvery  = 500 * time.Millisecond
	askSeldom = 5 * time.Second
	// maxWitnesses is how many other DNS nodes are asked about one replica.
	maxWitnesses = 3
	// maxProbing limits the concurrent probes. Others wait for the next tick.
	maxProbing = 64
	// loadStep and loadEvery limit how often a change of load alone is published,
	// because each Fleet makes the mapper recompute.
	loadStep  = 0.05
	loadEvery = time.Second
	// inboxSize is how many packets may wait for the registry: two intervals of a
	// thousand edges.
	inboxSize = 2048
	// maxRejects is how many rejected packets may wait to be shown. The registry only
	// counts any others.
	maxRejects = 16
)

// Config holds the parameters of a Registry.
type Config struct {
	Network netx.Network
	// Listen is the UDP address for heartbeats, for example ":5399". Heartbeats are off
	// when it is "" or there are no Keys. Then probes alone decide.
	Listen string
	Settings
	// Self is the replica on this machine, if there is one. Its heartbeats do not prove
	// that the network works.
	Self    perto.Replica
	File    string      // the state file that survives a restart; "" for none
	TLS     *tls.Config // for https probes; nil verifies no certificate
	Metrics *metrics.Registry
	Logger  *slog.Logger
}

// Registry gathers evidence about replicas and publishes the Fleet. The goroutine of
// [Registry.Run] is its owner and makes all decisions.
type Registry struct {
	cfg    Config
	log    *slog.Logger
	stats  *stats
	conn   net.PacketConn // nil when heartbeats are off
	probes prober
	keys   *Keyring // used by the owner
	// readerKeys are the keys from which the reader makes its own Keyring.
	readerKeys atomic.Pointer[[]Key]
	store      *store
	fleet      snapshot.Var[Fleet]
	events     eventRing

	inbox    chan message
	rejects  chan rejected
	results  chan result
	commands chan func(now time.Time)
	done     chan struct{}

	// The owner's fields.
	sites       []Site
	members     map[perto.Replica]*member
	sorted      []*member     // by name
	awake       time.Time     // last time that the owner ran
	lastLife    time.Time     // last sign of life of any replica
	quiet       time.Duration // length of a silence of all replicas that is suspicious
	wasIsolated bool
	probing     int
	nonce       uint64
	asked       map[uint64]question // witness queries without a response yet
	changed     bool                // the Fleet must be published
	loaded      time.Time           // last publication for a change of load alone
	scratch     []byte
	// rejectLogged holds the time of the last log line for each reason.
	rejectLogged [len(rejectNames)]logLimit
	stallLogged  logLimit
	aloneLogged  time.Time // the last line that the node is isolated
	alone        int       // times that it became isolated since then
	aloneShown   bool      // the newest line says that it is isolated
}

// question is a witness query that waits for its response.
type question struct {
	about *member
	at    time.Time
}

// New opens the heartbeat port, loads the file and publishes a first Fleet. In it all
// replicas are assumed up, except those that are down in the file. The caller must call
// Run next. A damaged file is only a warning.
func New(ctx context.Context, cfg Config) (*Registry, error) {
	r := &Registry{
		cfg:      cfg,
		log:      cfg.Logger,
		probes:   prober{cfg.Network, cfg.TLS},
		keys:     NewKeyring(cfg.Keys...),
		inbox:    make(chan message, inboxSize),
		rejects:  make(chan rejected, maxRejects),
		results:  make(chan result, maxProbing),
		commands: make(chan func(time.Time), 16),
		done:     make(chan struct{}),
		members:  make(map[perto.Replica]*member),
		asked:    make(map[uint64]question),
		nonce:    rand.Uint64(),
	}
	r.readerKeys.Store(&cfg.Keys)
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	if cfg.Metrics == nil {
		cfg.Metrics = metrics.New()
	}
	r.stats = newStats(cfg.Metrics, &r.fleet)
	if cfg.Listen != "" && len(cfg.Keys) > 0 {
		conn, err := cfg.Network.ListenPacket(ctx, "udp", cfg.Listen)
		if err != nil {
			return nil, &perto.Error{Op: "listen for heartbeats", Path: cfg.Listen, Kind: perto.KindUnavailable, Err: err}
		}
		r.conn = conn
	}
	now := time.Now()
	r.awake, r.lastLife = now, now
	r.declare(cfg.Sites, cfg.Declared, now)
	r.store = newStore(cfg.File, r.log)
	for _, s := range r.store.load(now) {
		if m := r.members[s.Name]; m != nil {
			m.restore(s)
			m.publish(m.judged, m.why, now)
		}
	}
	r.publish()
	return r, nil
}

// Fleet returns the variable that the registry publishes to. It stores a new Fleet at
// each relevant change.
func (r *Registry) Fleet() *snapshot.Var[Fleet] { return &r.fleet }

// Addr returns the address of the heartbeat port, or nil when heartbeats are off.
func (r *Registry) Addr() net.Addr {
	if r.conn == nil {
		return nil
	}
	return r.conn.LocalAddr()
}

// Events returns the last changes of state, oldest first.
func (r *Registry) Events() []Event { return r.events.list() }

// Run gathers evidence until the context ends. It must be called once. It returns nil
// after closing the port and ending all probes.
func (r *Registry) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var reader chan struct{}
	if r.conn != nil {
		reader = make(chan struct{})
		go func() { defer close(reader); r.read() }()
	}
	go r.store.run()
	ticker := time.NewTicker(tick)
	defer func() {
		ticker.Stop()
		cancel()
		for _, m := range r.sorted {
			m.stop()
		}
		if r.conn != nil {
			r.conn.Close()
			<-reader
		}
		for ; r.probing > 0; r.probing-- {
			<-r.results
		}
		r.save()
		r.store.close()
		close(r.done)
	}()
	// The time between New and Run is no stall.
	r.awake = time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case m := <-r.inbox:
			r.wake()
			r.receive(&m)
		case j := <-r.rejects:
			r.wake()
			r.noteRejected(j, time.Now())
		case res := <-r.results:
			r.wake()
			r.probed(res)
		case f := <-r.commands:
			r.wake()
			f(time.Now())
		case <-ticker.C:
			r.wake()
			r.look(ctx)
		}
		r.publishChanges()
	}
}

// wake detects that this goroutine did not run for a while. Leases must not expire by a
// clock that went on while this process could not receive.
func (r *Registry) wake() {
	now := time.Now()
	if stall := now.Sub(r.awake) - tick; stall > stallAfter {
		r.stats.stalls.Inc()
		if omitted, ok := r.stallLogged.allow(now); ok {
			r.log.Warn("this process was stalled: all leases are extended", "stall", stall.Round(time.Millisecond), "omitted", omitted,
				"hint", "the machine has too little CPU time or memory, or was suspended")
		}
		for _, m := range r.sorted {
			m.extend(stall, now)
		}
		r.lastLife = earlier(r.lastLife.Add(stall), now)
	}
	r.awake = now
}

// heartbeats reports whether heartbeats are on.
func (r *Registry) heartbeats() bool { return r.conn != nil }

// isolated reports whether no replica gave a sign of life for a suspiciously long time.
// A fault of this node's own network is then more likely than the death of all
// replicas.
func (r *Registry) isolated(now time.Time) bool {
	others := len(r.sorted)
	if r.members[r.cfg.Self] != nil {
		others-- // its heartbeats do not cross the network
	}
	return others > 0 && now.Sub(r.lastLife) >= r.quiet
}

// setQuiet computes how long a silence of all replicas is suspicious. It ends when a
// heartbeat is overdue, or a probe where no heartbeats are expected.
func (r *Registry) setQuiet() {
	r.quiet = missedSuspect*DefaultInterval + leaseSlack
	for _, m := range r.sorted {
		switch {
		case !m.heard.IsZero():
			r.quiet = max(r.quiet, m.suspectAfter())
		case r.heartbeats() && m.declared.Beats:
		default:
			for i := range m.checks {
				r.quiet = max(r.quiet, m.checks[i].probe.Interval+m.checks[i].probe.Timeout)
			}
		}
	}
}

// life records a sign of life of any replica, which proves that the network works.
func (r *Registry) life(now time.Time) {
	if r.isolated(now) {
		// The network works again. Replicas that could not reach this node get time to
		// do so.
		for _, m := range r.sorted {
			if !m.heard.IsZero() && m.judged != StateDown {
				m.heard = later(m.heard, now.Add(-m.suspectAfter()))
			}
			m.born = later(m.born, now.Add(-bootGrace/2))
		}
	}
	r.lastLife = now
}

// look is the tick. It handles leases, probes and queries that are due.
func (r *Registry) look(ctx context.Context) {
	now := time.Now()
	r.setQuiet()
	isolated := r.isolated(now)
	if isolated != r.wasIsolated {
		if isolated {
			r.alone++
		}
		r.wasIsolated, r.changed = isolated, true
	}
	r.logIsolation(now)
	for _, m := range r.sorted {
		r.judge(m, now, isolated)
		if m.silent(now, r.heartbeats()) && !now.Before(m.nextAsk) {
			m.nextAsk = now.Add(m.askPause(now))
			r.ask(ctx, m, now)
		}
		for i := range m.checks {
			if k := &m.checks[i]; !now.Before(k.due) {
				r.probe(ctx, m, k, k.probe.Timeout)
			}
		}
	}
	for nonce, q := range r.asked {
		if now.Sub(q.at) > askEvery*2 {
			delete(r.asked, nonce)
		}
	}
}

// differsLong is how long a replica may have another configuration before the log names
// it. A change of the configuration needs some time to reach all machines.
const differsLong = 30 * time.Second

// compare notices that a replica runs another configuration than this node.
func (r *Registry) compare(m *member, now time.Time) {
	same := m.status.World == r.cfg.World || m.status.World == 0 || r.cfg.World == 0
	if m.shown != m.status.World {
		m.shown, r.changed = m.status.World, true // the Fleet shows it
	}
	switch {
	case same && m.differsLogged:
		r.log.Info("a replica runs the configuration of this node again", "replica", m.declared.Name, "config", r.cfg.World)
		fallthrough
	case same:
		m.differs, m.differsLogged = time.Time{}, false
	case m.differs.IsZero():
		m.differs = now
	case !m.differsLogged && now.Sub(m.differs) >= differsLong:
		m.differsLogged = true
		r.log.Warn("a replica runs another configuration than this node", "replica", m.declared.Name, "its", m.status.World, "here", r.cfg.World,
			"hint", "copy the same files to all machines and send SIGHUP")
	}
}

// logIsolation logs that the node is isolated or not any more. A network that comes and
// goes causes one pair of lines in logEvery, and "omitted" counts the others.
func (r *Registry) logIsolation(now time.Time) {
	switch {
	case r.wasIsolated == r.aloneShown:
		return
	case !r.wasIsolated:
		r.log.Info("the network of this node is back")
	case !r.aloneLogged.IsZero() && now.Sub(r.aloneLogged) < logEvery:
		return // the next tick looks again
	default:
		r.log.Warn("no heartbeat or probe arrives: the network of this node is suspected, and silence removes no replica", "omitted", max(0, r.alone-1))
		r.aloneLogged, r.alone = now, 0
	}
	r.aloneShown = r.wasIsolated
}

// judge weighs a member's evidence and records changes.
func (r *Registry) judge(m *member, now time.Time, isolated bool) {
	before, reason, admin := m.state, m.reason, m.admin
	removal := m.update(circumstances{now: now, heartbeats: r.heartbeats(), isolated: isolated})
	if removal >= 0 {
		r.stats.removal.Observe(removal)
	}
	if m.state == before && m.reason == reason && m.admin == admin {
		return
	}
	r.changed = true
	if m.state != before {
		r.events.add(Event{Time: now, Replica: m.declared.Name, From: before, To: m.state, Reason: m.reason})
		r.logChange(m, before, now)
	}
}

// logChange logs a change of state. Changes that leave the replica in the answers, such as
// up to suspect and back, are logged once in logEvery for each replica.
func (r *Registry) logChange(m *member, before State, now time.Time) {
	omitted := 0
	if before.Serves() == m.state.Serves() {
		var ok bool
		if omitted, ok = m.minorLogged.allow(now); !ok {
			return
		}
	}
	r.log.Info("replica changed", "replica", m.declared.Name, "from", before, "to", m.state, "reason", m.reason, "omitted", omitted)
}

// probed handles the result of a probe.
func (r *Registry) probed(res result) {
	r.probing--
	r.stats.probes[res.outcome].Inc()
	m, k := res.member, res.check
	if k.run != res.run {
		return // the check changed meanwhile, or was removed
	}
	k.running, k.cancel = false, nil
	now := time.Now()
	name := k.probe.Kind.String() + " " + k.target.String()
	switch res.outcome {
	case outcomeOK:
		r.life(now)
		k.success()
		// The kernel completes a handshake also for a server that hangs.
		if k.probe.Kind != ProbeTCP {
			m.alive(res.started)
		}
	case outcomeRefused, outcomeReset:
		r.life(now)
		k.refuse()
		k.last = res.outcome.String()
		m.die("probe " + name + ": " + res.outcome.String())
	case outcomeBad:
		r.life(now)
		k.failure()
		k.last = res.err.Error()
	default:
		// While this node's own network is suspect, a timeout is no evidence about the
		// server.
		if !r.isolated(now) {
			k.failure()
			k.last = res.outcome.String()
		}
	}
	r.judge(m, now, r.isolated(now))
}

// do runs a function on the owner's goroutine, publishes its changes and returns its
// error. When the context or the registry ends, it returns an error of kind
// Unavailable.
func (r *Registry) do(ctx context.Context, op, path string, f func(now time.Time) error) error {
	ended := func() error {
		return &perto.Error{Op: op, Path: path, Kind: perto.KindUnavailable, Err: errors.New("the registry has ended")}
	}
	answer := make(chan error, 1)
	command := func(now time.Time) {
		err := f(now)
		r.publishChanges() // before the result: the caller sees its change in the Fleet
		answer <- err
	}
	select {
	case r.commands <- command:
	case <-r.done:
		return ended()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case err := <-answer:
		return err
	case <-r.done:
		return ended()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
