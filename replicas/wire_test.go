package replicas

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

func testKey(id uint32) Key {
	k := Key{ID: id}
	for i := range k.Secret {
		k.Secret[i] = byte(id) + byte(i)
	}
	return k
}

func testHeartbeat() *Heartbeat {
	return &Heartbeat{
		Name: []byte("gru-1"), Epoch: 1795449600000000, Sequence: 42, Interval: DefaultInterval,
		Status: Status{Draining: true, Listeners: 3, Failing: 1, Port: 80, Load: 0.25, Capacity: 10e9, PurgeSequence: 7},
	}
}

func TestHeartbeatRoundTrip(t *testing.T) {
	keys := NewKeyring(testKey(1))
	tests := []struct {
		name   string
		change func(h, want *Heartbeat)
	}{
		{"plain", func(h, want *Heartbeat) {}},
		{"farewell", func(h, want *Heartbeat) { h.Farewell, want.Farewell = true, true }},
		{"longest name", func(h, want *Heartbeat) {
			h.Name = bytes.Repeat([]byte("x"), maxName)
			want.Name = h.Name
		}},
		{"overload is clipped", func(h, want *Heartbeat) { h.Load, want.Load = 99, 0xffff*loadUnit }},
		{"load not a number", func(h, want *Heartbeat) { h.Load, want.Load = math.NaN(), 0 }},
		{"negative load", func(h, want *Heartbeat) { h.Load, want.Load = -1, 0 }},
		{"long interval is clipped", func(h, want *Heartbeat) { h.Interval, want.Interval = time.Hour, 0xffff*time.Millisecond }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, want := testHeartbeat(), testHeartbeat()
			tt.change(h, want)
			p := AppendHeartbeat([]byte("before"), h, keys)[len("before"):]
			if len(p) > MaxPacket {
				t.Errorf("the packet has %d bytes, more than %d", len(p), MaxPacket)
			}
			got, reject := openHeartbeat(p, keys)
			if reject != Accepted || !reflect.DeepEqual(&got, want) {
				t.Errorf("got %+v (%v), want %+v", got, reject, *want)
			}
		})
	}
}

func TestHeartbeatOfALaterVersionIsRead(t *testing.T) {
	keys := NewKeyring(testKey(1))
	h := testHeartbeat()
	p := AppendHeartbeat(nil, h, keys)
	p = append(p[:len(p)-macBytes], "fields we do not know"...)
	p = keys.seal(p, 0)
	if got, reject := openHeartbeat(p, keys); reject != Accepted || !reflect.DeepEqual(&got, h) {
		t.Errorf("got %+v (%v), want what we know of it", got, reject)
	}
}

func TestHeartbeatRejects(t *testing.T) {
	keys := NewKeyring(testKey(1))
	good := AppendHeartbeat(nil, testHeartbeat(), keys)
	// resign signs the packet again, so that malformed content passes the signature
	// check.
	resign := func(p []byte) []byte {
		return keys.seal(p[:len(p)-macBytes], 0)
	}
	tests := []struct {
		name string
		edit func(p []byte) []byte
		want Reject
	}{
		{"empty", func(p []byte) []byte { return nil }, RejectSize},
		{"cut", func(p []byte) []byte { return p[:len(p)-1] }, RejectSize},
		{"longer than it says", func(p []byte) []byte { return append(p, 0) }, RejectSize},
		{"too long", func(p []byte) []byte { return append(p, make([]byte, MaxPacket)...) }, RejectSize},
		{"of something else", func(p []byte) []byte { p[0]++; return p }, RejectMagic},
		{"version", func(p []byte) []byte { p[4]++; return resign(p) }, RejectVersion},
		{"other key", func(p []byte) []byte { p[11]++; return p }, RejectKey},
		{"changed", func(p []byte) []byte { p[40]++; return p }, RejectMAC},
		{"changed signature", func(p []byte) []byte { p[len(p)-1]++; return p }, RejectMAC},
		{"kind", func(p []byte) []byte { p[5] = kindQuery; return resign(p) }, RejectForm},
		{"name is longer than the packet", func(p []byte) []byte { p[headBytes+24] = 60; return resign(p) }, RejectForm},
		{"no name", func(p []byte) []byte { p[headBytes+24] = 0; return resign(p) }, RejectForm},
		{"no interval", func(p []byte) []byte { p[headBytes], p[headBytes+1] = 0, 0; return resign(p) }, RejectForm},
		{"no body", func(p []byte) []byte { return resign(p[:headBytes+macBytes]) }, RejectForm},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, reject := openHeartbeat(tt.edit(bytes.Clone(good)), keys); reject != tt.want || got.Name != nil {
				t.Errorf("got %+v (%v), want %v", got, reject, tt.want)
			}
		})
	}
	for i := range good {
		p := bytes.Clone(good)
		p[i] ^= 0x10
		if _, reject := openHeartbeat(p, keys); reject == Accepted {
			t.Errorf("byte %d may be changed", i)
		}
	}
}

