package replicas

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"
)

// The packets of the heartbeat port. docs/formats/heartbeat.md has the layout.
const (
	magic       = 0x70657274 // "pert"
	wireVersion = 1
	macBytes    = sha256.Size
	headBytes   = 32
	maxName     = 63 // a DNS label, in bytes

	// MaxPacket is the largest packet sent or accepted, in bytes. It is far below any
	// MTU, so that packets are never fragmented.
	MaxPacket = 512
)

// DefaultInterval is the time between two heartbeats of an edge.
const DefaultInterval = 500 * time.Millisecond

// Kinds of packet.
const (
	kindHeartbeat = 1
	kindQuery     = 2
	kindAnswer    = 3
	kindChallenge = 4
	kindProof     = 5
	kindNotice    = 6
	kindAck       = 7
)

// Key is a secret that machines of one cluster share.
type Key struct {
	ID     uint32
	Secret [32]byte
}

// String returns the id only, so that logs never contain the secret.
func (k Key) String() string { return fmt.Sprintf("key %08x", k.ID) }

// GoString returns the id only.
func (k Key) GoString() string { return k.String() }

// MarshalText returns the id only.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// LogValue returns the id only.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// Keyring signs and verifies packets. The first key signs, and all keys verify, so that
// a key can be replaced without a gap. It is for one goroutine at a time.
type Keyring struct {
	ids  []uint32
	macs []hash.Hash
	sum  [macBytes]byte
}

// NewKeyring returns a keyring. Without keys it accepts no packet and must not sign.
func NewKeyring(keys ...Key) *Keyring {
	r := new(Keyring)
	for _, k := range keys {
		r.ids = append(r.ids, k.ID)
		r.macs = append(r.macs, hmac.New(sha256.New, k.Secret[:]))
	}
	return r
}

// currentKeys is the keyring of one goroutine. It is rebuilt when the keys change.
type currentKeys struct {
	keys *[]Key
	ring *Keyring
}

func (c *currentKeys) of(keys *atomic.Pointer[[]Key]) *Keyring {
	if now := keys.Load(); now != c.keys {
		c.keys, c.ring = now, NewKeyring(*now...)
	}
	return c.ring
}

func (r *Keyring) mac(i int, data []byte) []byte {
	r.macs[i].Reset()
	r.macs[i].Write(data)
	return r.macs[i].Sum(r.sum[:0])
}

// Reject is the reason why a packet was rejected. Zero means accepted.
type Reject uint8

// The reasons, in the order in which they are checked.
const (
	Accepted       Reject = iota
	RejectSize            // shorter than a head, longer than MaxPacket, or its length field is wrong
	RejectMagic           // no perto packet
	RejectVersion         // an unsupported version
	RejectKey             // signed with an unknown key
	RejectMAC             // the signature is wrong
	RejectForm            // correctly signed but malformed: a bug of the sender
	RejectName            // from a replica that is not declared
	RejectEpoch           // from an earlier process of the replica
	RejectSequence        // replayed or overtaken
	RejectFarewell        // after the replica's farewell
	RejectOverload        // the registry's inbox was full
)

var rejectNames = [...]string{"accepted", "size", "magic", "version", "key", "mac", "form", "name", "epoch", "sequence", "farewell", "overload"}

// String returns the reason in one word.
func (r Reject) String() string { return rejectNames[r] }

// Flags of a heartbeat.
const (
	flagDraining = 1 << iota
	flagFarewell
)

// loadUnit is the unit of the fixed-point load in a heartbeat: 1/4096 of the capacity.
// The field therefore covers loads up to 16 times the capacity.
const loadUnit = 1.0 / 4096

