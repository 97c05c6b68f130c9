package mapping

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/dchest/siphash"
)

// A tag is the lower half of an IPv6 address in an answer. It names the resolver group
// that received the answer, so each connection to the address reveals the client's
// resolver, also when the resolver answers from its cache:
//
//	 47                             0 15           0
//	+--------------------------------+--------------+
//	| resolver group                 | MAC          |
//	+--------------------------------+--------------+
//
// An IPv6 group is its /48. An IPv4 group is 0004::/24 and its /24; no IPv6 network of the
// world begins with 0004. The MAC is a part of SipHash-2-4 (Aumasson, Bernstein,
// INDOCRYPT 2012). Its 16 bits make forging expensive, not impossible: 65,536 connections
// for one vote. So votes are limited too (see [Learner.Add]).

// TagKeys seal and open tags. Each hour has a key, so that old tags end.
type TagKeys struct{ now, before tagKey }

type tagKey struct{ k0, k1 uint64 }

// TagHour is the time for which a key seals. Tags are accepted for twice as long.
const TagHour = time.Hour

// NewTagKeys derives the keys of a time from the secret of a cluster.
func NewTagKeys(secret []byte, at time.Time) *TagKeys {
	hour := at.Unix() / int64(TagHour/time.Second)
	return &TagKeys{deriveTagKey(secret, hour), deriveTagKey(secret, hour-1)}
}

func deriveTagKey(secret []byte, hour int64) tagKey {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("perto: tags of an hour"))
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(hour))
	mac.Write(n[:])
	sum := mac.Sum(nil)
	return tagKey{binary.BigEndian.Uint64(sum), binary.BigEndian.Uint64(sum[8:])}
}

const (
	tagMACBits  = 16
	tagV4       = 0x0004 << 32 // in front of an IPv4 group
	tagV4Others = 0xff << 24   // bits that are zero in the tag of an IPv4 group
)

func (k tagKey) mac(group uint64) uint64 {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], group)
	return siphash.Hash(k.k0, k.k1, b[:]) & (1<<tagMACBits - 1)
}

// Seal returns the tag of a group. It allocates nothing.
func (t *TagKeys) Seal(g Group) uint64 {
	group := uint64(g)
	if g&groupV4 != 0 {
		group = tagV4 | uint64(g&^groupV4)
	}
	return group<<tagMACBits | t.now.mac(group)
}

// Open returns the group of a tag that this cluster sealed in this hour or in the one
// before.
func (t *TagKeys) Open(tag uint64) (Group, bool) {
	group := tag >> tagMACBits
	mac := tag & (1<<tagMACBits - 1)
	if mac != t.now.mac(group) && mac != t.before.mac(group) {
		return 0, false
	}
	if group&^(1<<24-1)&^tagV4Others == tagV4 {
		if group&tagV4Others != 0 {
			return 0, false
		}
		return groupV4 | Group(group&(1<<24-1)), true
	}
	return Group(group), group != 0
}
