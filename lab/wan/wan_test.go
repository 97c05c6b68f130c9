package wan

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"perto"
)

var (
	gru = Region{"gru", []netip.Prefix{netip.MustParsePrefix("198.18.1.0/24"), netip.MustParsePrefix("2001:db8:1::/64")}, perto.Place{Name: "São Paulo", Country: "BR", Lat: -23.55, Lon: -46.63}}
	fra = Region{"fra", []netip.Prefix{netip.MustParsePrefix("198.18.2.0/24"), netip.MustParsePrefix("2001:db8:2::/64")}, perto.Place{Name: "Frankfurt", Country: "DE", Lat: 50.11, Lon: 8.68}}
	syd = Region{"syd", []netip.Prefix{netip.MustParsePrefix("198.18.3.0/24")}, perto.Place{Name: "Sydney", Country: "AU", Lat: -33.87, Lon: 151.21}}
)

// arrival is a packet that came out of a Wan.
type arrival struct {
	after  time.Duration // since it was made
	number uint16
}

// bed is a Wan that records its output.
type bed struct {
	*Wan
	mu  sync.Mutex
	got []arrival
	err error // that Out returns
}

// inBubble runs f with a running Wan in virtual time.
func inBubble(t *testing.T, cfg Config, f func(t *testing.T, b *bed)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bed{}
		start := time.Now()
		cfg.Regions = []Region{gru, fra, syd}
		cfg.Out = func(packet []byte) error {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.got = append(b.got, arrival{time.Since(start), numberOf(packet)})
			return b.err
		}
		var err error
		if b.Wan, err = New(cfg); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go b.Run(ctx)
		f(t, b)
		cancel()
		synctest.Wait()
	})
}

// arrived returns the recorded packets and removes them.
func (b *bed) arrived() []arrival {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	got := b.got
	b.got = nil
	return got
}

// datagram makes a UDP packet of size bytes between two addresses.
func datagram(from, to string, port, number uint16, size int) []byte {
	src, dst := netip.MustParseAddr(from), netip.MustParseAddr(to)
	header := ipv4Header
	p := make([]byte, max(size, ipv6Header+8))
	if src.Is4() {
		p = p[:max(size, ipv4Header+8)]
		p[0], p[9] = 0x45, protocolUDP
		copy(p[12:], src.AsSlice())
		copy(p[16:], dst.AsSlice())
	} else {
		header = ipv6Header
		p[0], p[6] = 0x60, protocolUDP
		copy(p[8:], src.AsSlice())
		copy(p[24:], dst.AsSlice())
	}
	binary.BigEndian.PutUint16(p[header:], port)
	binary.BigEndian.PutUint16(p[header+6:], number) // where the checksum would be
	return p
}

func numberOf(p []byte) uint16 {
	if p[0]>>4 == 4 {
		return binary.BigEndian.Uint16(p[ipv4Header+6:])
	}
	return binary.BigEndian.Uint16(p[ipv6Header+6:])
}

// toFra sends numbered datagrams of one flow from gru to fra.
func (b *bed) toFra(n, size int) {
	for i := range n {
		b.Send(datagram("198.18.1.10", "198.18.2.10", 1000, uint16(i), size))
	}
}

func (b *bed) must(t *testing.T, c Change) {
	t.Helper()
	if _, err := b.Apply(c); err != nil {
		t.Fatal(err)
	}
}

func TestPacketsTakeTheGreatCircle(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, b *bed) {
		b.Send(datagram("198.18.1.10", "198.18.3.10", 1, 13, 100))
		b.Send(datagram("198.18.1.10", "198.18.2.10", 1, 12, 100))
		b.Send(datagram("2001:db8:2::1", "2001:db8:1::1", 1, 21, 100))
		time.Sleep(time.Second)
		there := perto.PriorRTT(gru.Place.DistanceKm(fra.Place)) / 2
		far := perto.PriorRTT(gru.Place.DistanceKm(syd.Place)) / 2
		want := []arrival{{there, 12}, {there, 21}, {far, 13}}
		if got := b.arrived(); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

func TestOnlyPacketsBetweenRegionsPass(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, b *bed) {
		for _, p := range [][]byte{
			datagram("198.18.1.10", "198.18.9.10", 1, 1, 100),
			datagram("8.8.8.8", "198.18.1.10", 1, 1, 100),
			datagram("198.18.1.10", "198.18.1.11", 1, 1, 100),
			datagram("198.18.1.10", "1.1.1.1", 1, 1, 100),
			datagram("fe80::1", "2001:db8:1::1", 1, 1, 100),
		} {
			b.Send(p)
		}
		for _, chatter := range [][]byte{nil, {0x45}, {0x60, 0, 0}, {0x12, 0, 0, 0}, datagram("fe80::1", "ff02::2", 1, 1, 100)} {
			b.Send(chatter)
		}
		time.Sleep(time.Second)
		if got := b.arrived(); len(got) != 0 {
			t.Errorf("out came %v", got)
		}
		if s := b.State(); s.Strays != 5 || s.UnderWay != 0 || s.UnderWayBytes != 0 {
			t.Errorf("counted %d strays, %d packets and %d bytes under way", s.Strays, s.UnderWay, s.UnderWayBytes)
		}
	})
}