// Status is an edge's report about itself.
type Status struct {
	Draining bool
	// Listeners and Failing are sets of listeners, one bit each. Listeners holds the
	// configured ones, and Failing those of them that do not work. The registry removes
	// an edge from answers when all its listeners fail.
	Listeners, Failing uint8
	Port               uint16  // TCP port of its main listener, probed while it is silent; 0 when it has none
	Load               float64 // share of its capacity in use, 0..16
	Capacity           uint64  // bits per second; 0 when unknown
	PurgeSequence      uint64  // the last purge that it applied
	World              Digest  // of its configuration; 0 when unknown
}

// Digest identifies the part of the configuration that all machines share. It is 0 when
// it is unknown.
type Digest uint64

// String returns the digest in hexadecimal.
func (d Digest) String() string {
	if d == 0 {
		return ""
	}
	return fmt.Sprintf("%016x", uint64(d))
}

// MarshalText returns [Digest.String].
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads the result of MarshalText.
func (d *Digest) UnmarshalText(text []byte) error {
	*d = 0
	if len(text) == 0 {
		return nil
	}
	n, err := strconv.ParseUint(string(text), 16, 64)
	*d = Digest(n)
	return err
}

// Heartbeat is the whole record that an edge sends.
type Heartbeat struct {
	Status
	Name     []byte        // of the replica; when parsed, a slice of the packet
	Epoch    uint64        // start of its process: microseconds since 1970; only its order matters
	Sequence uint64        // counts its packets from 1
	Interval time.Duration // time until the next one; sent in milliseconds
	Farewell bool          // this is the last heartbeat
}

// The layout, in bytes from the packet's start (big endian):
//
//	0 magic    u32      8 key id   u32     16 epoch    u64
//	4 version  u8      12 length   u16     24 sequence u64
//	5 kind     u8      14 reserved u16     32 body, then 32 bytes of HMAC
//	6 flags    u16
//
// Every kind has this head. length counts the whole packet.
func appendHead(out []byte, kind uint8, flags uint16, key uint32, epoch, sequence uint64) []byte {
	out = binary.BigEndian.AppendUint32(out, magic)
	out = append(out, wireVersion, kind)
	out = binary.BigEndian.AppendUint16(out, flags)
	out = binary.BigEndian.AppendUint32(out, key)
	out = binary.BigEndian.AppendUint32(out, 0) // length, written by seal
	out = binary.BigEndian.AppendUint64(out, epoch)
	return binary.BigEndian.AppendUint64(out, sequence)
}

// seal writes the length of the packet that starts at from, and signs it.
func (r *Keyring) seal(out []byte, from int) []byte {
	binary.BigEndian.PutUint16(out[from+12:], uint16(len(out)-from+macBytes))
	return append(out, r.mac(0, out[from:])...)
}

// open checks a packet's head and signature and returns its body.
func (r *Keyring) open(p []byte) (kind uint8, body []byte, reject Reject) {
	switch {
	case len(p) < headBytes+macBytes || len(p) > MaxPacket:
		return 0, nil, RejectSize
	case binary.BigEndian.Uint32(p) != magic:
		return 0, nil, RejectMagic
	case p[4] != wireVersion:
		return 0, nil, RejectVersion
	case int(binary.BigEndian.Uint16(p[12:])) != len(p):
		return 0, nil, RejectSize
	}
	id := binary.BigEndian.Uint32(p[8:])
	for i, k := range r.ids {
		if k == id {
			signed := p[:len(p)-macBytes]
			if !hmac.Equal(r.mac(i, signed), p[len(p)-macBytes:]) {
				return 0, nil, RejectMAC
			}
			return p[5], signed[headBytes:], Accepted
		}
	}
	return 0, nil, RejectKey
}

