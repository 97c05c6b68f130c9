package replicas

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"perto"
	"perto/internal/simnet"
)

var testKeys = []Key{{ID: 1, Secret: [32]byte{1, 2, 3}}}

// world is a DNS node (or two) and edges in virtual time.
type world struct {
	t     *testing.T
	net   *simnet.Net
	dns   []*simnet.Host
	regs  []*Registry
	edges map[perto.Replica]*edge
	stop  context.CancelFunc
	ended []chan struct{}
}

type edge struct {
	host   *simnet.Host
	sender *Sender
	stop   context.CancelFunc
	done   chan struct{}
	status atomic.Pointer[Status]
}

const oneWay = 60 * time.Millisecond

// newWorld starts registries and edges; every edge listens on port 80.
func newWorld(t *testing.T, seed uint64, nodes, edges int, edit func(*RegistryConfig)) *world {
	return newWorldOn(t, simnet.New(seed), nodes, edges, edit)
}

func newWorldOn(t *testing.T, n *simnet.Net, nodes, edges int, edit func(*RegistryConfig)) *world {
	n.Latency, n.Jitter = oneWay, 10*time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	w := &world{t: t, net: n, edges: make(map[perto.Replica]*edge), stop: cancel}
	cfg := RegistryConfig{Listen: ":5399", Keys: testKeys, Sites: []Site{{Name: "gru"}}}
	for i := range edges {
		addr := netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)})
		name := perto.Replica(fmt.Sprintf("gru-%d", i+1))
		w.edges[name] = &edge{host: n.AddHost(string(name), addr)}
		w.edges[name].status.Store(&Status{Serving: true})
		cfg.Declared = append(cfg.Declared, Declared{Name: name, PoP: "gru", Addresses: []netip.Addr{addr}})
	}
	var targets []netip.AddrPort
	for i := range nodes {
		addr := netip.AddrFrom4([4]byte{198, 51, 100, byte(i + 1)})
		w.dns = append(w.dns, n.AddHost(fmt.Sprintf("ns%d", i+1), addr))
		targets = append(targets, netip.AddrPortFrom(addr, 5399))
	}
	for i, h := range w.dns {
		c := cfg
		c.Network = h
		for k, other := range targets {
			if k != i {
				c.Witnesses = append(c.Witnesses, other)
			}
		}
		if edit != nil {
			edit(&c)
		}
		r := NewRegistry(c)
		if err := r.Start(ctx); err != nil {
			t.Fatal(err)
		}
		w.regs = append(w.regs, r)
		done := make(chan struct{})
		w.ended = append(w.ended, done)
		go func() { defer close(done); r.Run(ctx) }()
	}
	for name := range w.edges {
		w.boot(name, targets)
	}
	return w
}

func (w *world) boot(name perto.Replica, targets []netip.AddrPort) {
	e := w.edges[name]
	if _, err := e.host.Listen(w.t.Context(), "tcp", ":80"); err != nil {
		w.t.Fatal(err)
	}
	s, err := NewSender(w.t.Context(), SenderConfig{Network: e.host, Replica: name, Keys: testKeys, Targets: targets, Status: func() Status { return *e.status.Load() }})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(w.t.Context())
	e.sender, e.stop, e.done = s, stop, make(chan struct{})
	go func() { defer close(e.done); s.Run(ctx) }()
}

// kill ends an edge as kill -9 does.
func (w *world) kill(name perto.Replica) {
	e := w.edges[name]
	e.stop()
	<-e.done
	e.sender.Close(false)
	e.host.Kill()
}

func (w *world) close() {
	for name, e := range w.edges {
		e.stop()
		<-e.done
		e.sender.Close(false)
		w.edges[name].host.Kill()
	}
	w.stop()
	for _, d := range w.ended {
		<-d
	}
}

func (w *world) state(name perto.Replica) State { return w.regs[0].Fleet().Load().Member(name).State }

// until waits, in virtual time, for a replica to be in a state and returns how
// long that took; it fails after a limit.
func (w *world) until(name perto.Replica, want State, limit time.Duration) time.Duration {
	w.t.Helper()
	start := time.Now()
	for w.state(name) != want {
		if time.Since(start) > limit {
			m := w.regs[0].Fleet().Load().Member(name)
			w.t.Fatalf("%s is %s (%s) after %v, want %s", name, m.State, m.Reason, limit, want)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(start)
}

// bubble runs a test in virtual time with a world that is up.
func bubble(t *testing.T, nodes, edges int, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, nodes, edges, nil)
		defer w.close()
		for name := range w.edges {
			w.until(name, StateUp, 3*time.Second)
		}
		f(w)
	})
}

