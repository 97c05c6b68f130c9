package replicas

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"perto"
	"perto/internal/simnet"
)

func TestBootAssumesUp(t *testing.T) {
	simTest(t, simOptions{edges: 2}, func(t *testing.T, s *sim) {
		if m := s.member(0, 0); m.State != StateUnknown || !m.State.Serves() {
			t.Errorf("at boot: got %v, want unknown, which serves", m.State)
		}
		s.settle()
		if m := s.member(0, 1); m.Load < 0.09 || m.Load > 0.11 || m.Reason != "heartbeats" {
			t.Errorf("got %+v", m)
		}
	})
}

// TestKillIsDetectedByReset kills edges at random moments between heartbeats.
func TestKillIsDetectedByReset(t *testing.T) {
	for _, tt := range []struct {
		name   string
		probes []Probe
	}{
		{"without probes", nil},
		{"with an http probe", []Probe{{Kind: ProbeHTTP, Host: "shop.example", Port: 80}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var took []time.Duration
			rng := rand.New(rand.NewPCG(1, 2))
			for seed := range uint64(100) {
				simTest(t, simOptions{seed: seed, edges: 3, probes: tt.probes}, func(t *testing.T, s *sim) {
					s.settle()
					time.Sleep(time.Duration(rng.Int64N(int64(7 * time.Second))))
					s.kill(1)
					took = append(took, s.until(0, 1, 3*time.Second, StateDown))
					if m := s.member(0, 1); !strings.Contains(m.Reason, "refused") && !strings.Contains(m.Reason, "reset") {
						t.Errorf("got reason %q, want the refusal or the reset", m.Reason)
					}
				})
			}
			report(t, "removed after a kill", took, 1500*ms)
		})
	}
}

func report(t *testing.T, what string, took []time.Duration, limit time.Duration) {
	t.Helper()
	slices.Sort(took)
	n := len(took)
	t.Logf("%s (%d times): p50 %v, p99 %v, max %v", what, n, took[n/2], took[n*99/100], took[n-1])
	if took[n*99/100] > limit {
		t.Errorf("%s: p99 is %v, want at most %v", what, took[n*99/100], limit)
	}
}

func TestSilenceIsSuspectThenOut(t *testing.T) {
	var suspect, down []time.Duration
	for seed := range uint64(100) {
		simTest(t, simOptions{seed: seed, edges: 3, nodes: 2, witness: true}, func(t *testing.T, s *sim) {
			s.settle()
			time.Sleep(time.Duration(seed) * 13 * ms)
			s.edges[2].host.Vanish()
			start := time.Now()
			suspect = append(suspect, s.until(0, 2, 2*time.Second, StateSuspect))
			s.until(0, 2, 2*time.Second, StateDown)
			down = append(down, time.Since(start))
		})
	}
	report(t, "suspect after silence", suspect, 1200*ms)
	report(t, "removed after silence", down, 2500*ms)
}

func TestShortFreezeChangesNothing(t *testing.T) {
	simTest(t, simOptions{edges: 2}, func(t *testing.T, s *sim) {
		s.settle()
		s.edges[0].host.Freeze()
		time.Sleep(400 * ms)
		s.edges[0].host.Thaw()
		time.Sleep(5 * time.Second)
		if got := s.changes(0, 0); got != "up" {
			t.Errorf("got %q, want no change", got)
		}
	})
}

func TestLongFreezeIsSuspectThenBack(t *testing.T) {
	simTest(t, simOptions{edges: 2}, func(t *testing.T, s *sim) {
		s.settle()
		s.edges[0].host.Freeze()
		time.Sleep(2 * time.Second)
		s.edges[0].host.Thaw()
		time.Sleep(5 * time.Second)
		if got := s.changes(0, 0); got != "up suspect up" {
			t.Errorf("got %q, want suspect and back: a handshake of the frozen host's kernel proves nothing, its silence not enough", got)
		}
	})
}

func TestFrozenForLongIsOutAndComesBack(t *testing.T) {
	simTest(t, simOptions{edges: 2}, func(t *testing.T, s *sim) {
		s.settle()
		s.edges[0].host.Freeze()
		s.until(0, 0, 2600*ms, StateDown)
		time.Sleep(10 * time.Second)
		s.edges[0].host.Thaw()
		if took := s.until(0, 0, 3*time.Second, StateUp); took < 500*ms {
			t.Errorf("back after %v, want it to prove itself with %d heartbeats", took, beatsBack)
		}
	})
}

func TestOwnStallExtendsLeases(t *testing.T) {
	simTest(t, simOptions{edges: 3}, func(t *testing.T, s *sim) {
		s.settle()
		s.stall(0, 4*time.Second)
		time.Sleep(5 * time.Second)
		for e := range s.edges {
			if got := s.changes(0, e); got != "up" {
				t.Errorf("edge %d: got %q, want no change because of our own stall", e, got)
			}
		}
		if got := s.counter(0, "perto_replicas_stalls_total"); got != 1 {
			t.Errorf("got %v stalls counted, want 1", got)
		}
		s.kill(0)
		s.until(0, 0, 1500*ms, StateDown) // and it still notices
	})
}