func TestKeysRotateWithOverlap(t *testing.T) {
	old, next := testKey(1), testKey(2)
	before, during, after := NewKeyring(old), NewKeyring(old, next), NewKeyring(next, old)
	for name, pair := range map[string][2]*Keyring{
		"a machine that has the new key too": {before, during}, "one that has it not yet": {during, before},
		"one that signs with the new key": {after, during}, "the other way": {during, after},
	} {
		if _, reject := openHeartbeat(AppendHeartbeat(nil, testHeartbeat(), pair[0]), pair[1]); reject != Accepted {
			t.Errorf("%s: got %v", name, reject)
		}
	}
	if _, reject := openHeartbeat(AppendHeartbeat(nil, testHeartbeat(), after), before); reject != RejectKey {
		t.Errorf("an unknown key: got %v", reject)
	}
	if _, reject := openHeartbeat(AppendHeartbeat(nil, testHeartbeat(), before), NewKeyring()); reject != RejectKey {
		t.Errorf("without keys: got %v", reject)
	}
}

func TestKeyShowsNoSecret(t *testing.T) {
	k := testKey(1)
	for _, got := range []string{fmt.Sprint(k), fmt.Sprintf("%+v", k), fmt.Sprintf("%#v", k), k.LogValue().String()} {
		if got != "key 00000001" {
			t.Errorf("got %q, want the id alone", got)
		}
	}
}

func TestInquiryRoundTrip(t *testing.T) {
	keys := NewKeyring(testKey(1))
	want := inquiry{nonce: 7, age: 1100, name: []byte("gru-1")}
	p := appendInquiry(nil, kindAnswer, &want, keys)
	kind, body, reject := keys.open(p)
	if kind != kindAnswer || reject != Accepted {
		t.Fatalf("got kind %d, %v", kind, reject)
	}
	if got, reject := parseInquiry(p, body); reject != Accepted || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v (%v), want %+v", got, reject, want)
	}
}

func TestHeartbeatDoesNotAllocate(t *testing.T) {
	keys := NewKeyring(testKey(1))
	h := testHeartbeat()
	p := make([]byte, 0, MaxPacket)
	if n := testing.AllocsPerRun(100, func() { p = AppendHeartbeat(p[:0], h, keys) }); n != 0 {
		t.Errorf("appending: got %v allocations, want 0", n)
	}
	if n := testing.AllocsPerRun(100, func() {
		if _, reject := openHeartbeat(p, keys); reject != Accepted {
			t.Fatal(reject)
		}
	}); n != 0 {
		t.Errorf("parsing: got %v allocations, want 0", n)
	}
}

func BenchmarkParseHeartbeat(b *testing.B) {
	keys := NewKeyring(testKey(1))
	p := AppendHeartbeat(nil, testHeartbeat(), keys)
	b.ReportAllocs()
	for b.Loop() {
		openHeartbeat(p, keys)
	}
}

// FuzzPacket signs the fuzzer's input, so that it passes the signature check. A reader
// must survive the bugs of a sender that has the key.
func FuzzPacket(f *testing.F) {
	keys := NewKeyring(testKey(1))
	f.Add(AppendHeartbeat(nil, testHeartbeat(), keys), false)
	f.Add(AppendHeartbeat(nil, testHeartbeat(), keys), true)
	f.Add(appendInquiry(nil, kindQuery, &inquiry{nonce: 1, age: never, name: []byte("gru-1")}, keys), true)
	f.Fuzz(func(t *testing.T, p []byte, sign bool) {
		if sign && len(p) > headBytes+macBytes && len(p) <= MaxPacket {
			p = bytes.Clone(p)
			copy(p, appendHead(nil, p[5], 0, 1, 1, 1)[:5])
			copy(p[8:], []byte{0, 0, 0, 1})
			p = keys.seal(p[:len(p)-macBytes], 0)
		}
		h, reject := openHeartbeat(p, keys)
		if reject != Accepted {
			if int(reject) >= len(rejectNames) || strings.TrimSpace(reject.String()) == "" {
				t.Errorf("reject %d has no name", reject)
			}
			if kind, body, reject := keys.open(p); reject == Accepted && kind != kindHeartbeat {
				parseInquiry(p, body)
			}
			return
		}
		again, reject := openHeartbeat(AppendHeartbeat(nil, &h, keys), keys)
		if reject != Accepted || !reflect.DeepEqual(h, again) {
			t.Errorf("%+v reads back as %+v (%v)", h, again, reject)
		}
	})
}

// openHeartbeat reads a packet as the registry's reader does.
func openHeartbeat(p []byte, keys *Keyring) (Heartbeat, Reject) {
	kind, body, reject := keys.open(p)
	switch {
	case reject != Accepted:
		return Heartbeat{}, reject
	case kind != kindHeartbeat:
		return Heartbeat{}, RejectForm
	}
	return parseHeartbeat(p, body)
}