// TestDeathIsSeenInTime kills and cuts edges at 200 moments each: out within 1.5
// s of a kill, and within 2.5 s of silence.
func TestDeathIsSeenInTime(t *testing.T) {
	tests := []struct {
		name  string
		fault func(w *world)
		limit time.Duration
	}{
		{"kill", func(w *world) { w.kill("gru-1") }, 1500 * time.Millisecond},
		{"cut", func(w *world) { w.net.Isolate(w.edges["gru-1"].host) }, 2500 * time.Millisecond},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var took []time.Duration
			for seed := range 200 {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, uint64(seed), 1, 3, nil)
					defer w.close()
					w.until("gru-1", StateUp, 3*time.Second)
					time.Sleep(time.Duration(seed) * 7 * time.Millisecond) // another phase of the beat
					tt.fault(w)
					took = append(took, w.until("gru-1", StateDown, tt.limit))
					if w.state("gru-2") != StateUp {
						t.Error("a healthy edge is not up")
					}
				})
			}
			slices.Sort(took)
			t.Logf("p50 %v, p99 %v, max %v", took[100], took[197], took[199])
		})
	}
}

func TestSilenceIsSuspectFirst(t *testing.T) {
	bubble(t, 1, 2, func(w *world) {
		w.net.Isolate(w.edges["gru-1"].host)
		took := w.until("gru-1", StateSuspect, 2*time.Second)
		if took < 500*time.Millisecond || took > 1300*time.Millisecond {
			w.t.Errorf("suspect after %v, want about 1 s", took)
		}
		w.until("gru-1", StateDown, 2*time.Second)
		w.net.Rejoin(w.edges["gru-1"].host)
		w.until("gru-1", StateUp, 2*time.Second)
	})
}

func TestShortFreezeChangesNothing(t *testing.T) {
	bubble(t, 1, 2, func(w *world) {
		events := len(w.regs[0].Events())
		w.edges["gru-1"].host.Freeze()
		time.Sleep(400 * time.Millisecond)
		w.edges["gru-1"].host.Thaw()
		time.Sleep(3 * time.Second)
		if now := w.regs[0].Events(); len(now) != events {
			w.t.Errorf("0.4 s of silence made events: %v", now[events:])
		}
	})
}

func TestFarewellIsBelievedAtOnce(t *testing.T) {
	bubble(t, 1, 2, func(w *world) {
		e := w.edges["gru-1"]
		e.stop()
		<-e.done
		e.sender.Close(true)
		if took := w.until("gru-1", StateDown, time.Second); took > 100*time.Millisecond {
			w.t.Errorf("took %v", took)
		}
		e.host.Kill()
		w.boot("gru-1", []netip.AddrPort{netip.MustParseAddrPort("198.51.100.1:5399")})
	})
}

// TestWitnessKeepsAReplica: the first name server cannot hear or reach the edge,
// but the second one hears it.
func TestWitnessKeepsAReplica(t *testing.T) {
	bubble(t, 2, 2, func(w *world) {
		h := w.edges["gru-1"].host
		w.net.Cut(h, w.dns[0])
		w.net.Cut(w.dns[0], h)
		w.until("gru-1", StateSuspect, 2*time.Second)
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			if s := w.state("gru-1"); s != StateSuspect {
				w.t.Fatalf("got %s although a witness hears it", s)
			}
		}
		w.net.Isolate(h)
		w.until("gru-1", StateDown, 4*time.Second)
	})
}

// TestLostHeartbeatsAloneDoNotKill: datagrams are lost on the way, but the edge
// answers probes.
func TestLostHeartbeatsAloneDoNotKill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1, 2, nil)
		defer w.close()
		w.until("gru-1", StateUp, 3*time.Second)
		e := w.edges["gru-1"]
		e.stop()
		<-e.done // its reports end, its port 80 stays
		w.until("gru-1", StateSuspect, 2*time.Second)
		time.Sleep(20 * time.Second)
		if s := w.state("gru-1"); s != StateSuspect {
			t.Errorf("got %s, want suspect as long as it answers", s)
		}
	})
}