func TestStallDoesNotHideDownReplica(t *testing.T) {
	simTest(t, simOptions{edges: 3}, func(t *testing.T, s *sim) {
		s.settle()
		s.edges[0].host.Vanish()
		s.stall(0, 2*time.Second)
		s.until(0, 0, 2500*ms, StateDown)
	})
}

func TestReplayedAndReorderedPacketsAreRejected(t *testing.T) {
	simTest(t, simOptions{edges: 2}, func(t *testing.T, s *sim) {
		stranger := s.net.Host("198.51.100.1")
		keys := NewKeyring(s.keys...)
		beat := func(epoch, sequence uint64, name string) []byte {
			return AppendHeartbeat(nil, &Heartbeat{Name: []byte(name), Epoch: epoch, Sequence: sequence, Interval: DefaultInterval}, keys)
		}
		s.settle()
		time.Sleep(3 * time.Second)
		s.kill(0)
		s.until(0, 0, 1500*ms, StateDown)
		for _, tt := range []struct {
			packet []byte
			reason string
		}{
			{beat(101, 1, "e-0"), "sequence"},
			{beat(101, 2, "e-0"), "sequence"},
			{beat(100, 9999, "e-0"), "epoch"},
			{beat(999, 1, "nobody"), "name"},
			{AppendHeartbeat(nil, &Heartbeat{Name: []byte("e-0"), Epoch: 999, Sequence: 1, Interval: DefaultInterval}, NewKeyring(testKey(9))), "key"},
			{bytes.Repeat([]byte("x"), 200), "magic"},
			{bytes.Repeat([]byte("x"), 2000), "size"},
		} {
			name := fmt.Sprintf("perto_replicas_heartbeats_total{result=%q}", tt.reason)
			before := s.counter(0, name)
			for range 5 {
				s.inject(0, stranger, tt.packet)
			}
			if got := s.counter(0, name) - before; got != 5 {
				t.Errorf("%s: counted %v, want 5", tt.reason, got)
			}
		}
		if got := s.changes(0, 0); got != "up suspect down" && got != "up down" {
			t.Errorf("got %q, want it to stay down", got)
		}
		// One heartbeat of a new process is enough.
		s.startEdge(0)
		s.until(0, 0, 100*ms, StateUp)
	})
}

func TestReorderedPacketsDoNoHarm(t *testing.T) {
	simTest(t, simOptions{edges: 2, link: simnet.Link{Latency: 10 * ms, Jitter: 900 * ms, Duplicate: 0.5}}, func(t *testing.T, s *sim) {
		time.Sleep(time.Minute)
		for e := range s.edges {
			if strings.Contains(s.changes(0, e), "down") {
				t.Errorf("edge %d: got %q", e, s.changes(0, e))
			}
		}
		if s.counter(0, `perto_replicas_heartbeats_total{result="sequence"}`) < 50 {
			t.Error("hardly any packet overtook another: the test tests nothing")
		}
	})
}

func TestWrongKeyIsRejected(t *testing.T) {
	simTest(t, simOptions{edges: 2}, func(t *testing.T, s *sim) {
		s.settle()
		s.edges[0].cancel()
		<-s.edges[0].done
		s.edges[0].cancel = nil
		s.edges[0].host.Kill()
		s.until(0, 0, 3*time.Second, StateDown)
		good := s.keys
		s.keys = []Key{testKey(66)}
		s.startEdge(0)
		s.keys = good
		time.Sleep(10 * time.Second)
		if m := s.member(0, 0); m.State != StateDown {
			t.Errorf("got %v, want down: its heartbeats are signed with a key that is not ours", m.State)
		}
		if s.counter(0, `perto_replicas_heartbeats_total{result="key"}`) < 15 {
			t.Error("the rejected heartbeats are not counted")
		}
	})
}

func TestAsymmetricPartitionNeedsAWitness(t *testing.T) {
	for _, witness := range []bool{true, false} {
		t.Run(fmt.Sprintf("witness=%v", witness), func(t *testing.T) {
			simTest(t, simOptions{edges: 3, nodes: 2, witness: witness}, func(t *testing.T, s *sim) {
				s.settle()
				s.net.CutBoth(s.edges[0].host, s.nodes[0].host)
				time.Sleep(30 * time.Second)
				if got := s.changes(1, 0); got != "up" {
					t.Errorf("the node that receives its heartbeats: got %q", got)
				}
				want := "up suspect down"
				if witness {
					want = "up suspect"
				}
				if got := s.changes(0, 0); got != want {
					t.Errorf("the node that does not: got %q, want %q", got, want)
				}
				s.net.HealBoth(s.edges[0].host, s.nodes[0].host)
				s.until(0, 0, 5*time.Second, StateUp)
				s.net.CutBoth(s.edges[0].host, s.nodes[0].host)
				time.Sleep(3 * time.Second)
				s.edges[0].host.Vanish()
				s.until(1, 0, 2600*ms, StateDown)
				s.until(0, 0, 2600*ms, StateDown)
			})
		})
	}
}