func TestJitterKeepsTheOrderOfAFlow(t *testing.T) {
	const n = 1000
	for _, test := range []struct {
		name    string
		reorder bool
	}{{"in order", false}, {"reorder", true}} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, Config{Seed: 3}, func(t *testing.T, b *bed) {
				b.must(t, Change{From: "gru", To: "fra", Delay: new(50 * time.Millisecond), Jitter: new(20 * time.Millisecond), Reorder: &test.reorder})
				b.toFra(n, 100)
				b.Send(datagram("198.18.1.10", "198.18.2.10", 2000, n, 100)) // another flow, the last to come
				time.Sleep(time.Second)
				got := b.arrived()
				if len(got) != n+1 {
					t.Fatalf("%d packets came out", len(got))
				}
				last := got[n]
				if got[0].after < 50*time.Millisecond || last.after > 70*time.Millisecond || last.after-got[0].after < 15*time.Millisecond {
					t.Errorf("packets came between %v and %v", got[0].after, last.after)
				}
				if slices.IsSortedFunc(got, func(x, y arrival) int { return int(x.number) - int(y.number) }) {
					t.Error("jitter of one flow held another")
				}
				got = slices.DeleteFunc(got, func(a arrival) bool { return a.number == n })
				if sorted := slices.IsSortedFunc(got, func(x, y arrival) int { return int(x.number) - int(y.number) }); sorted == test.reorder {
					t.Errorf("in order: %v", sorted)
				}
			})
		})
	}
}

func TestLossIsDrawnFromTheSeed(t *testing.T) {
	draw := func(seed uint64) (got []arrival) {
		inBubble(t, Config{Seed: seed}, func(t *testing.T, b *bed) {
			b.must(t, Change{From: "gru", Loss: new(0.2)})
			b.toFra(1000, 100)
			time.Sleep(time.Second)
			got = b.arrived()
			if p := b.State().Pairs[0]; p.Packets+p.Lost != 1000 || int(p.Packets) != len(got) {
				t.Errorf("counted %+v, %d came out", p, len(got))
			}
		})
		return got
	}
	a := draw(1)
	if len(a) < 750 || len(a) > 850 {
		t.Errorf("%d of 1000 passed a loss of 20 %%", len(a))
	}
	if !slices.Equal(a, draw(1)) {
		t.Error("equal seeds lost other packets")
	}
	if slices.Equal(a, draw(2)) {
		t.Error("another seed lost the same packets")
	}
}

func TestBandwidthSpacesPackets(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, b *bed) {
		b.must(t, Change{From: "gru", To: "fra", Delay: new(time.Duration(0)), Bandwidth: new(uint64(8_000_000))})
		b.toFra(400, 1000) // a millisecond each; the queue takes 300 ms
		time.Sleep(time.Second)
		got := b.arrived()
		for i, a := range got {
			if a.after != time.Duration(i+1)*time.Millisecond {
				t.Fatalf("packet %d came after %v", i, a.after)
			}
		}
		if p := b.State().Pairs[0]; len(got) != 301 || p.Overflow != 99 {
			t.Errorf("%d passed, %d overflowed", len(got), p.Overflow)
		}
	})
}

func TestMemoryIsBounded(t *testing.T) {
	inBubble(t, Config{Memory: 10*bufferSize + 9000}, func(t *testing.T, b *bed) {
		b.toFra(100, 100)
		if s := b.State(); s.UnderWay != 14 || s.UnderWayBytes != 14*bufferSize {
			t.Errorf("%d packets in %d bytes under way", s.UnderWay, s.UnderWayBytes)
		}
		time.Sleep(time.Second)
		b.Send(datagram("198.18.1.10", "198.18.2.10", 1, 1, 9000)) // a jumbo frame
		b.Send(datagram("198.18.1.10", "198.18.2.10", 1, 1, 60000))
		if s := b.State(); s.UnderWay != 1 || s.UnderWayBytes != 9000 {
			t.Errorf("%d packets in %d bytes under way", s.UnderWay, s.UnderWayBytes)
		}
		b.mu.Lock()
		b.err = errors.New("no room at the device")
		b.mu.Unlock()
		time.Sleep(time.Second)
		if s := b.State(); s.UnderWay != 0 || s.UnderWayBytes != 0 || s.Pairs[0].Packets != 14 || s.Pairs[0].Overflow != 88 {
			t.Errorf("at the end %+v", s)
		}
	})
}