func TestNobodyHeardIsNotEverybodyDead(t *testing.T) {
	bubble(t, 1, 3, func(w *world) {
		w.net.Isolate(w.dns[0])
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			for name := range w.edges {
				if s := w.state(name); !s.Serves() {
					w.t.Fatalf("%s is %s because this node's own network is cut", name, s)
				}
			}
		}
		w.net.Rejoin(w.dns[0])
		for name := range w.edges {
			w.until(name, StateUp, 2*time.Second)
		}
	})
}

func TestSaysThatItDoesNotServe(t *testing.T) {
	bubble(t, 1, 2, func(w *world) {
		e := w.edges["gru-1"]
		e.status.Store(&Status{Serving: true, Draining: true})
		w.until("gru-1", StateDraining, time.Second)
		e.status.Store(&Status{})
		w.until("gru-1", StateDown, time.Second)
		e.status.Store(&Status{Serving: true, Load: 0.7})
		w.until("gru-1", StateUp, 2*time.Second)
		time.Sleep(2 * time.Second)
		if got := w.regs[0].Fleet().Load().Member("gru-1").Load; got != 0.7 {
			w.t.Errorf("got load %v, want 0.7", got)
		}
	})
}

func TestOldAndForeignMessagesChangeNothing(t *testing.T) {
	bubble(t, 1, 2, func(w *world) {
		h := w.net.AddHost("attacker", netip.MustParseAddr("203.0.113.66"))
		p, err := h.ListenPacket(w.t.Context(), "udp", ":0")
		if err != nil {
			w.t.Fatal(err)
		}
		defer p.Close()
		to := net.UDPAddrFromAddrPort(netip.MustParseAddrPort("198.51.100.1:5399"))
		farewell := message{kind: kindHeartbeat, epoch: w.edges["gru-1"].sender.epoch, sequence: 1, name: []byte("gru-1"), farewell: true, interval: time.Second}
		p.WriteTo(appendMessage(nil, &farewell, &testKeys[0]), to) // a replay: sequence 1 was long ago
		forged := farewell
		forged.sequence = 1 << 40
		p.WriteTo(appendMessage(nil, &forged, &Key{ID: 1}), to)
		p.WriteTo(appendMessage(nil, &forged, &Key{ID: 9}), to)
		p.WriteTo([]byte("PH nonsense"), to)
		time.Sleep(time.Second)
		if s := w.state("gru-1"); s != StateUp {
			w.t.Errorf("got %s", s)
		}
		for outcome, want := range map[parseOutcome]uint64{replayed: 1, badMAC: 1, unknownKey: 1, malformed: 1} {
			if got := w.regs[0].heartbeats[outcome].Value(); got != want {
				w.t.Errorf("%s: got %d, want %d", parseOutcomeNames[outcome], got, want)
			}
		}
	})
}

func TestOwnStallExtendsLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1, 2, nil)
		defer w.close()
		w.until("gru-1", StateUp, 3*time.Second)
		r := w.regs[0]
		r.tell(t.Context(), func(time.Time) { time.Sleep(3 * time.Second) }) // the owner sleeps
		time.Sleep(4 * time.Second)
		for _, e := range r.Events() {
			if e.To == StateDown {
				t.Errorf("%s went down (%s) because this node was stalled", e.Replica, e.Reason)
			}
		}
	})
}

func TestAdminOverrulesAndExpires(t *testing.T) {
	bubble(t, 1, 2, func(w *world) {
		r := w.regs[0]
		if err := r.SetAdmin(w.t.Context(), "gru-1", "drain", time.Now().Add(10*time.Second)); err != nil {
			w.t.Fatal(err)
		}
		w.until("gru-1", StateDraining, time.Second)
		w.until("gru-1", StateUp, 11*time.Second)
		if err := r.SetAdmin(w.t.Context(), "gru-9", "drain", time.Now()); err == nil {
			w.t.Error("an unknown replica was drained")
		}
		if err := r.SetAdmin(w.t.Context(), "gru-1", "explode", time.Now()); err == nil {
			w.t.Error("an unknown word was taken")
		}
	})
}