func TestFarewellRemovesAtOnce(t *testing.T) {
	simTest(t, simOptions{edges: 2, nodes: 2, link: simnet.Link{Latency: 20 * ms, Loss: 0.1}}, func(t *testing.T, s *sim) {
		s.settle()
		time.Sleep(3 * time.Second)
		s.edges[0].cancel()
		for n := range s.nodes {
			if took := s.until(n, 0, time.Second, StateDown); took > 100*ms {
				t.Errorf("node %d: removed after %v, want at once", n, took)
			}
			if m := s.member(n, 0); m.Reason != "sent a farewell" {
				t.Errorf("got reason %q", m.Reason)
			}
		}
		time.Sleep(time.Second)
		s.kill(0)
		// A farewell is final for that process, also when packets arrive after it.
		before := s.counter(0, `perto_replicas_heartbeats_total{result="farewell"}`)
		s.inject(0, s.net.Host("198.51.100.1"), AppendHeartbeat(nil, &Heartbeat{Name: []byte("e-0"), Epoch: 101, Sequence: 9999, Interval: DefaultInterval}, NewKeyring(s.keys...)))
		if m := s.member(0, 0); m.State != StateDown {
			t.Errorf("a heartbeat behind the farewell: got %v", m.State)
		}
		if got := s.counter(0, `perto_replicas_heartbeats_total{result="farewell"}`) - before; got != 1 {
			t.Errorf("counted %v heartbeats behind the farewell, want 1", got)
		}
		s.startEdge(0)
		s.until(0, 0, 200*ms, StateUp)
	})
}

// TestOwnEdgeIsNoSignOfLife: a node that is cut off still receives the heartbeats of
// the edge on its own machine.
func TestOwnEdgeIsNoSignOfLife(t *testing.T) {
	simTest(t, simOptions{edges: 3, self: "e-0"}, func(t *testing.T, s *sim) {
		s.settle()
		for _, e := range s.edges[1:] {
			s.net.CutBoth(e.host, s.nodes[0].host)
		}
		time.Sleep(time.Minute)
		for e, want := range []State{StateUp, StateUnknown, StateUnknown} {
			if m := s.member(0, e); m.State != want {
				t.Errorf("%s: got %v (%s), want %v", m.Name, m.State, m.Reason, want)
			}
		}
	})
}

func TestEdgeStatusDecidesState(t *testing.T) {
	simTest(t, simOptions{edges: 2}, func(t *testing.T, s *sim) {
		s.settle()
		s.edges[0].say(func(st *Status) { st.Draining = true })
		s.until(0, 0, time.Second, StateDraining)
		s.edges[0].say(func(st *Status) { st.Draining = false })
		s.until(0, 0, time.Second, StateUp)
		s.edges[0].say(func(st *Status) { st.Failing = 1 })
		s.until(0, 0, time.Second, StateDown)
		s.edges[0].say(func(st *Status) { st.Failing = 0 })
		s.until(0, 0, 3*time.Second, StateUp)
	})
}

// TestPlannedRestartsAreNoFlaps restarts an edge with farewells, which no hold-down follows.
// The same number of crashes is followed by one, and the Fleet names its end.
func TestPlannedRestartsAreNoFlaps(t *testing.T) {
	simTest(t, simOptions{edges: 2}, func(t *testing.T, s *sim) {
		s.settle()
		for range 5 {
			s.reap(0) // ends the sender: farewell
			s.until(0, 0, time.Second, StateDown)
			s.edges[0].host.Kill() // closes the port for the next process
			s.startEdge(0)
			s.until(0, 0, time.Second, StateUp)
		}
		for range 2 {
			s.kill(0)
			s.confirm(0, 0)
			s.startEdge(0)
			time.Sleep(time.Second)
		}
		m := s.member(0, 0)
		if left := time.Until(m.HeldUntil); m.State != StateDown || left <= 0 || left > shortHold || !strings.HasSuffix(m.Reason, " UTC, its 2nd death in 10 minutes") {
			t.Errorf("got %v until %v, %q; want a hold-down", m.State, m.HeldUntil, m.Reason)
		}
		s.until(0, 0, shortHold, StateUp)
		if m := s.member(0, 0); !m.HeldUntil.IsZero() {
			t.Errorf("up, and held until %v", m.HeldUntil)
		}
	})
}

// TestFlappingIsHeldDown stops and starts an edge every second. After its first death
// and return, its answers change once, and then when it was well for the whole window.
func TestFlappingIsHeldDown(t *testing.T) {
	simTest(t, simOptions{edges: 2}, func(t *testing.T, s *sim) {
		s.settle()
		start, before := time.Now(), len(s.nodes[0].reg.Events())
		const seconds = 75
		for range seconds {
			s.kill(0)
			s.confirm(0, 0)
			time.Sleep(500 * ms)
			s.startEdge(0)
			time.Sleep(500 * ms)
		}
		stopped := time.Now()
		s.until(0, 0, flapWindow, StateUp)
		var changes []time.Duration
		for _, e := range s.nodes[0].reg.Events()[before:] {
			if e.From.Serves() != e.To.Serves() {
				changes = append(changes, e.Time.Sub(start).Round(ms))
			}
		}
		t.Logf("%d s of flapping at 1 Hz: answers changed after %v", seconds, changes)
		if len(changes) != 4 || changes[1] > time.Second || changes[2] > 2*time.Second {
			t.Errorf("got %d changes, want a death, a fast return, a death and the last return", len(changes))
		}
		if quiet := time.Since(stopped); quiet < flapWindow-2*time.Second {
			t.Errorf("it came back after %v", quiet)
		}
	})
}

