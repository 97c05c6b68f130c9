package replicas

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"perto"
	"perto/internal/netx"
	"perto/internal/snapshot"
	"perto/metrics"
)

// RegistryConfig says whom a Registry watches, and how.
type RegistryConfig struct {
	Network netx.Network
	// Listen is where heartbeats are heard ("IP:port" or ":port"); "" for none:
	// probes alone decide then.
	Listen string
	Keys   []Key // of heartbeats and witnesses; the first one signs
	// Witnesses are other DNS nodes, asked about a suspect.
	Witnesses []netip.AddrPort
	Sites     []Site
	Declared  []Declared
	Probes    map[perto.Replica][]Probe
	StateFile string // what survives a restart; "" for nothing
	Logger    *slog.Logger
	Metrics   *metrics.Registry
}

// Registry gathers what is known of the replicas into a Fleet. One goroutine
// owns everything; others talk to it through channels and read snapshots.
type Registry struct {
	cfg    RegistryConfig
	fleet  snapshot.Var[Fleet]
	socket net.PacketConn
	do     chan func(now time.Time) // run by the owner
	packet chan received

	mu     sync.Mutex
	events []Event // the newest last

	// The owner's.
	leases       map[perto.Replica]*lease
	started      time.Time
	lastTick     time.Time
	lastLoad     time.Time
	aliveSince   time.Time // since when some replica has been heard without a break
	epoch        uint64
	sequence     uint64
	dirty        bool
	loadChanged  bool
	probeContext context.Context
	probing      sync.WaitGroup

	heartbeats []metrics.Counter // by parseOutcome
	probes     []metrics.Counter // by probe outcome
	witnessed  *metrics.Counter
	removal    *metrics.Histogram
}

type received struct {
	data []byte
	from net.Addr
}

// maxEvents is how many changes are remembered.
const maxEvents = 256

// tick is how often leases are looked at.
const tick = 25 * time.Millisecond

// stallLimit is how late a tick may come before this node counts as stalled, and
// extends all leases by what it slept.
const stallLimit = 300 * time.Millisecond

// NewRegistry builds a registry whose Fleet assumes everybody up.
func NewRegistry(cfg RegistryConfig) *Registry {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Metrics == nil {
		cfg.Metrics = metrics.New()
	}
	now := time.Now()
	r := &Registry{cfg: cfg, do: make(chan func(time.Time)), packet: make(chan received, 256), leases: make(map[perto.Replica]*lease), started: now, lastTick: now, epoch: uint64(now.UnixNano())}
	r.declare(cfg.Declared, cfg.Probes, now)
	if cfg.StateFile != "" {
		if err := r.load(now); err != nil {
			cfg.Logger.Warn("the saved state of the replicas is not used; all are assumed up", "error", err)
		}
	}
	m := cfg.Metrics
	r.heartbeats = m.CounterSet("perto_replicas_messages_total", "Heartbeats and witness messages received, by outcome.", "outcome", parseOutcomeNames[:]...)
	r.probes = m.CounterSet("perto_replicas_probes_total", "Probes of replicas by outcome.", "outcome", "good", "refused", "failed")
	r.witnessed = m.Counter("perto_replicas_witness_queries_total", "Questions to witnesses about suspects.")
	r.removal = m.Histogram("perto_replicas_removal_seconds", "Time from a replica's last heartbeat to its removal.")
	m.GaugeSet("perto_replicas_serving", "Whether answers may name a replica.", "replica", func(sample func(string, float64)) {
		for _, member := range r.fleet.Load().Members {
			v := 0.0
			if member.State.Serves() {
				v = 1
			}
			sample(string(member.Name), v)
		}
	})
	r.publish()
	return r
}

// Fleet returns where the newest Fleet is published.
func (r *Registry) Fleet() *snapshot.Var[Fleet] { return &r.fleet }

// Events returns the last changes, oldest first.
func (r *Registry) Events() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

// Start opens the heartbeat socket.
func (r *Registry) Start(ctx context.Context) error {
	if r.cfg.Listen == "" {
		return nil
	}
	socket, err := r.cfg.Network.ListenPacket(ctx, "udp", r.cfg.Listen)
	if err != nil {
		return &perto.Error{Op: "hear heartbeats on", Path: r.cfg.Listen, Kind: perto.KindUnavailable, Err: err, Hint: "set heartbeat in the node block to listen elsewhere"}
	}
	r.socket = socket
	return nil
}