func TestSetDeclaredKeepsState(t *testing.T) {
	bubble(t, 1, 2, func(w *world) {
		r := w.regs[0]
		r.SetDeclared(w.t.Context(), r.cfg.Sites, []Declared{
			{Name: "gru-1", PoP: "gru", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Weight: 5},
			{Name: "gru-7", PoP: "gru", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.77")}},
		}, nil)
		time.Sleep(100 * time.Millisecond)
		f := r.Fleet().Load()
		if len(f.Members) != 2 || f.Member("gru-1").State != StateUp || f.Member("gru-1").Weight != 5 || f.Member("gru-7").State != StateUnknown {
			w.t.Errorf("got %+v", f.Members)
		}
	})
}

// TestProbesAloneDecide: without heartbeats a declared probe says who serves,
// damped.
func TestProbesAloneDecide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		probe := Probe{Kind: "tcp", Interval: time.Second, Timeout: 500 * time.Millisecond, Up: 2, Down: 3}
		w := newWorld(t, 1, 1, 1, func(c *RegistryConfig) {
			c.Listen = ""
			c.Probes = map[perto.Replica][]Probe{"gru-1": {probe}}
		})
		defer w.close()
		w.until("gru-1", StateUp, 3*time.Second)
		w.net.Isolate(w.edges["gru-1"].host)
		if took := w.until("gru-1", StateDown, 6*time.Second); took < 2*time.Second {
			t.Errorf("down after %v: fewer than three failures", took)
		}
		w.net.Rejoin(w.edges["gru-1"].host)
		w.until("gru-1", StateUp, 4*time.Second)
	})
}

func TestBootAssumesUpThenAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New(1)
		h := n.AddHost("ns1", netip.MustParseAddr("198.51.100.1"))
		n.AddHost("gru-1", netip.MustParseAddr("192.0.2.1")) // nothing runs there
		r := NewRegistry(RegistryConfig{Network: h, Listen: ":5399", Keys: testKeys, Sites: []Site{{Name: "gru"}},
			Declared: []Declared{{Name: "gru-1", PoP: "gru", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}}})
		if s := r.Fleet().Load().Member("gru-1").State; s != StateUnknown || !s.Serves() {
			t.Errorf("at boot: got %s", s)
		}
		if err := r.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); r.Run(ctx) }()
		time.Sleep(2 * time.Second)
		if s := r.Fleet().Load().Member("gru-1").State; s != StateUnknown {
			t.Errorf("in the grace: got %s", s)
		}
		time.Sleep(3 * time.Second)
		if m := r.Fleet().Load().Member("gru-1"); m.State != StateDown || m.Reason != "connection refused" {
			t.Errorf("asked and refused: got %s (%s)", m.State, m.Reason)
		}
		cancel()
		<-done
	})
}

func TestStateFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "fleet.state")
	cfg := RegistryConfig{StateFile: path, Declared: []Declared{{Name: "gru-1"}, {Name: "gru-2"}}}
	r := NewRegistry(cfg)
	r.leases["gru-1"].admin, r.leases["gru-1"].adminUntil = "drain", time.Now().Add(time.Hour)
	r.leases["gru-2"].admin, r.leases["gru-2"].adminUntil = "down", time.Now().Add(-time.Hour)
	if err := r.save(); err != nil {
		t.Fatal(err)
	}
	f := NewRegistry(cfg).Fleet().Load()
	if f.Member("gru-1").State != StateDraining || f.Member("gru-2").State != StateUnknown {
		t.Errorf("got %+v", f.Members)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"empty": nil, "cut": good[:len(good)/2], "changed": append([]byte("0"), good[1:]...), "text": []byte("hello")} {
		os.WriteFile(path, data, 0o644)
		if m := NewRegistry(cfg).Fleet().Load().Member("gru-1"); m.State != StateUnknown {
			t.Errorf("%s: got %s, want assumed up", name, m.State)
		}
	}
}

// TestRandomFaults runs seeded worlds with random cuts, kills and freezes; what
// beats and can be reached must never be down.
func TestRandomFaults(t *testing.T) {
	for seed := range 60 {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(uint64(seed), 7))
			n := simnet.New(uint64(seed))
			n.Loss = 0.02
			w := newWorldOn(t, n, 2, 4, nil)
			defer w.close()
			w.until("gru-4", StateUp, 5*time.Second)
			for range 12 {
				name := perto.Replica(fmt.Sprintf("gru-%d", 1+rng.IntN(3))) // gru-4 stays whole
				h := w.edges[name].host
				switch rng.IntN(4) {
				case 0:
					w.net.Isolate(h)
				case 1:
					w.net.Rejoin(h)
				case 2:
					h.Freeze()
				case 3:
					h.Thaw()
				}
				time.Sleep(time.Duration(rng.IntN(3000)) * time.Millisecond)
				for _, r := range w.regs {
					f := r.Fleet().Load()
					if len(f.Members) != 4 {
						t.Fatalf("seed %d: %d members", seed, len(f.Members))
					}
					if m := f.Member("gru-4"); m.State == StateDown {
						t.Fatalf("seed %d: a healthy edge is down: %s", seed, m.Reason)
					}
				}
			}
			for name, e := range w.edges {
				w.net.Rejoin(e.host)
				e.host.Thaw()
				w.until(name, StateUp, 6*time.Second)
			}
		})
	}
}

