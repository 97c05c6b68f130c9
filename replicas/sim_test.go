package replicas

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"perto"
	"perto/internal/simnet"
	"perto/metrics"
)

const ms = time.Millisecond

// sim is a CDN in virtual time: name servers with registries, and edges with senders
// and a web server.
type sim struct {
	t     *testing.T
	net   *simnet.Net
	keys  []Key
	nodes []*nodeSim
	edges []*edgeSim
	opts  simOptions
}

type simOptions struct {
	seed     uint64
	link     simnet.Link
	nodes    int // 0 means 1
	edges    int // 0 means 3
	probes   []Probe
	witness  bool
	file     bool
	silent   bool // edges send no heartbeats
	noKeys   bool
	notBeats bool
	dead     int           // number of edges that are not started
	self     perto.Replica // the edge on the first node's machine
}

type nodeSim struct {
	host    *simnet.Host
	reg     *Registry
	metrics *metrics.Registry
	cancel  context.CancelFunc
	done    chan struct{}
	file    string
}

type edgeSim struct {
	name     perto.Replica
	host     *simnet.Host
	cancel   context.CancelFunc
	done     chan struct{}
	epoch    uint64
	sender   *Sender
	accepted atomic.Int64 // connections
	answer   atomic.Pointer[string]

	mu     sync.Mutex
	status Status
}

// say changes the edge's own status.
func (e *edgeSim) say(change func(*Status)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change(&e.status)
}

func newSim(t *testing.T, o simOptions) *sim {
	t.Helper()
	if o.link == (simnet.Link{}) {
		o.link = simnet.Link{Latency: 20 * ms, Jitter: 5 * ms}
	}
	o.nodes, o.edges = max(o.nodes, 1), max(o.edges, 1)
	s := &sim{t: t, net: simnet.New(o.seed, o.link), keys: []Key{testKey(1)}, opts: o}
	folder := t.TempDir()
	t.Cleanup(s.end) // before the folder is deleted: a registry writes its file when it ends
	for i := range o.edges {
		e := &edgeSim{
			name: perto.Replica(fmt.Sprintf("e-%d", i)), host: s.net.Host(fmt.Sprintf("203.0.113.%d", i+1)),
			status: Status{Listeners: 1, Port: 80, Load: 0.1}, epoch: 100,
		}
		e.answer.Store(new("200 OK"))
		s.edges = append(s.edges, e)
		if i < o.dead {
			e.host.Vanish()
		}
	}
	for i := range o.nodes {
		s.nodes = append(s.nodes, &nodeSim{host: s.net.Host(fmt.Sprintf("192.0.2.%d", i+1))})
		if o.file {
			s.nodes[i].file = filepath.Join(folder, fmt.Sprintf("fleet-%d", i))
		}
	}
	for i := range s.nodes {
		s.startNode(i)
	}
	for i := range s.edges[o.dead:] {
		s.startEdge(o.dead + i)
	}
	return s
}

func (s *sim) declared() []Declared {
	var out []Declared
	for _, e := range s.edges {
		out = append(out, Declared{
			Name: e.name, PoP: "p", Addresses: []netip.Addr{e.host.Addr()}, Probes: s.opts.probes, Beats: !s.opts.notBeats && !s.opts.noKeys,
		})
	}
	return out
}

func (s *sim) startNode(i int) {
	s.t.Helper()
	n := s.nodes[i]
	n.metrics = metrics.New()
	cfg := Config{Network: n.host, Listen: ":5399", Settings: Settings{Keys: s.keys, Sites: []Site{{Name: "p"}}, Declared: s.declared()}, File: n.file, Metrics: n.metrics}
	if s.opts.noKeys {
		cfg.Keys = nil
	}
	if i == 0 {
		cfg.Self = s.opts.self
	}
	for j, other := range s.nodes {
		if s.opts.witness && j != i {
			cfg.Witnesses = append(cfg.Witnesses, netip.AddrPortFrom(other.host.Addr(), 5399))
		}
	}
	reg, err := New(s.t.Context(), cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.reg, n.cancel, n.done = reg, cancel, make(chan struct{})
	go func() { defer close(n.done); reg.Run(ctx) }()
}

func (s *sim) stopNode(i int) {
	s.nodes[i].cancel()
	<-s.nodes[i].done
}

// startEdge starts an edge's process: a web server and the sender.
func (s *sim) startEdge(i int) {
	s.t.Helper()
	e := s.edges[i]
	e.epoch++
	l, err := e.host.Listen(s.t.Context(), "tcp", ":80")
	if err != nil {
		s.t.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			e.accepted.Add(1)
			go func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(5 * time.Second))
				if n, _ := c.Read(make([]byte, 4096)); n > 0 {
					io.WriteString(c, "HTTP/1.1 "+*e.answer.Load()+"\r\nContent-Length: 0\r\n\r\n")
				}
			}()
		}
	}()
	if s.opts.silent {
		return
	}
	var targets []netip.AddrPort
	for _, n := range s.nodes {
		targets = append(targets, netip.AddrPortFrom(n.host.Addr(), 5399))
	}
	sender, err := NewSender(SenderConfig{Network: e.host, Keys: s.keys, Name: e.name, Targets: targets, Epoch: e.epoch, Status: func() (st Status) { e.say(func(now *Status) { st = *now }); return st }})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	e.cancel, e.done, e.sender = cancel, done, sender
	go func() { defer close(done); sender.Run(ctx) }()
}