// TestForgivenReplicaReturns: a replica that is held down returns at once when an
// administrator cancels its order, or when the lab heals it.
func TestForgivenReplicaReturns(t *testing.T) {
	simTest(t, simOptions{edges: 2}, func(t *testing.T, s *sim) {
		s.settle()
		reg, name := s.nodes[0].reg, s.nodes[0].reg.Fleet().Load().Members[0].Name
		for _, forgive := range []func() error{
			func() error { return reg.Forgive(t.Context(), name) },
			func() error { return reg.SetAdmin(t.Context(), name, "", time.Time{}) },
		} {
			for range noiseDeaths {
				s.kill(0)
				s.confirm(0, 0)
				time.Sleep(500 * ms)
				s.startEdge(0)
				time.Sleep(500 * ms)
			}
			time.Sleep(5 * time.Second)
			if m := reg.Fleet().Load().Members[0]; m.State != StateDown || !strings.Contains(m.Reason, "held down") {
				t.Fatalf("after %d deaths: %s, %s", noiseDeaths, m.State, m.Reason)
			}
			if err := forgive(); err != nil {
				t.Fatal(err)
			}
			s.until(0, 0, 5*time.Second, StateUp)
		}
		if err := reg.Forgive(t.Context(), "nobody"); err != nil {
			t.Errorf("an unknown replica: %v", err)
		}
	})
}

// TestNoiseChangesAnswersOnce disturbs edges at the thresholds of their removal: with
// pauses around the length of a lease, crashes and refused connections. After the first
// return of an edge, its answers may change once in a window.
func TestNoiseChangesAnswersOnce(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			simTest(t, simOptions{seed: seed, edges: 3, link: simnet.Link{Latency: 30 * ms, Jitter: 20 * ms}}, func(t *testing.T, s *sim) {
				rng := rand.New(rand.NewPCG(seed, 2))
				s.settle()
				start := time.Now()
				for i := 0; time.Since(start) < 25*time.Minute; i++ {
					e := 1 + i%(len(s.edges)-1) // edge 0 proves that the network works
					switch rng.IntN(3) {
					case 0:
						s.edges[e].host.Freeze()
						time.Sleep(time.Duration(1900+rng.IntN(1200)) * ms)
						s.edges[e].host.Thaw()
					case 1:
						s.kill(e)
						time.Sleep(time.Duration(rng.IntN(3000)) * ms)
						s.startEdge(e)
					case 2:
						s.confirm(0, e)
					}
					time.Sleep(time.Duration(rng.IntN(5000)) * ms)
				}
				changes := make(map[perto.Replica][]time.Time)
				for _, e := range s.nodes[0].reg.Events() {
					if e.From.Serves() != e.To.Serves() {
						changes[e.Replica] = append(changes[e.Replica], e.Time)
					}
				}
				if c := changes[s.edges[0].name]; len(c) > 0 {
					t.Errorf("the edge without noise changed at %v", c)
				}
				for e := range s.edges[1:] {
					c := changes[s.edges[e+1].name]
					if len(c) < 3 {
						t.Errorf("edge %d: only %d changes: this is no noise: %s %s", e+1, len(c), s.changes(0, e+1), s.member(0, e+1).Reason)
						continue
					}
					for i := 3; i < len(c); i++ { // 0: first death, 1: its return, 2: the one change
						if gap := c[i].Sub(c[i-1]); gap < flapWindow {
							t.Errorf("edge %d: change %d came %v after the one before: %s", e+1, i+1, gap, s.changes(0, e+1))
						}
					}
				}
			})
		})
	}
}

func TestSilenceOfAllReplicasRemovesNone(t *testing.T) {
	for _, tt := range []struct {
		name    string
		nodes   int
		witness bool
		cut     bool // cut off the node under test; else the edges vanish and the witness is reachable
		want    State
	}{
		{"cut off, no witness", 1, false, true, StateUnknown},
		{"cut off, witness out of reach", 2, true, true, StateUnknown},
		{"edges gone, the witness heard nothing either", 2, true, false, StateDown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			simTest(t, simOptions{edges: 3, nodes: tt.nodes, witness: tt.witness}, func(t *testing.T, s *sim) {
				s.settle()
				for _, e := range s.edges {
					if tt.cut {
						s.net.CutBoth(e.host, s.nodes[0].host)
					} else {
						e.host.Vanish()
					}
				}
				if tt.nodes > 1 && tt.cut {
					s.net.CutBoth(s.nodes[0].host, s.nodes[1].host)
				}
				time.Sleep(time.Minute)
				for e := range s.edges {
					if m := s.member(0, e); m.State != tt.want {
						t.Errorf("%s: got %v (%s), want %v", m.Name, m.State, m.Reason, tt.want)
					}
				}
				if !tt.cut {
					return
				}
				for _, e := range s.edges[:2] {
					s.net.HealBoth(e.host, s.nodes[0].host)
				}
				s.until(0, 0, time.Second, StateUp)
				s.until(0, 1, time.Second, StateUp)
				s.until(0, 2, 3*time.Second, StateDown) // now only this edge is silent
				for e := range s.edges[:2] {
					if strings.Contains(s.changes(0, e), "down") {
						t.Errorf("edge %d: got %q", e, s.changes(0, e))
					}
				}
			})
		})
	}
}

