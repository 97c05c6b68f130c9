package pairs

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"perto/internal/netx"
	"perto/mapping"
	"perto/replicas"
)

func pair(resolver, client string) Pair {
	return Pair{mapping.GroupOf(netip.MustParseAddr(resolver)), mapping.GroupOf(netip.MustParseAddr(client))}
}

// TestFrames: a frame comes back, and every change of it is rejected.
func TestFrames(t *testing.T) {
	key, other := replicas.NewKey(), replicas.NewKey()
	now := time.Unix(1_800_000_000, 0)
	list := []Pair{pair("193.0.2.53", "39.208.1.7"), pair("2001:db8::53", "2400:1:2:3::4")}
	frame := AppendFrame(nil, now, list, key)
	got, err := ParseFrame(frame, now.Add(maxSkew), []replicas.Key{other, key})
	if err != nil || len(got) != 2 || got[0] != list[0] || got[1] != list[1] {
		t.Fatalf("got %v, %v", got, err)
	}
	for i := range frame {
		bad := append([]byte(nil), frame...)
		bad[i] ^= 1
		if _, err := ParseFrame(bad, now, []replicas.Key{key}); err == nil {
			t.Fatalf("accepted with byte %d changed", i)
		}
	}
	for i := range frame {
		if _, err := ParseFrame(frame[:i], now, []replicas.Key{key}); err == nil {
			t.Fatalf("accepted with %d bytes", i)
		}
	}
	for want, f := range map[string]func() ([]Pair, error){
		"unknown key": func() ([]Pair, error) { return ParseFrame(frame, now, []replicas.Key{other}) },
		"from now":    func() ([]Pair, error) { return ParseFrame(frame, now.Add(maxSkew+time.Minute), []replicas.Key{key}) },
		"its length is": func() ([]Pair, error) {
			return ParseFrame(AppendFrame(nil, now, make([]Pair, maxPairs+1), key), now, []replicas.Key{key})
		},
	} {
		if _, err := f(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func FuzzParseFrame(f *testing.F) {
	key := replicas.Key{ID: 7}
	now := time.Unix(1_800_000_000, 0)
	f.Add(AppendFrame(nil, now, []Pair{pair("193.0.2.53", "39.208.1.7")}, key))
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		if list, err := ParseFrame(b, now, []replicas.Key{key}); err == nil && len(b) != headBytes+pairBytes*len(list)+macBytes {
			t.Errorf("%d bytes are %d pairs", len(b), len(list))
		}
	})
}

// TestReports sends pairs over the system's network, with a good key and a wrong one.
func TestReports(t *testing.T) {
	key := replicas.NewKey()
	var mu sync.Mutex
	var got []Pair
	var log strings.Builder
	network := &netx.OS{}
	l, err := network.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	ctx, cancel := context.WithCancel(t.Context())
	r := &Receiver{Network: network, Listen: address, Keys: func() []replicas.Key { return []replicas.Key{key} },
		Add: func(list []Pair) {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, list...)
		},
		Logger: slog.New(slog.NewTextHandler(&log, nil))}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.Run(ctx)
	}()
	l.Close() // the predecessor ends, and the receiver opens the port
	var c Collector
	for range 3 {
		c.Add(mapping.GroupOf(netip.MustParseAddr("193.0.2.53")), netip.MustParseAddr("39.208.1.7"))
		c.Add(mapping.GroupOf(netip.MustParseAddr("193.0.2.53")), netip.MustParseAddr("39.208.1.99"))
	}
	list := c.Take()
	if len(list) != 1 || len(c.Take()) != 0 {
		t.Errorf("the collector has %v", list)
	}
	frame := AppendFrame(nil, time.Now(), list, key)
	for deadline := time.Now().Add(time.Minute); ; {
		if err = Send(t.Context(), network, address, frame); err == nil || time.Now().After(deadline) {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := Send(t.Context(), network, address, AppendFrame(nil, time.Now(), list, replicas.NewKey())); err == nil {
		t.Error("a frame with a wrong key is accepted")
	}
	cancel()
	<-ended
	if len(got) != 1 || got[0] != list[0] {
		t.Errorf("received %v", got)
	}
	if !strings.Contains(log.String(), "unknown key") {
		t.Errorf("logged %q", log.String())
	}
}

func TestCollectorIsBounded(t *testing.T) {
	var c Collector
	for i := range maxPending + 10 {
		c.Add(mapping.Group(1+i), netip.MustParseAddr("39.208.1.7"))
	}
	if len(c.Take()) != maxPending || c.Dropped() != 10 {
		t.Errorf("dropped %d", c.Dropped())
	}
}