// kill ends an edge's process like kill -9: without a farewell.
func (s *sim) kill(i int) {
	s.edges[i].host.Kill()
	s.reap(i)
}

// reap ends the goroutine of a sender after its sockets were closed.
func (s *sim) reap(i int) {
	if e := s.edges[i]; e.cancel != nil {
		e.cancel()
		<-e.done
		e.cancel = nil
	}
}

func (s *sim) end() {
	for i := range s.edges {
		s.edges[i].host.Kill()
		s.reap(i)
	}
	for i := range s.nodes {
		if s.nodes[i].cancel != nil {
			s.nodes[i].host.Thaw()
			s.stopNode(i)
		}
		s.nodes[i].host.Kill()
	}
	time.Sleep(10 * time.Second) // packets in flight arrive, and dials end
}

func (s *sim) member(node, edge int) *Member {
	return s.nodes[node].reg.Fleet().Load().Member(s.edges[edge].name)
}

// until waits for an edge's state and returns the elapsed time. It fails the test after
// limit.
func (s *sim) until(node, edge int, limit time.Duration, states ...State) time.Duration {
	s.t.Helper()
	start := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	fleet := s.nodes[node].reg.Fleet()
	for f, v := fleet.LoadVersion(); ; {
		m := f.Member(s.edges[edge].name)
		if slices.Contains(states, m.State) {
			return time.Since(start)
		}
		var err error
		if f, v, err = fleet.Wait(ctx, v); err != nil {
			s.t.Fatalf("node %d: %s is %v (%s) after %v, want %v", node, m.Name, m.State, m.Reason, limit, states)
		}
	}
}

// confirm gives a registry positive evidence of an edge's death, as the probe of a
// silent replica does later.
func (s *sim) confirm(node, edge int) {
	reg := s.nodes[node].reg
	err := reg.do(s.t.Context(), "confirm", "", func(now time.Time) error {
		m := reg.members[s.edges[edge].name]
		m.die("connection reset")
		reg.judge(m, now, reg.isolated(now))
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// settle waits until all edges are up everywhere.
func (s *sim) settle() {
	s.t.Helper()
	for n := range s.nodes {
		for e := range s.edges {
			s.until(n, e, 3*time.Second, StateUp)
		}
	}
}

// changes returns the events of an edge as recorded by a node, for example "up down
// up".
func (s *sim) changes(node, edge int) string {
	out := ""
	for _, e := range s.nodes[node].reg.Events() {
		if e.Replica == s.edges[edge].name {
			if out != "" {
				out += " "
			}
			out += e.To.String()
		}
	}
	return out
}

func (s *sim) counter(node int, name string) float64 {
	s.t.Helper()
	got, err := s.nodes[node].metrics.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	v, ok := got[name]
	if !ok {
		s.t.Fatalf("no metric %s in %v", name, got)
	}
	return v
}

// stall blocks a registry's goroutine and its reader.
func (s *sim) stall(node int, d time.Duration) {
	n := s.nodes[node]
	n.host.Freeze()
	n.reg.commands <- func(time.Time) { time.Sleep(d) }
	time.Sleep(d)
	n.host.Thaw()
}

// inject sends a packet to a node from a host that is no edge.
func (s *sim) inject(node int, from *simnet.Host, p []byte) {
	s.t.Helper()
	c, err := from.ListenPacket(s.t.Context(), "udp", ":0")
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	c.WriteTo(p, net.UDPAddrFromAddrPort(netip.AddrPortFrom(s.nodes[node].host.Addr(), 5399)))
	time.Sleep(100 * ms)
}

func simTest(t *testing.T, o simOptions, f func(t *testing.T, s *sim)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newSim(t, o)) })
}