func TestCutIsSilentAndResetRestores(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, b *bed) {
		start := b.State()
		b.toFra(3, 100)
		b.must(t, Change{From: "fra", Cut: new(true)}) // while they are in flight
		b.toFra(2, 100)
		b.Send(datagram("198.18.1.10", "198.18.3.10", 1, 7, 100))
		time.Sleep(time.Second)
		if got := b.arrived(); len(got) != 1 || got[0].number != 7 {
			t.Errorf("out came %v", got)
		}
		if p := b.State().Pairs[0]; p.Counters.Cut != 5 || !p.IsCut {
			t.Errorf("pair is %+v", p)
		}
		b.must(t, Change{From: "gru", Delay: new(time.Second), Jitter: new(time.Second), Loss: new(1.0), Bandwidth: new(uint64(1000)), Reorder: new(true)})
		b.must(t, Change{Reset: true})
		now := b.State()
		for i := range now.Pairs {
			now.Pairs[i].Counters = Counters{}
			if now.Pairs[i] != start.Pairs[i] {
				t.Errorf("healed to %+v, was %+v", now.Pairs[i], start.Pairs[i])
			}
		}
		b.toFra(2, 100)
		time.Sleep(time.Second)
		if got := b.arrived(); len(got) != 2 {
			t.Errorf("out came %v", got)
		}
	})
}

func TestOneWayLeavesTheWayBack(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, b *bed) {
		changed, err := b.Apply(Change{From: "gru", To: "fra", OneWay: true, Cut: new(true)})
		if err != nil || len(changed) != 1 || changed[0].From != "gru" || changed[0].To != "fra" {
			t.Fatalf("changed %+v, %v", changed, err)
		}
		b.toFra(1, 100)
		b.Send(datagram("198.18.2.10", "198.18.1.10", 1, 21, 100))
		time.Sleep(time.Second)
		if got := b.arrived(); len(got) != 1 || got[0].number != 21 {
			t.Errorf("out came %v", got)
		}
		for c, want := range map[Change]int{{From: "gru", Reset: true}: 4, {From: "fra", To: "syd", Reset: true}: 2, {Reset: true}: 6, {From: "syd", OneWay: true, Reset: true}: 2} {
			if changed, err := b.Apply(c); err != nil || len(changed) != want {
				t.Errorf("%+v changed %d directions, %v; want %d", c, len(changed), err, want)
			}
		}
	})
}

func TestFlowsAreDistinguished(t *testing.T) {
	base := datagram("198.18.1.10", "198.18.2.10", 1000, 1, 100)
	later := slices.Clone(base)
	later[50] = 9 // payload
	if flowOf(base) != flowOf(later) {
		t.Error("two packets of a flow differ")
	}
	fragment := slices.Clone(base)
	fragment[6] = 0x20 // more fragments follow
	second := slices.Clone(base)
	binary.BigEndian.PutUint16(second[6:], 100)
	second[20] = 77 // payload where ports would be
	if flowOf(fragment) != flowOf(second) {
		t.Error("two fragments of a datagram differ")
	}
	six := datagram("2001:db8:1::1", "2001:db8:2::1", 1000, 1, 100)
	for name, other := range map[string][]byte{
		"port":       datagram("198.18.1.10", "198.18.2.10", 1001, 1, 100),
		"host":       datagram("198.18.1.11", "198.18.2.10", 1000, 1, 100),
		"IPv6":       six,
		"other IPv6": datagram("2001:db8:1::1", "2001:db8:2::1", 1001, 1, 100),
		"fragment":   fragment,
	} {
		if flowOf(base) == flowOf(other) || name == "other IPv6" && flowOf(six) == flowOf(other) {
			t.Errorf("another %s is the same flow", name)
		}
	}
}

func FuzzSend(f *testing.F) {
	f.Add(datagram("198.18.1.10", "198.18.2.10", 1, 1, 100))
	f.Add(datagram("2001:db8:1::1", "2001:db8:2::1", 1, 1, 100))
	short := datagram("198.18.1.10", "198.18.2.10", 1, 1, 0)
	short[0] = 0x4f
	f.Add(short[:ipv4Header])
	w, err := New(Config{Regions: []Region{gru, fra}, Out: func([]byte) error { return nil }, Memory: 1})
	if err != nil {
		f.Fatal(err)
	}
	w.cfg.Memory = DefaultMemory
	ctx, cancel := context.WithCancel(f.Context())
	f.Cleanup(cancel)
	go w.Run(ctx)
	if _, err := w.Apply(Change{Jitter: new(time.Microsecond), Delay: new(time.Duration(0))}); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, packet []byte) { w.Send(packet) })
}

func BenchmarkSend(b *testing.B) {
	w, err := New(Config{Regions: []Region{gru, fra, syd}, Out: func([]byte) error { return nil }})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := w.Apply(Change{Delay: new(time.Millisecond), Jitter: new(time.Millisecond)}); err != nil {
		b.Fatal(err)
	}
	go w.Run(b.Context())
	p := datagram("198.18.1.10", "198.18.2.10", 1000, 1, 1500)
	b.ReportAllocs()
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		w.Send(p)
	}
}