// Run watches the replicas until the context ends; then it closes the socket and
// waits for its probes.
func (r *Registry) Run(ctx context.Context) {
	r.probeContext = ctx
	var reading sync.WaitGroup
	if r.socket != nil {
		reading.Go(func() { r.read(ctx) })
	}
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			if r.socket != nil {
				r.socket.Close()
			}
			reading.Wait()
			r.probing.Wait()
			return
		case p := <-r.packet:
			r.receive(p, time.Now())
		case f := <-r.do:
			f(time.Now())
		case <-ticker.C:
			r.tick(time.Now())
		}
		r.settle(time.Now())
	}
}

func (r *Registry) read(ctx context.Context) {
	buf := make([]byte, maxMessage+1)
	for {
		n, from, err := r.socket.ReadFrom(buf)
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		select {
		case r.packet <- received{slices.Clone(buf[:n]), from}:
		case <-ctx.Done():
			return
		}
	}
}

// receive takes one message.
func (r *Registry) receive(p received, now time.Time) {
	var m message
	outcome := parseMessage(p.data, r.cfg.Keys, &m)
	if outcome == parsed {
		l := r.leases[m.replica()]
		switch {
		case l == nil:
			outcome = unknownReplica
		case m.kind == kindHeartbeat:
			load := l.status.Load
			if outcome = l.beat(&m, now); outcome == parsed && math.Abs(load-l.status.Load) > 0.05 {
				r.loadChanged = true
			}
		case m.kind == kindQuery:
			r.testify(&m, l, p.from, now)
		case m.kind == kindReply:
			if m.age >= 0 && m.age < suspectAfter {
				l.vouched = now
			}
		}
	}
	r.heartbeats[outcome].Inc()
}

// testify answers a witness question.
func (r *Registry) testify(q *message, l *lease, to net.Addr, now time.Time) {
	age := time.Duration(-1)
	if !l.heard.IsZero() {
		age = l.silentFor(now)
	}
	r.send(&message{kind: kindReply, name: q.name, token: q.token, age: age}, to)
}

func (r *Registry) send(m *message, to net.Addr) {
	r.sequence++
	m.epoch, m.sequence = r.epoch, r.sequence
	r.socket.WriteTo(appendMessage(make([]byte, 0, maxMessage), m, &r.cfg.Keys[0]), to)
}

// tick looks at the clock: a stall of this node itself extends all leases;
// suspects are asked, probes are due.
func (r *Registry) tick(now time.Time) {
	if late := now.Sub(r.lastTick) - tick; late > stallLimit {
		r.cfg.Logger.Warn("this node was stalled; all leases are extended", "by", late)
		for _, l := range r.leases {
			if !l.heard.IsZero() {
				l.heard = l.heard.Add(late)
			}
		}
	}
	r.lastTick = now
	for _, l := range r.leases {
		if l.admin != "" && now.After(l.adminUntil) {
			l.admin = ""
		}
		r.ask(l, now)
		r.runProbes(l, now)
	}
}

// ask probes a replica that is silent, and asks witnesses about it.
func (r *Registry) ask(l *lease, now time.Time) {
	var again time.Duration
	switch {
	case r.socket == nil || l.asking || l.farewell || l.admin != "":
		return
	case l.heard.IsZero() && now.Sub(r.started) > bootGrace:
		again = unheardProbe
	case !l.heard.IsZero() && l.silentFor(now) >= suspectAfter:
		again = askAgain
		if l.evidence != "" || l.state == StateDown {
			again = unheardProbe // its own heartbeats will bring it back
		}
	default:
		return
	}
	if now.Sub(l.asked) < again {
		return
	}
	l.asked, l.asking = now, true
	p := Probe{Kind: "tcp", Port: l.Port, Timeout: time.Second}
	r.launch(l, p, func(l *lease, err error, now time.Time) {
		l.asking = false
		switch {
		case err == nil:
			l.vouched, l.failures = now, 0
			if l.heard.IsZero() {
				l.evidence = ""
			}
		case l.heard.After(l.asked): // it spoke meanwhile
		case isEvidence(err):
			l.evidence = "connection refused"
		default:
			l.failures++
		}
	})
	for _, w := range r.cfg.Witnesses {
		r.witnessed.Inc()
		r.send(&message{kind: kindQuery, name: []byte(l.Name), token: r.sequence}, net.UDPAddrFromAddrPort(w))
	}
}

