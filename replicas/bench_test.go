package replicas

import (
	"fmt"
	"testing"
	"time"

	"perto"
	"perto/internal/netx"
)

// BenchmarkRegistry measures the constant work with a thousand edges: the tick (20 a
// second) and one heartbeat (2 a second from each edge).
func BenchmarkRegistry(b *testing.B) {
	var declared []Declared
	for i := range 1000 {
		declared = append(declared, Declared{Name: perto.Replica(fmt.Sprintf("e-%d", i)), Beats: true})
	}
	r, err := New(b.Context(), Config{Network: new(netx.OS), Listen: "127.0.0.1:0", Settings: Settings{Keys: []Key{testKey(1)}, Declared: declared}})
	if err != nil {
		b.Fatal(err)
	}
	defer r.conn.Close()
	msg := message{kind: kindHeartbeat, beat: Heartbeat{Epoch: 1, Interval: maxInterval, Status: Status{Load: 0.5}}}
	beat := func(i int) {
		msg.size = copy(msg.name[:], declared[i].Name)
		msg.beat.Sequence++
		r.receive(&msg)
	}
	for i := range declared {
		beat(i)
	}
	if r.publishChanges(); r.fleet.Load().Members[7].State != StateUp {
		b.Fatal("not up")
	}
	b.Run("tick", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			for _, m := range r.sorted {
				m.heard = time.Now() // no replica becomes silent during the measurement
			}
			r.look(b.Context())
		}
	})
	b.Run("heartbeat", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			beat(7)
			r.publishChanges()
		}
	})
	b.Run("publish", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			r.publish()
		}
	})
}