func TestAllKilledAreConfirmedDown(t *testing.T) {
	simTest(t, simOptions{edges: 3}, func(t *testing.T, s *sim) {
		s.settle()
		for e := range s.edges {
			s.kill(e)
		}
		for e := range s.edges {
			s.until(0, e, 2*time.Second, StateDown)
		}
	})
}

func TestReplicaWithoutHeartbeats(t *testing.T) {
	tests := []struct {
		name string
		opts simOptions
		want State
	}{
		{"should beat, another does", simOptions{edges: 2, dead: 1}, StateDown},
		{"should beat, nobody does", simOptions{edges: 2, dead: 2}, StateUnknown},
		{"need not beat", simOptions{edges: 2, dead: 1, notBeats: true}, StateUnknown},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			simTest(t, tt.opts, func(t *testing.T, s *sim) {
				time.Sleep(20 * time.Second)
				if m := s.member(0, 0); m.State != tt.want {
					t.Errorf("got %v (%s), want %v", m.State, m.Reason, tt.want)
				}
			})
		})
	}
}

func TestProbesAloneDecide(t *testing.T) {
	probe := Probe{Kind: ProbeHTTP, Host: "shop.example", Path: "/up", Port: 80, Interval: 2 * time.Second, Timeout: time.Second, Up: 2, Down: 3}
	simTest(t, simOptions{edges: 3, noKeys: true, silent: true, probes: []Probe{probe}}, func(t *testing.T, s *sim) {
		for e := range s.edges {
			s.until(0, e, 2*time.Second, StateUp)
		}
		s.edges[0].answer.Store(new("500 Oops"))
		if took := s.until(0, 0, 10*time.Second, StateDown); took < 4*time.Second {
			t.Errorf("down after %v, want three bad answers", took)
		}
		if m := s.member(0, 0); !strings.Contains(m.Reason, "status 500") {
			t.Errorf("got reason %q", m.Reason)
		}
		s.edges[0].answer.Store(new("204 Fine"))
		if took := s.until(0, 0, 10*time.Second, StateUp); took < 2*time.Second {
			t.Errorf("up after %v, want two good answers", took)
		}
		s.edges[1].host.Vanish()
		s.until(0, 1, 10*time.Second, StateDown)
		s.kill(2)
		s.until(0, 2, 3*time.Second, StateDown) // refused: at once
	})
}

func TestIsolatedNodeIgnoresProbeTimeouts(t *testing.T) {
	probe := Probe{Kind: ProbeHTTP, Port: 80, Interval: time.Second}
	simTest(t, simOptions{edges: 3, noKeys: true, silent: true, probes: []Probe{probe}}, func(t *testing.T, s *sim) {
		for e := range s.edges {
			s.until(0, e, 2*time.Second, StateUp)
			s.net.CutBoth(s.edges[e].host, s.nodes[0].host)
		}
		time.Sleep(time.Minute)
		for e := range s.edges {
			if m := s.member(0, e); !m.State.Serves() {
				t.Errorf("%s: got %v (%s): this node's network is cut, the edges work", m.Name, m.State, m.Reason)
			}
		}
	})
}

