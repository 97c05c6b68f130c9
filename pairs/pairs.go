// Package pairs carries pairs of a resolver group and a client block from edges to name
// servers. An edge learns them from tagged addresses (package mapping, TagKeys), and the
// name servers' Learners use them.
//
//	connection --tag--> Collector --frames over TCP--> Receiver --> mapping.Learner
//
// Client addresses are cut to their /24 or /48 before they leave the edge, and no
// component writes them to disk (docs/privacy.md). Start with [Collector] and [Receiver].
// Both may be used by any goroutine. docs/formats/pairs.md has the format.
package pairs

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"perto/mapping"
	"perto/replicas"
)

// Pair says that a client of a block used a resolver of a group.
type Pair struct {
	Resolver mapping.Group
	Client   mapping.Group // the client's /24 or /48
}

const (
	magic      = "perto-pairs-1\n"
	headBytes  = len(magic) + 4 + 8 + 4 // with the key's id, the time and the number of pairs
	pairBytes  = 16
	macBytes   = sha256.Size
	maxPairs   = 1 << 16
	maxFrame   = headBytes + maxPairs*pairBytes + macBytes
	maxSkew    = 10 * time.Minute // between the clocks of the machines
	maxPending = maxPairs         // pairs that a Collector keeps
)

// AppendFrame adds a signed frame to dst. At most 65,536 pairs fit.
func AppendFrame(dst []byte, at time.Time, list []Pair, key replicas.Key) []byte {
	start := len(dst)
	dst = append(dst, magic...)
	dst = binary.BigEndian.AppendUint32(dst, key.ID)
	dst = binary.BigEndian.AppendUint64(dst, uint64(at.Unix()))
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(list)))
	for _, p := range list {
		dst = binary.BigEndian.AppendUint64(dst, uint64(p.Resolver))
		dst = binary.BigEndian.AppendUint64(dst, uint64(p.Client))
	}
	return append(dst, sign(key, dst[start:])...)
}

func sign(key replicas.Key, data []byte) []byte {
	mac := hmac.New(sha256.New, key.Secret[:])
	mac.Write([]byte("perto: frame of pairs"))
	mac.Write(data)
	return mac.Sum(nil)
}

// ParseFrame checks a frame and returns its pairs. A frame that is sent again does no
// harm: its votes are counted already.
func ParseFrame(frame []byte, now time.Time, keys []replicas.Key) ([]Pair, error) {
	if len(frame) < headBytes+macBytes || string(frame[:len(magic)]) != magic {
		return nil, errors.New("no frame of pairs")
	}
	body, mac := frame[:len(frame)-macBytes], frame[len(frame)-macBytes:]
	head := body[len(magic):]
	id := binary.BigEndian.Uint32(head)
	found := false
	for _, k := range keys {
		if k.ID == id {
			if found = true; !hmac.Equal(mac, sign(k, body)) {
				return nil, errors.New("the signature is wrong")
			}
		}
	}
	if !found {
		return nil, fmt.Errorf("signed with the unknown key %08x", id)
	}
	if at := time.Unix(int64(binary.BigEndian.Uint64(head[4:])), 0); now.Sub(at).Abs() > maxSkew {
		return nil, fmt.Errorf("its time is %s from now", now.Sub(at).Round(time.Second))
	}
	n := int(binary.BigEndian.Uint32(head[12:]))
	rest := body[headBytes:]
	if n > maxPairs || len(rest) != n*pairBytes {
		return nil, errors.New("its length is wrong")
	}
	out := make([]Pair, n)
	for i := range out {
		b := rest[i*pairBytes:]
		out[i] = Pair{mapping.Group(binary.BigEndian.Uint64(b)), mapping.Group(binary.BigEndian.Uint64(b[8:]))}
	}
	return out, nil
}

// Collector keeps the pairs of an edge until they are sent. The zero value is empty.
type Collector struct {
	mu      sync.Mutex
	pending map[Pair]struct{}
	dropped uint64
}

// Add records that a client used a resolver. When too many pairs are pending, it drops the
// pair.
func (c *Collector) Add(resolver mapping.Group, client netip.Addr) {
	p := Pair{resolver, mapping.GroupOf(client)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pending == nil {
		c.pending = make(map[Pair]struct{})
	}
	if _, ok := c.pending[p]; !ok && len(c.pending) >= maxPending {
		c.dropped++
		return
	}
	c.pending[p] = struct{}{}
}

// Take returns the pending pairs and forgets them.
func (c *Collector) Take() []Pair {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]Pair, 0, len(c.pending))
	for p := range c.pending {
		out = append(out, p)
	}
	clear(c.pending)
	return out
}

// Dropped returns the number of pairs that were dropped.
func (c *Collector) Dropped() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dropped
}