// AppendHeartbeat appends a signed packet to out. It panics when the keyring is empty,
// or the name is empty or longer than 63 bytes. It clips loads beyond 0..16 and
// intervals beyond 1 ms..65 s.
func AppendHeartbeat(out []byte, h *Heartbeat, keys *Keyring) []byte {
	if len(h.Name) == 0 || len(h.Name) > maxName {
		panic(fmt.Sprintf("replicas: name of %d bytes", len(h.Name)))
	}
	var flags uint16
	if h.Draining {
		flags |= flagDraining
	}
	if h.Farewell {
		flags |= flagFarewell
	}
	from := len(out)
	out = appendHead(out, kindHeartbeat, flags, keys.ids[0], h.Epoch, h.Sequence)
	out = binary.BigEndian.AppendUint16(out, uint16(min(max(h.Interval.Milliseconds(), 1), 0xffff)))
	load := h.Load / loadUnit
	if !(load > 0) { // also NaN
		load = 0
	}
	out = binary.BigEndian.AppendUint16(out, uint16(min(load, 0xffff)))
	out = append(out, h.Listeners, h.Failing)
	out = binary.BigEndian.AppendUint16(out, h.Port)
	out = binary.BigEndian.AppendUint64(out, h.Capacity)
	out = binary.BigEndian.AppendUint64(out, h.PurgeSequence)
	out = append(out, byte(len(h.Name)))
	out = append(out, h.Name...)
	out = binary.BigEndian.AppendUint64(out, uint64(h.World))
	return keys.seal(out, from)
}

func parseHeartbeat(p, body []byte) (Heartbeat, Reject) {
	const fixed = 25
	if len(body) < fixed {
		return Heartbeat{}, RejectForm
	}
	n := int(body[24])
	if n == 0 || n > maxName || len(body) < fixed+n {
		return Heartbeat{}, RejectForm
	}
	flags := binary.BigEndian.Uint16(p[6:])
	h := Heartbeat{
		Status: Status{
			Draining:      flags&flagDraining != 0,
			Load:          float64(binary.BigEndian.Uint16(body[2:])) * loadUnit,
			Listeners:     body[4],
			Failing:       body[5],
			Port:          binary.BigEndian.Uint16(body[6:]),
			Capacity:      binary.BigEndian.Uint64(body[8:]),
			PurgeSequence: binary.BigEndian.Uint64(body[16:]),
		},
		Farewell: flags&flagFarewell != 0,
		Epoch:    binary.BigEndian.Uint64(p[16:]),
		Sequence: binary.BigEndian.Uint64(p[24:]),
		Interval: time.Duration(binary.BigEndian.Uint16(body)) * time.Millisecond,
		Name:     body[fixed : fixed+n],
	}
	if len(body) >= fixed+n+8 { // older senders do not have it
		h.World = Digest(binary.BigEndian.Uint64(body[fixed+n:]))
	}
	if h.Interval == 0 || h.Sequence == 0 {
		return Heartbeat{}, RejectForm
	}
	return h, Accepted
}

// never is the age in the response of a witness that has received no heartbeat of the
// replica.
const never = 0xffffffff

// inquiry is a witness query or its response. The query asks for the age of the
// replica's last heartbeat.
type inquiry struct {
	nonce uint64
	age   uint32 // in a response: milliseconds since its last heartbeat, or never
	name  []byte
}

// appendInquiry uses the head's epoch field for the nonce.
func appendInquiry(out []byte, kind uint8, q *inquiry, keys *Keyring) []byte {
	from := len(out)
	out = appendHead(out, kind, 0, keys.ids[0], q.nonce, 0)
	out = binary.BigEndian.AppendUint32(out, q.age)
	out = append(out, byte(len(q.name)))
	out = append(out, q.name...)
	return keys.seal(out, from)
}

func parseInquiry(p, body []byte) (inquiry, Reject) {
	const fixed = 5
	if len(body) < fixed {
		return inquiry{}, RejectForm
	}
	n := int(body[4])
	if n == 0 || n > maxName || len(body) < fixed+n {
		return inquiry{}, RejectForm
	}
	return inquiry{
		nonce: binary.BigEndian.Uint64(p[16:]),
		age:   binary.BigEndian.Uint32(body),
		name:  body[fixed : fixed+n],
	}, Accepted
}