func TestAdminOverridesEvidenceUntilExpiry(t *testing.T) {
	simTest(t, simOptions{edges: 2, file: true}, func(t *testing.T, s *sim) {
		s.settle()
		ctx, reg := t.Context(), s.nodes[0].reg
		set := func(name perto.Replica, word string, until time.Time) error {
			return reg.SetAdmin(ctx, name, word, until)
		}
		if err := set("e-0", AdminDrain, time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if m := s.member(0, 0); m.State != StateDraining || m.Admin != AdminDrain {
			t.Errorf("got %+v, want draining", m)
		}
		if err := set("e-1", AdminUp, time.Time{}); err != nil {
			t.Fatal(err)
		}
		s.kill(1)
		time.Sleep(30 * time.Second)
		if m := s.member(0, 1); m.State != StateUp {
			t.Errorf("got %v, want up: an administrator set it", m.State)
		}
		// The order survives a restart of the node.
		s.stopNode(0)
		s.startNode(0)
		reg = s.nodes[0].reg
		if m := s.member(0, 0); m.State != StateDraining {
			t.Errorf("after a restart: got %v, want draining", m.State)
		}
		time.Sleep(31 * time.Second)
		if m := s.member(0, 0); m.State != StateUp || m.Admin != "" {
			t.Errorf("after its time: got %+v, want up", m)
		}
		if err := set("e-1", "", time.Time{}); err != nil {
			t.Fatal(err)
		}
		if m := s.member(0, 1); m.State != StateDown {
			t.Errorf("taken back: got %v, want down", m.State)
		}
		for _, bad := range []struct {
			name perto.Replica
			word string
			kind perto.Kind
		}{{"nobody", AdminUp, perto.KindNotFound}, {"e-0", "dwon", perto.KindInvalid}} {
			if e, ok := errors.AsType[*perto.Error](set(bad.name, bad.word, time.Time{})); !ok || e.Kind != bad.kind {
				t.Errorf("%s %q: got %v", bad.name, bad.word, e)
			}
		}
	})
}

func TestRestartKeepsDownReplicas(t *testing.T) {
	simTest(t, simOptions{edges: 3, file: true}, func(t *testing.T, s *sim) {
		s.settle()
		s.kill(0)
		s.until(0, 0, 2*time.Second, StateDown)
		s.stopNode(0)
		s.startNode(0)
		if m := s.member(0, 0); m.State != StateDown {
			t.Errorf("the dead one: got %v, want down from the file", m.State)
		}
		if m := s.member(0, 1); m.State != StateUnknown {
			t.Errorf("a living one: got %v, want unknown", m.State)
		}
		s.until(0, 1, time.Second, StateUp)
		// Heartbeats from before the restart cannot be replayed.
		s.inject(0, s.net.Host("198.51.100.1"), AppendHeartbeat(nil, &Heartbeat{Name: []byte("e-0"), Epoch: 101, Sequence: 2, Interval: DefaultInterval}, NewKeyring(s.keys...)))
		if m := s.member(0, 0); m.State != StateDown {
			t.Errorf("a replay: got %v, want down", m.State)
		}
		s.startEdge(0)
		s.until(0, 0, 100*ms, StateUp)

		// A damaged file is a warning, and all replicas are assumed up.
		s.kill(0)
		s.until(0, 0, 2*time.Second, StateDown)
		s.stopNode(0)
		text, err := os.ReadFile(s.nodes[0].file)
		if err != nil {
			t.Fatal(err)
		}
		text[len(text)-3] ^= 1
		if err := os.WriteFile(s.nodes[0].file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		s.startNode(0)
		if m := s.member(0, 0); m.State != StateUnknown {
			t.Errorf("after damage: got %v, want unknown", m.State)
		}

		// An old file has the same effect: a replica that was down long ago may be up
		// now.
		s.until(0, 1, time.Second, StateUp)
		s.stopNode(0)
		time.Sleep(2 * storeFresh)
		s.startNode(0)
		if m := s.member(0, 0); m.State != StateUnknown {
			t.Errorf("after a long time: got %v, want unknown", m.State)
		}
	})
}

func TestReconfigureKeepsAndDrops(t *testing.T) {
	probe := Probe{Kind: ProbeHTTP, Port: 80, Interval: time.Second}
	simTest(t, simOptions{edges: 3, probes: []Probe{probe}}, func(t *testing.T, s *sim) {
		s.settle()
		s.kill(0)
		s.until(0, 0, 2*time.Second, StateDown)
		reg := s.nodes[0].reg
		declared := s.declared()
		declared[1].Weight = 7
		reconfigure := func(declared []Declared) {
			t.Helper()
			if err := reg.Reconfigure(t.Context(), Settings{Keys: s.keys, Sites: []Site{{Name: "p"}}, Declared: declared}); err != nil {
				t.Fatal(err)
			}
		}
		reconfigure(declared[:2])
		f := reg.Fleet().Load()
		if len(f.Members) != 2 || f.Members[0].State != StateDown || f.Members[1].State != StateUp || f.Members[1].Weight != 7 {
			t.Errorf("got %+v", f.Members)
		}
		time.Sleep(time.Second)
		before := s.edges[2].accepted.Load()
		time.Sleep(time.Minute)
		if got := s.edges[2].accepted.Load() - before; got != 0 {
			t.Errorf("%d probes of a replica that is no more", got)
		}
		reconfigure(declared)
		if m := s.member(0, 2); m.State != StateUnknown {
			t.Errorf("declared again: got %v, want unknown", m.State)
		}
		s.until(0, 2, 2*time.Second, StateUp)
	})
}

// TestKeyRotationLosesNoReplica replaces the key in the three steps of
// docs/formats/heartbeat.md while registry and senders run.
func TestKeyRotationLosesNoReplica(t *testing.T) {
	simTest(t, simOptions{edges: 2, nodes: 2, witness: true}, func(t *testing.T, s *sim) {
		s.settle()
		before, after := s.keys[0], testKey(9)
		for _, keys := range [][]Key{{before, after}, {after, before}, {after}} {
			for i, n := range s.nodes {
				settings := Settings{Keys: keys, Sites: []Site{{Name: "p"}}, Declared: s.declared(),
					Witnesses: []netip.AddrPort{netip.AddrPortFrom(s.nodes[1-i].host.Addr(), 5399)}}
				if err := n.reg.Reconfigure(t.Context(), settings); err != nil {
					t.Fatal(err)
				}
			}
			for _, e := range s.edges {
				e.sender.SetKeys(keys)
			}
			time.Sleep(10 * time.Second)
			for i := range s.edges {
				if m := s.member(0, i); m.State != StateUp {
					t.Errorf("with the keys %v: %s is %v (%s)", keys, m.Name, m.State, m.Reason)
				}
			}
		}
		if got := s.changes(0, 0); got != "up" {
			t.Errorf("changes of state: got %q, want none after the first", got)
		}
	})
}

// TestOwnEdgeAloneIsNotIsolated: a machine whose only edge is its own receives nothing
// over the network, and does not suspect it.
func TestOwnEdgeAloneIsNotIsolated(t *testing.T) {
	simTest(t, simOptions{self: "e-0"}, func(t *testing.T, s *sim) {
		s.settle()
		time.Sleep(time.Minute)
		if m := s.member(0, 0); m.State != StateUp {
			t.Errorf("got %v (%s)", m.State, m.Reason)
		}
		s.edges[0].host.Vanish()
		s.until(0, 0, 3*time.Second, StateDown) // its silence counts
	})
}

func TestReconfigureAfterTheEnd(t *testing.T) {
	simTest(t, simOptions{}, func(t *testing.T, s *sim) {
		s.settle()
		s.stopNode(0)
		s.nodes[0].cancel = nil
		err := s.nodes[0].reg.Reconfigure(t.Context(), Settings{})
		if e, ok := errors.AsType[*perto.Error](err); !ok || e.Kind != perto.KindUnavailable {
			t.Errorf("got %v, want an error of kind unavailable", err)
		}
	})
}

func TestLoadIsPublishedAtMostOnceASecond(t *testing.T) {
	simTest(t, simOptions{edges: 2}, func(t *testing.T, s *sim) {
		s.settle()
		time.Sleep(2 * time.Second)
		fleet := s.nodes[0].reg.Fleet()
		_, before := fleet.LoadVersion()
		for i := range 60 {
			s.edges[0].say(func(st *Status) { st.Load = 0.30 + 0.01*float64(i%2) })
			time.Sleep(DefaultInterval)
		}
		if _, v := fleet.LoadVersion(); v-before != 1 {
			t.Errorf("small changes: got %d versions, want 1", v-before)
		}
		_, before = fleet.LoadVersion()
		for i := range 60 {
			s.edges[0].say(func(st *Status) { st.Load = 0.4 * float64(i%3) }) // not synchronous with the seconds
			time.Sleep(DefaultInterval)
		}
		if _, v := fleet.LoadVersion(); v-before < 10 || v-before > 31 {
			t.Errorf("large changes in 30 s: got %d versions, want at most one a second", v-before)
		}
	})
}

// TestManySeeds injects random faults into a small CDN and checks the invariants. It
// stops when its share of wall time is used up.
func TestManySeeds(t *testing.T) {
	const budget = 3 * time.Second
	start, seeds := time.Now(), 0
	for seed := uint64(0); seed < 1000 && time.Since(start) < budget; seed++ {
		ok := t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { disturb(t, seed) })
		})
		if !ok {
			return
		}
		seeds++
	}
	t.Logf("%d seeds in %v", seeds, time.Since(start).Round(ms))
}