// runProbes starts the declared probes that are due.
func (r *Registry) runProbes(l *lease, now time.Time) {
	for i := range l.probes {
		p := &l.probes[i]
		if p.busy || now.Sub(p.last) < p.Interval {
			continue
		}
		p.busy, p.last = true, now
		r.launch(l, p.Probe, func(l *lease, err error, now time.Time) {
			if i >= len(l.probes) || l.probes[i].Probe != p.Probe {
				return // declared anew meanwhile
			}
			p := &l.probes[i]
			p.busy = false
			p.damping.add(&p.Probe, err == nil)
			if err != nil {
				p.reason = err.Error()
			}
		})
	}
}

// launch runs a probe beside the owner and hands its result back to it.
func (r *Registry) launch(l *lease, p Probe, done func(l *lease, err error, now time.Time)) {
	target := p.target(&l.Declared)
	name := l.Name
	r.probing.Go(func() {
		err := p.run(r.probeContext, r.cfg.Network, target)
		switch {
		case err == nil:
			r.probes[0].Inc()
		case isEvidence(err):
			r.probes[1].Inc()
		default:
			r.probes[2].Inc()
		}
		r.tell(r.probeContext, func(now time.Time) {
			if l := r.leases[name]; l != nil {
				done(l, err, now)
			}
		})
	})
}

// tell runs f in the owner, unless the context ends first.
func (r *Registry) tell(ctx context.Context, f func(now time.Time)) {
	select {
	case r.do <- f:
	case <-ctx.Done():
	}
}

// settle judges everybody anew and publishes what changed.
func (r *Registry) settle(now time.Time) {
	someone := false
	for _, l := range r.leases {
		if !l.heard.IsZero() && l.silentFor(now) < suspectAfter {
			someone = true
		}
	}
	switch {
	case !someone:
		r.aliveSince = time.Time{}
	case r.aliveSince.IsZero():
		r.aliveSince = now
	}
	// Who was silent while nobody was heard gets the usual time once somebody is.
	alone := len(r.leases) > 1 && (!someone || now.Sub(r.aliveSince) < downAfter-suspectAfter && now.Sub(r.started) > downAfter)
	for _, l := range r.leases {
		before := l.state
		state, reason := l.judge(now, r.socket != nil, alone)
		if !l.enter(state, reason, now) {
			continue
		}
		r.dirty = true
		if before != state {
			r.note(Event{now, l.Name, before, state, reason})
			if state == StateDown && !l.heard.IsZero() {
				r.removal.Observe(l.silentFor(now))
			}
		}
	}
	if r.loadChanged && now.Sub(r.lastLoad) >= time.Second {
		r.dirty, r.loadChanged, r.lastLoad = true, false, now
	}
	if r.dirty {
		r.dirty = false
		r.publish()
		if r.cfg.StateFile != "" {
			if err := r.save(); err != nil {
				r.cfg.Logger.Warn("save the state of the replicas", "error", err)
			}
		}
	}
}

func (r *Registry) note(e Event) {
	r.cfg.Logger.Info("replica", "name", e.Replica, "from", e.From.String(), "to", e.To.String(), "reason", e.Reason)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.events) == maxEvents {
		r.events = r.events[1:]
	}
	r.events = append(r.events, e)
}

// publish shows the leases as a Fleet.
func (r *Registry) publish() {
	f := &Fleet{Sites: slices.Clone(r.cfg.Sites)}
	slices.SortFunc(f.Sites, func(a, b Site) int { return strings.Compare(string(a.Name), string(b.Name)) })
	for _, l := range r.leases {
		f.Members = append(f.Members, l.member())
	}
	slices.SortFunc(f.Members, func(a, b Member) int { return strings.Compare(string(a.Name), string(b.Name)) })
	r.fleet.Store(f)
}

// declare takes the replicas of a configuration; who stays keeps its state.
func (r *Registry) declare(declared []Declared, probes map[perto.Replica][]Probe, now time.Time) {
	old := r.leases
	r.leases = make(map[perto.Replica]*lease, len(declared))
	for _, d := range declared {
		l := old[d.Name]
		if l == nil {
			l = &lease{state: StateUnknown, reason: "nothing heard yet", since: now}
		}
		l.Declared = d
		if l.probes == nil || !slices.EqualFunc(l.probes, probes[d.Name], func(a probing, b Probe) bool { return a.Probe == b }) {
			l.probes = nil
			for _, p := range probes[d.Name] {
				l.probes = append(l.probes, probing{Probe: p})
			}
		}
		r.leases[d.Name] = l
	}
}
