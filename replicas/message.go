package replicas

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"time"

	"perto"
)

// Messages between edges and DNS nodes, in UDP packets of their own
// (docs/formats/heartbeat.md). All numbers are big endian.
//
//	"PH" | version u8 | kind u8 | key id u32 | epoch u64 | sequence u64 | body | MAC (16 bytes)
const (
	messageVersion = 1
	headerSize     = 2 + 1 + 1 + 4 + 8 + 8
	macSize        = 16 // HMAC-SHA-256, truncated (RFC 2104, section 5)
	maxMessage     = 512
	maxNameBytes   = 63
)

// messageKind says what a message is.
type messageKind uint8

const (
	kindHeartbeat messageKind = 1 // an edge's whole record
	kindQuery     messageKind = 2 // a DNS node asks another: have you heard this one?
	kindReply     messageKind = 3 // and its answer
)

// Status is what an edge says of itself; it is the body of a heartbeat.
type Status struct {
	Serving  bool    // its listeners work
	Draining bool    // it finishes what it has and wants nothing new
	Load     float64 // share of its capacity in use, 0..65 in steps of 0.001
	Capacity uint64  // bits per second; 0: not known
	// Purged is the highest purge sequence that it has applied.
	Purged uint64
}

// Flags of a heartbeat.
const (
	flagServing  = 1 << 0
	flagDraining = 1 << 1
	flagFarewell = 1 << 2
)

// message is a parsed message. name points into the packet.
type message struct {
	kind     messageKind
	keyID    uint32
	epoch    uint64 // when the sender started, in nanoseconds of Unix time
	sequence uint64 // counts the sender's messages from 1
	name     []byte // the replica it is about

	// Heartbeat.
	status   Status
	farewell bool
	interval time.Duration // until the next one is due

	// Query and reply.
	token uint64
	age   time.Duration // reply: how long ago the replica was heard; negative: never
}

// neverHeard is the age, in milliseconds, that says "never".
const neverHeard = 1<<32 - 1

// loadUnit is the resolution of Load.
const loadUnit = 1000

// appendMessage adds a signed message to b.
func appendMessage(b []byte, m *message, key *Key) []byte {
	start := len(b)
	b = append(b, 'P', 'H', messageVersion, byte(m.kind))
	b = binary.BigEndian.AppendUint32(b, key.ID)
	b = binary.BigEndian.AppendUint64(b, m.epoch)
	b = binary.BigEndian.AppendUint64(b, m.sequence)
	switch m.kind {
	case kindHeartbeat:
		var flags byte
		for _, f := range []struct {
			set bool
			bit byte
		}{{m.status.Serving, flagServing}, {m.status.Draining, flagDraining}, {m.farewell, flagFarewell}} {
			if f.set {
				flags |= f.bit
			}
		}
		b = append(b, flags)
		b = binary.BigEndian.AppendUint16(b, uint16(m.interval/time.Millisecond))
		b = binary.BigEndian.AppendUint16(b, uint16(min(max(m.status.Load, 0)*loadUnit+0.5, 1<<16-1)))
		b = binary.BigEndian.AppendUint64(b, m.status.Capacity)
		b = binary.BigEndian.AppendUint64(b, m.status.Purged)
	case kindQuery:
		b = binary.BigEndian.AppendUint64(b, m.token)
	case kindReply:
		b = binary.BigEndian.AppendUint64(b, m.token)
		age := uint32(neverHeard)
		if m.age >= 0 {
			age = uint32(min(m.age/time.Millisecond, neverHeard-1))
		}
		b = binary.BigEndian.AppendUint32(b, age)
	}
	b = append(b, byte(len(m.name)))
	b = append(b, m.name...)
	mac := hmac.New(sha256.New, key.Secret[:])
	mac.Write(b[start:])
	return append(b, mac.Sum(nil)[:macSize]...)
}

// parse outcomes; they label the counter of heartbeats.
type parseOutcome uint8

const (
	parsed parseOutcome = iota
	malformed
	unknownKey
	badMAC
	unknownReplica
	replayed
	parseOutcomes
)

var parseOutcomeNames = [parseOutcomes]string{"accepted", "malformed", "unknown_key", "bad_mac", "unknown_replica", "replayed"}

// parseMessage reads and verifies a message.
func parseMessage(b []byte, keys []Key, m *message) parseOutcome {
	*m = message{}
	if len(b) < headerSize+1+macSize || len(b) > maxMessage || b[0] != 'P' || b[1] != 'H' || b[2] != messageVersion {
		return malformed
	}
	m.kind, m.keyID = messageKind(b[3]), binary.BigEndian.Uint32(b[4:])
	m.epoch, m.sequence = binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:])
	signed, mac := b[:len(b)-macSize], b[len(b)-macSize:]
	body := signed[headerSize:]
	size := map[messageKind]int{kindHeartbeat: 1 + 2 + 2 + 8 + 8, kindQuery: 8, kindReply: 12}[m.kind]
	if size == 0 || len(body) < size+1 || int(body[size]) != len(body)-size-1 || body[size] == 0 || body[size] > maxNameBytes {
		return malformed
	}
	key := keyOf(keys, m.keyID)
	if key == nil {
		return unknownKey
	}
	sum := hmac.New(sha256.New, key.Secret[:])
	sum.Write(signed)
	if !hmac.Equal(sum.Sum(nil)[:macSize], mac) {
		return badMAC
	}
	m.name = body[size+1:]
	switch m.kind {
	case kindHeartbeat:
		m.status = Status{Serving: body[0]&flagServing != 0, Draining: body[0]&flagDraining != 0,
			Load:     float64(binary.BigEndian.Uint16(body[3:])) / loadUnit,
			Capacity: binary.BigEndian.Uint64(body[5:]), Purged: binary.BigEndian.Uint64(body[13:])}
		m.farewell = body[0]&flagFarewell != 0
		m.interval = time.Duration(binary.BigEndian.Uint16(body[1:])) * time.Millisecond
		if m.interval <= 0 {
			return malformed
		}
	case kindQuery:
		m.token = binary.BigEndian.Uint64(body)
	case kindReply:
		m.token = binary.BigEndian.Uint64(body)
		m.age = -1
		if ms := binary.BigEndian.Uint32(body[8:]); ms != neverHeard {
			m.age = time.Duration(ms) * time.Millisecond
		}
	}
	return parsed
}

func keyOf(keys []Key, id uint32) *Key {
	for i := range keys {
		if keys[i].ID == id {
			return &keys[i]
		}
	}
	return nil
}

func (m *message) replica() perto.Replica { return perto.Replica(m.name) }