// disturb runs a minute of faults. Edge 0 and its links have none.
func disturb(t *testing.T, seed uint64) {
	s := newSim(t, simOptions{seed: seed, edges: 4, nodes: 2, witness: true, link: simnet.Link{Latency: 30 * ms, Jitter: 20 * ms, Loss: 0.01, Duplicate: 0.01}})
	rng := rand.New(rand.NewPCG(seed, 1))
	s.settle()
	dead := make([]time.Time, len(s.edges)) // time since which an edge is dead for all nodes; zero when it lives
	faulty := make([]time.Time, len(s.edges))
	stranger, keys := s.net.Host("198.51.100.1"), NewKeyring(s.keys...)
	check := func() {
		// Another host replays a heartbeat of an earlier process to a random node.
		e := 1 + rng.IntN(len(s.edges)-1)
		s.inject(rng.IntN(len(s.nodes)), stranger, AppendHeartbeat(nil, &Heartbeat{
			Name: []byte(s.edges[e].name), Epoch: s.edges[e].epoch - 1, Sequence: 1 << 40, Interval: DefaultInterval,
		}, keys))
		for n := range s.nodes {
			for e := range s.edges {
				m := s.member(n, e)
				if e == 0 && m.State == StateDown {
					t.Fatalf("node %d: the edge that beats all the time is down: %s", n, m.Reason)
				}
				if !dead[e].IsZero() && time.Since(dead[e]) > 2700*ms && m.State != StateDown {
					t.Fatalf("node %d: %s is dead since %v and %v (%s)", n, m.Name, time.Since(dead[e]), m.State, m.Reason)
				}
				if m.State == StateDown && dead[e].IsZero() && time.Since(faulty[e]) > flapWindow+time.Minute {
					t.Fatalf("node %d: %s had no fault for minutes and is down: %s", n, m.Name, m.Reason)
				}
			}
		}
	}
	for range 12 {
		e := 1 + rng.IntN(len(s.edges)-1)
		n := rng.IntN(len(s.nodes))
		host := s.edges[e].host
		faulty[e] = time.Now()
		switch rng.IntN(6) {
		case 0:
			s.kill(e)
			if dead[e].IsZero() {
				dead[e] = time.Now()
			}
		case 1:
			s.kill(e)
			s.startEdge(e)
			dead[e] = time.Time{}
		case 2:
			host.Freeze()
			time.Sleep(time.Duration(rng.IntN(5000)) * ms)
			host.Thaw()
		case 3:
			s.net.Cut(host, s.nodes[n].host)
			time.Sleep(time.Duration(rng.IntN(5000)) * ms)
			s.net.Heal(host, s.nodes[n].host)
		case 4:
			s.net.CutBoth(s.nodes[0].host, s.nodes[1].host)
			time.Sleep(time.Duration(rng.IntN(3000)) * ms)
			s.net.HealBoth(s.nodes[0].host, s.nodes[1].host)
		case 5:
			s.stall(n, time.Duration(rng.IntN(1500))*ms)
			for i := range dead { // a stalled node could not notice these
				if !dead[i].IsZero() {
					dead[i] = time.Now()
				}
			}
		}
		faulty[e] = time.Now()
		time.Sleep(time.Duration(rng.IntN(3000)) * ms)
		check()
	}
	for e := range s.edges {
		if !dead[e].IsZero() {
			s.startEdge(e)
			dead[e] = time.Time{}
		}
	}
	for n := range s.nodes {
		for e := range s.edges {
			s.until(n, e, flapWindow+time.Minute, StateUp)
		}
	}
	check()
}

