package replicas

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// TestClockSetBackIsProved: an edge with a clock that was ahead restarts with the
// correct time. Its epoch is lower than the one that the name server has stored.
func TestClockSetBackIsProved(t *testing.T) {
	simTest(t, simOptions{file: true}, func(t *testing.T, s *sim) {
		s.settle()
		const days = 86_400 * 1_000_000
		s.edges[0].epoch += 30 * days
		s.kill(0)
		s.until(0, 0, 3*time.Second, StateDown)
		s.startEdge(0)
		s.until(0, 0, 3*time.Second, StateUp)
		// The name server also restarts. It reads the higher epoch from its file.
		s.stopNode(0)
		s.kill(0)
		s.startNode(0)
		s.edges[0].epoch -= 30 * days
		s.startEdge(0)
		s.until(0, 0, 2*time.Second, StateUp)
		if got := s.counter(0, `perto_replicas_heartbeats_total{result="epoch"}`); got == 0 {
			t.Error("no heartbeat was rejected: the test proves nothing")
		}
		time.Sleep(10 * time.Second)
		if m := s.member(0, 0); m.State != StateUp {
			t.Errorf("later: %v (%s)", m.State, m.Reason)
		}
	})
}

// TestReplayedEpochIsNotAdopted: heartbeats of an earlier process arrive again, from
// another host and from the edge's own address. The registry keeps the current epoch.
func TestReplayedEpochIsNotAdopted(t *testing.T) {
	simTest(t, simOptions{}, func(t *testing.T, s *sim) {
		s.settle()
		old := Heartbeat{Name: []byte(s.edges[0].name), Epoch: s.edges[0].epoch - 1, Sequence: 1 << 40, Interval: DefaultInterval, Farewell: true}
		packet := AppendHeartbeat(nil, &old, NewKeyring(s.keys...))
		attacker := s.net.Host("198.51.100.66")
		for range 20 {
			s.inject(0, attacker, packet)
			s.inject(0, s.edges[0].host, packet)
			time.Sleep(time.Second)
		}
		if m := s.member(0, 0); m.State != StateUp || m.Reason != "heartbeats" {
			t.Errorf("got %v (%s), want it up", m.State, m.Reason)
		}
		if got := s.changes(0, 0); got != "up" {
			t.Errorf("changes: %q", got)
		}
	})
}

func TestWrongKeyIsNamedOnBothSides(t *testing.T) {
	simTest(t, simOptions{edges: 2}, func(t *testing.T, s *sim) {
		s.settle()
		other := testKey(7)
		s.edges[0].sender.SetKeys([]Key{other})
		s.until(0, 0, 5*time.Second, StateDown)
		want := "its heartbeats are rejected: signed with key " + strings.TrimPrefix(other.String(), "key ")
		if m := s.member(0, 0); !strings.HasPrefix(m.Reason, want) {
			t.Errorf("the name server reports %q, want %q", m.Reason, want)
		}
		rejections := s.edges[0].sender.Rejections()
		if len(rejections) != 1 || rejections[0].Target.Addr() != s.nodes[0].host.Addr() || !strings.Contains(rejections[0].Reason, "does not have this edge's "+other.String()) {
			t.Errorf("the edge reports %+v", rejections)
		}
		if got := s.edges[1].sender.Rejections(); len(got) != 0 {
			t.Errorf("another edge reports %+v", got)
		}
		// A key with the same id and another secret, then the right one.
		forged := s.keys[0]
		forged.Secret[0] ^= 1
		s.edges[0].sender.SetKeys([]Key{forged})
		time.Sleep(2 * time.Second)
		if m := s.member(0, 0); !strings.Contains(m.Reason, "the signature does not match") {
			t.Errorf("with another secret the name server reports %q", m.Reason)
		}
		s.edges[0].sender.SetKeys(s.keys)
		s.until(0, 0, 3*time.Second, StateUp)
		if m := s.member(0, 0); m.Reason != "heartbeats" {
			t.Errorf("with the right key: %q", m.Reason)
		}
		time.Sleep(2 * rejectionLasts)
		if got := s.edges[0].sender.Rejections(); len(got) != 0 {
			t.Errorf("later the edge still reports %+v", got)
		}
	})
}

// TestNoticesAreNotForged: an edge ignores a rejection notice from a host that has not
// received its packet.
func TestNoticesAreNotForged(t *testing.T) {
	h := Heartbeat{Name: []byte("e"), Epoch: 1, Sequence: 1, Interval: DefaultInterval}
	packet := AppendHeartbeat(nil, &h, NewKeyring(testKey(1)))
	notice := appendNotice(nil, RejectKey, packet)
	if len(notice) >= len(packet) {
		t.Errorf("a notice of %d bytes answers a packet of %d", len(notice), len(packet))
	}
	reason, echo, ok := parseNotice(notice)
	if !ok || reason != RejectKey || !bytes.Equal(echo[:], packet[len(packet)-macBytes:][:echoBytes]) {
		t.Fatalf("got %v %x %v", reason, echo, ok)
	}
	simTest(t, simOptions{}, func(t *testing.T, s *sim) {
		s.settle()
		sender := s.edges[0].sender
		from := s.nodes[0].reg.Addr()
		sender.noticed(RejectKey, echo, from)
		if got := sender.Rejections(); len(got) != 0 {
			t.Errorf("a forged notice: %+v", got)
		}
		sender.noticed(RejectKey, sender.inbound.echoes[sender.inbound.sequence()%4], from)
		if got := sender.Rejections(); len(got) != 1 {
			t.Errorf("a true notice: %+v", got)
		}
	})
}

// FuzzInbound: no packet makes a parser of the heartbeat port panic. A packet that is
// read is written with the same content.
func FuzzInbound(f *testing.F) {
	keys := NewKeyring(testKey(1))
	h := Heartbeat{Name: []byte("gru-1"), Epoch: 3, Sequence: 4, Interval: DefaultInterval}
	packet := AppendHeartbeat(nil, &h, keys)
	f.Add(packet)
	f.Add(appendNotice(nil, RejectMAC, packet))
	f.Add(appendProof(nil, 3, 4, 5, []byte("gru-1"), keys))
	f.Add(appendInquiry(nil, kindChallenge, &inquiry{nonce: 5, age: never, name: []byte("gru-1")}, keys))
	f.Fuzz(func(t *testing.T, p []byte) {
		claimedName(p)
		if reason, echo, ok := parseNotice(p); ok {
			like := make([]byte, headBytes+macBytes)
			copy(like[8:12], p[8:12])
			copy(like[len(like)-macBytes:], echo[:])
			if again, echo2, ok := parseNotice(appendNotice(nil, reason, like)); !ok || again != reason || echo2 != echo {
				t.Errorf("%x: read again as %v %x", p, again, echo2)
			}
		}
		if len(p) < headBytes || len(p) > MaxPacket {
			return
		}
		if q, name, reject := parseProof(p, p[headBytes:]); reject == Accepted {
			again := appendProof(nil, q.epoch, q.sequence, q.nonce, name, keys)
			if kind, body, reject := keys.open(again); kind != kindProof || reject != Accepted {
				t.Errorf("%x: cannot be opened again", p)
			} else if r, n, _ := parseProof(again, body); r != q || !bytes.Equal(n, name) {
				t.Errorf("%x: read again as %+v %q", p, r, n)
			}
		}
	})
}
