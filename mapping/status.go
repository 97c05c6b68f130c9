package mapping

import (
	"net/netip"
	"slices"

	"perto"
	"perto/replicas"
)

// shedStart is the load above which a replica sheds clients, as a share of its
// capacity. At full load it accepts no new clients.
const shedStart = 0.8

// headroom returns the share of its clients that a replica under load keeps.
func headroom(load float64) float64 {
	return min(1, max(0, (1-load)/(1-shedStart)))
}

// statusOf reduces the Fleet to the data that decides about the sites of a map.
func statusOf(m *Map, p *Policy, fleet *replicas.Fleet) []siteStatus {
	members := make(map[perto.PoP][]*replicas.Member, len(m.Sites))
	for i := range fleet.Members {
		pop := fleet.Members[i].PoP
		members[pop] = append(members[pop], &fleet.Members[i])
	}
	status := make([]siteStatus, len(m.Sites))
	for i, site := range m.Sites {
		s := &status[i]
		s.weight = site.Weight
		var capacity, kept float64
		for _, member := range members[site.Name] {
			c := candidate{name: member.Name, weight: member.Weight, headroom: headroom(member.Load)}
			serves := member.State.Serves() || !p.has(StepUp)
			s.uneasy = s.uneasy || member.State == replicas.StateSuspect || member.State == replicas.StateDraining ||
				p.has(StepShed) && c.headroom < 1
			if !member.HeldUntil.IsZero() && !serves {
				s.held = append(s.held, string(member.Name)+": "+member.Reason)
			}
			for f := range families {
				c.addr = addrOf(member.Addresses, f)
				if !c.addr.IsValid() {
					continue
				}
				s.all[f] = append(s.all[f], c)
				if serves {
					s.members[f] = append(s.members[f], c)
				}
			}
			if serves {
				w := float64(max(1, member.Capacity))
				capacity += w
				kept += w * c.headroom
			}
		}
		s.headroom = 1
		if capacity > 0 {
			s.headroom = kept / capacity
		}
	}
	return status
}

func addrOf(addrs []netip.Addr, f Family) netip.Addr {
	for _, a := range addrs {
		if a.Is4() == (f == IPv4) {
			return a
		}
	}
	return netip.Addr{}
}

func equalStatus(a, b *siteStatus) bool {
	for f := range families {
		if !slices.Equal(a.members[f], b.members[f]) || !slices.Equal(a.all[f], b.all[f]) {
			return false
		}
	}
	return a.headroom == b.headroom && a.uneasy == b.uneasy && a.weight == b.weight
}