func TestSenderNeedsAKey(t *testing.T) {
	for _, cfg := range []SenderConfig{
		{Name: "e-0"}, {Keys: []Key{testKey(1)}}, {Keys: []Key{testKey(1)}, Name: perto.Replica(strings.Repeat("x", 64))},
	} {
		if _, err := NewSender(cfg); err == nil {
			t.Errorf("%v: was accepted", cfg.Name)
		}
	}
}

func TestRegistryEndsCleanly(t *testing.T) {
	simTest(t, simOptions{edges: 2, probes: []Probe{{Kind: ProbeHTTP, Port: 80, Interval: 500 * ms}}}, func(t *testing.T, s *sim) {
		s.settle()
		s.edges[0].host.Vanish() // a probe hangs
		time.Sleep(700 * ms)
		s.stopNode(0)
		reg := s.nodes[0].reg
		s.nodes[0].cancel = nil
		if err := reg.SetAdmin(context.Background(), "e-0", AdminUp, time.Time{}); err == nil {
			t.Error("an ended registry accepted an order")
		}
		if _, err := New(t.Context(), Config{Network: s.nodes[0].host, Listen: ":5399", Settings: Settings{Keys: s.keys}}); err != nil {
			t.Errorf("the port is still taken: %v", err)
		}
		if reg.Addr().String() != netip.AddrPortFrom(s.nodes[0].host.Addr(), 5399).String() {
			t.Errorf("got address %v", reg.Addr())
		}
	})
}

// TestStallsAndIsolationAreLoggedOnce starves a name server again and again, as on a machine
// with too little CPU time, and cuts its network off and on.
func TestStallsAndIsolationAreLoggedOnce(t *testing.T) {
	simTest(t, simOptions{edges: 2}, func(t *testing.T, s *sim) {
		s.settle()
		var log bytes.Buffer // written by the owner of the registry only
		reg := s.nodes[0].reg
		setLog := func(l *slog.Logger) {
			if err := reg.do(t.Context(), "log", "", func(time.Time) error { reg.log = l; return nil }); err != nil {
				t.Fatal(err)
			}
		}
		setLog(slog.New(slog.NewTextHandler(&log, nil)))
		for range 40 {
			s.stall(0, time.Second)
			time.Sleep(5 * time.Second)
		}
		for range 10 {
			for _, e := range s.edges {
				s.net.CutBoth(e.host, s.nodes[0].host)
			}
			time.Sleep(3 * time.Second)
			for _, e := range s.edges {
				s.net.HealBoth(e.host, s.nodes[0].host)
			}
			time.Sleep(3 * time.Second)
		}
		setLog(slog.New(slog.DiscardHandler))
		text := log.String()
		if got := strings.Count(text, "this process was stalled"); got < 3 || got > 5 {
			t.Errorf("40 stalls in 4 minutes: %d lines, want one a minute\n%s", got, text)
		}
		if got, back := strings.Count(text, "the network of this node is suspected"), strings.Count(text, "is back"); got < 1 || got > 2 || back > got {
			t.Errorf("10 isolations in a minute: %d lines, %d that it is back, want one or two\n%s", got, back, text)
		}
		if !strings.Contains(text, "omitted=9") {
			t.Errorf("no line counts the omitted ones:\n%s", text)
		}
	})
}