func TestKeysFile(t *testing.T) {
	a, b := NewKey(), NewKey()
	keys, err := ParseKeys([]byte("# new\n" + a.File() + "\n" + b.File()))
	if err != nil || len(keys) != 2 || keys[0] != a || keys[1] != b {
		t.Fatalf("got %v, error %v", keys, err)
	}
	if strings.Contains(fmt.Sprint(a), fmt.Sprint(a.Secret)) || strings.Contains(a.String(), a.File()[21:]) {
		t.Error("a printed key shows its secret")
	}
	for _, bad := range []string{"", "hello", "perto-key-1 xyz AAAA", "perto-key-1 00000001 AAAA"} {
		if _, err := ParseKeys([]byte(bad)); err == nil {
			t.Errorf("%q was taken as a key", bad)
		}
	}
}

func TestKeyRotationOverlaps(t *testing.T) {
	old, fresh := NewKey(), NewKey()
	m := message{kind: kindHeartbeat, epoch: 1, sequence: 1, name: []byte("gru-1"), interval: time.Second}
	var got message
	for _, tt := range []struct {
		signer Key
		keys   []Key
		want   parseOutcome
	}{{old, []Key{old}, parsed}, {old, []Key{fresh, old}, parsed}, {fresh, []Key{fresh, old}, parsed}, {old, []Key{fresh}, unknownKey}} {
		if outcome := parseMessage(appendMessage(nil, &m, &tt.signer), tt.keys, &got); outcome != tt.want {
			t.Errorf("got %s, want %s", parseOutcomeNames[outcome], parseOutcomeNames[tt.want])
		}
	}
}

func TestMessageReadsBack(t *testing.T) {
	for _, m := range []message{
		{kind: kindHeartbeat, epoch: 7, sequence: 8, name: []byte("gru-1"), status: Status{Serving: true, Draining: true, Load: 0.625, Capacity: 10e9, Purged: 99}, farewell: true, interval: 500 * time.Millisecond},
		{kind: kindQuery, epoch: 7, sequence: 9, name: []byte("gru-1"), token: 5},
		{kind: kindReply, epoch: 7, sequence: 9, name: []byte("gru-1"), token: 5, age: 1234 * time.Millisecond},
		{kind: kindReply, epoch: 7, sequence: 9, name: []byte("gru-1"), token: 5, age: -1},
	} {
		packet := appendMessage(nil, &m, &testKeys[0])
		var got message
		if outcome := parseMessage(packet, testKeys, &got); outcome != parsed {
			t.Fatalf("%+v: %s", m, parseOutcomeNames[outcome])
		}
		got.keyID = 0
		if fmt.Sprint(got) != fmt.Sprint(m) {
			t.Errorf("got %+v, want %+v", got, m)
		}
		for i := range packet {
			changed := slices.Clone(packet)
			changed[i] ^= 0x10
			if parseMessage(changed, testKeys, &got) == parsed {
				t.Errorf("a change of byte %d was not seen", i)
			}
		}
	}
}

func FuzzParseMessage(f *testing.F) {
	f.Add(appendMessage(nil, &message{kind: kindHeartbeat, name: []byte("gru-1"), interval: time.Second}, &testKeys[0]))
	f.Add(appendMessage(nil, &message{kind: kindQuery, name: []byte("gru-1")}, &testKeys[0]))
	f.Add(appendMessage(nil, &message{kind: kindReply, name: []byte("gru-1"), age: -1}, &testKeys[0]))
	f.Fuzz(func(t *testing.T, packet []byte) {
		var m message
		if parseMessage(packet, testKeys, &m) == parsed && (len(m.name) == 0 || len(m.name) > maxNameBytes) {
			t.Fatalf("name of %d bytes", len(m.name))
		}
	})
}
