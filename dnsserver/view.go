package dnsserver

import (
	"fmt"
	"time"

	"perto"
	"perto/dnsserver/zone"
	"perto/mapping"
)

// View is all data for answering queries at one moment. It is immutable.
type View struct {
	zones    *zone.Set
	services [][]*service // by zone index, then by the zone's service index
}

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
}

// ZoneServices is one zone with the answers of its services, in the order of
// zone.Config.Services.
type ZoneServices struct {
	Zone     *zone.Zone
	Services []*mapping.Answers
}

// NewView packs answers for serving. prev is the previous view and may be nil. NewView
// reuses its unchanged parts.
func NewView(zones []ZoneServices, prev *View) *View {
	v := &View{services: make([][]*service, len(zones))}
	set := make([]*zone.Zone, len(zones))
	for i, z := range zones {
		set[i] = z.Zone
		for _, a := range z.Services {
			v.services[i] = append(v.services[i], packService(a, prev))
		}
	}
	v.zones = zone.NewSet(set...)
	return v
}

func packService(a *mapping.Answers, prev *View) *service {
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
	}
	return s
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
