package dnsserver

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"perto"
	"perto/dnsserver/zone"
	"perto/mapping"
)

// View is all data for answering queries at one moment. It is immutable.
type View struct {
	zones    *zone.Set
	services [][]*service // by zone index, then by the zone's service index
	tags     *Tags
}

// Tags has the networks whose addresses all reach one edge, by the edge's own IPv6 address.
// Answers to queries without a client subnet then name a tagged address instead of that
// address (package mapping, TagKeys). A network is a /64.
type Tags struct{ Of map[netip.Addr]netip.Prefix }

// service holds the current packed answers of a service.
type service struct {
	answers *mapping.Answers
	sets    []packedSet // by index of answers.Sets
	ttl     uint32      // of the policy, in seconds
}

// packedSet is one answer's record data.
type packedSet struct {
	rdata []byte // concatenated addresses
	ttl   uint32 // seconds

	// tagged is rdata with the networks of tags in place of the edges' own addresses. It is
	// empty when no edge has one. Bit i of tags is set for address i with a tag.
	tagged []byte
	tags   uint8
}

// maxTagged is the largest number of addresses in an answer with tags.
const maxTagged = 8

// ZoneServices is one zone with the answers of its services, in the order of
// zone.Config.Services.
type ZoneServices struct {
	Zone     *zone.Zone
	Services []*mapping.Answers
}

// NewView packs answers for serving. tags may be nil. prev is the previous view and may be
// nil. NewView reuses its unchanged parts.
func NewView(zones []ZoneServices, tags *Tags, prev *View) *View {
	v := &View{services: make([][]*service, len(zones)), tags: tags}
	if prev != nil && prev.tags != tags {
		prev = nil
	}
	set := make([]*zone.Zone, len(zones))
	for i, z := range zones {
		set[i] = z.Zone
		for _, a := range z.Services {
			v.services[i] = append(v.services[i], packService(a, tags, prev))
		}
	}
	v.zones = zone.NewSet(set...)
	return v
}

func packService(a *mapping.Answers, tags *Tags, prev *View) *service {
	if prev != nil {
		for _, zone := range prev.services {
			for _, s := range zone {
				if s.answers == a {
					return s
				}
			}
		}
	}
	s := &service{answers: a, sets: make([]packedSet, len(a.Sets)), ttl: uint32(a.Policy.TTL / time.Second)}
	for i, set := range a.Sets {
		p := &s.sets[i]
		p.ttl = uint32(set.TTL / time.Second)
		for _, addr := range set.Addrs {
			p.rdata = append(p.rdata, addr.AsSlice()...)
		}
		if tags != nil {
			p.addTags(set.Addrs, tags)
		}
	}
	return s
}

// addTags prepares the set for tagged answers.
func (p *packedSet) addTags(addrs []netip.Addr, tags *Tags) {
	if len(addrs) > maxTagged {
		return
	}
	tagged := slices.Clone(p.rdata)
	for i, a := range addrs {
		if network, ok := tags.Of[a]; ok {
			copy(tagged[i*16:], network.Addr().AsSlice())
			p.tags |= 1 << i
		}
	}
	if p.tags != 0 {
		p.tagged = tagged
	}
}

// withTags writes the addresses with the tag of a resolver's group into buf.
func (p *packedSet) withTags(buf []byte, keys *mapping.TagKeys, resolver netip.Addr) []byte {
	tag := keys.Seal(mapping.GroupOf(resolver))
	buf = buf[:copy(buf, p.tagged)]
	for i := range len(buf) / 16 {
		if p.tags>>i&1 != 0 {
			binary.BigEndian.PutUint64(buf[i*16+8:], tag)
		}
	}
	return buf
}

// Zones returns the zones of the view.
func (v *View) Zones() *zone.Set { return v.zones }

// Answers returns the answers of a service by its canonical DNS name. Wildcard services
// match. The error explains why there are none.
func (v *View) Answers(name string) (*mapping.Answers, error) {
	name = perto.CanonicalName(name)
	for i := range v.services {
		if s := v.zones.At(i).Service(name); s >= 0 {
			return v.services[i][s].answers, nil
		}
	}
	return nil, &perto.Error{Op: "find service", Path: name, Kind: perto.KindNotFound,
		Err: fmt.Errorf("no service answers for this name"), Hint: "perto status lists the services"}
}
