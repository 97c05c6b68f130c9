package mapping

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"perto"
	"perto/geodata"
)

// Explanation is a decision with every step and its numbers.
type Explanation struct {
	Service  perto.Service `json:"service"`
	Resolver netip.Addr    `json:"resolver"`
	ECS      string        `json:"ecs,omitempty"` // "200.144.248.0/24", or empty
	Client   netip.Addr    `json:"client"`        // the address that the decision is for
	Source   string        `json:"source"`        // "ecs", "resolver" or "learned"
	// Inside is "6to4", "Teredo", "NAT64" or "IPv4-mapped" when Client is the IPv4 address
	// inside such an address.
	Inside string `json:"inside,omitempty"`
	Family string `json:"family"` // "A" or "AAAA"

	Cell  geodata.Cell `json:"cell"`
	Place perto.Place  `json:"place"`
	// Anycast is set when Client is an anycast address, which has no place.
	Anycast bool   `json:"anycast,omitempty"`
	Class   uint16 `json:"class"`
	Fence   string `json:"fence,omitempty"`
	Scope   uint8  `json:"scope"` // SCOPE PREFIX-LENGTH of the answer, in bits
	// Regret is by how much the RTT to the first PoP of the class exceeds that to the
	// nearest PoP, because the scope is joined. RegretBound is the limit of its mean over
	// all networks, and RegretMax the limit for one. All are 0 without joining.
	Regret      perto.Millis `json:"regret_ms"`
	RegretBound perto.Millis `json:"regret_bound_ms"`
	RegretMax   perto.Millis `json:"regret_max_ms"`

	Slot  int `json:"slot"` // one of slots; 0 of 1 when nothing is split
	Slots int `json:"slots"`

	// Learned is the state of the resolver's group: where its clients are, and what they
	// lose. It is nil when too few clients are known, and for a query with a client subnet.
	Learned *LearnedGroup `json:"learned,omitempty"`

	Steps      []Step      `json:"steps"`
	Candidates []Candidate `json:"candidates"`
	Answer     *Answer     `json:"answer"` // nil: no address
	Why        string      `json:"why"`
}

// Candidate is the policy's result for one PoP, in order of rank.
type Candidate struct {
	PoP        perto.PoP    `json:"pop"`
	Place      string       `json:"place"`
	Provider   string       `json:"provider,omitempty"`
	DistanceKm float64      `json:"distance_km"`      // from the client's cell; 0 without a place
	RTT        perto.Millis `json:"rtt_ms"`           // estimated from that distance, or the mean of the class
	Weight     uint16       `json:"weight,omitempty"` // declared share of the clients of its band
	Band       int          `json:"band"`             // 0 is the best; -1: not ranked
	Headroom   float64      `json:"headroom"`         // share of clients that it still accepts
	Serving    int          `json:"serving"`          // replicas of this family that may be named
	Replicas   int          `json:"replicas"`         // all replicas of this family
	Chosen     bool         `json:"chosen"`           // the answer names a replica of it
	Verdict    string       `json:"verdict"`          // the policy's decision about it
}

// Explain makes the same decision as a query and returns its reasons.
func (a *Answers) Explain(resolver netip.Addr, ecs Subnet, f Family) *Explanation {
	at := a.Map.Locate(resolver, ecs)
	cell := a.Map.Geo.Lookup(at.Client)
	c := &a.Map.classes[at.Class]
	e := &Explanation{
		Service: a.Policy.Service, Resolver: resolver.Unmap(), Client: at.Client, Source: "resolver", Family: f.String(),
		Cell: cell, Place: a.Map.Geo.Place(cell), Class: at.Class, Fence: c.fence, Scope: at.Scope,
		Slots: len(a.leaves[f][at.Class].slots), Steps: a.Policy.Steps,
	}
	_, form := geodata.Embedded(resolver)
	switch {
	case at.ByECS:
		e.Source = "ecs"
		_, form = ecs.embedded()
	case at.Learned:
		e.Source = "learned"
	}
	if !at.ByECS {
		e.Learned = a.Map.learned.Of(resolver)
	}
	e.Inside = form.String()
	e.Anycast = a.Map.Geo.Anycast(at.Client)
	if ecs.Addr.IsValid() {
		e.ECS = ecs.String()
	}
	if e.Slots > 1 {
		e.Slot = int(at.Hash % slotCount)
	}
	if i := a.Choose(f, at.Class, at.Hash); i >= 0 {
		e.Answer = &a.Sets[i]
	}
	a.candidates(e, c, f)
	switch {
	case e.Cell == 0: // no distance is known: the class has mean RTTs
		for i := range e.Candidates {
			e.Candidates[i].DistanceKm, e.Candidates[i].RTT = 0, 0
		}
		for i, r := range c.rank {
			e.Candidates[i].RTT = perto.Millis(r.time())
		}
	case a.Map.regret > 0:
		e.RegretBound, e.RegretMax = perto.Millis(a.Map.regret), perto.Millis(maxRegret)
		if near := e.nearest(); near != nil {
			e.Regret = max(0, e.Candidates[0].RTT-near.RTT)
		}
	}
	e.Why = a.why(e)
	return e
}

// nearest returns the ranked candidate with the least RTT, or nil.
func (e *Explanation) nearest() *Candidate {
	var near *Candidate
	for i := range e.Candidates {
		if c := &e.Candidates[i]; c.Band >= 0 && (near == nil || c.RTT < near.RTT) {
			near = c
		}
	}
	return near
}

// candidates lists the PoPs in the class's order, then the PoPs that the fence removed.
func (a *Answers) candidates(e *Explanation, c *class, f Family) {
	listed := make(map[uint16]bool)
	rtt := make([]time.Duration, len(a.Map.Sites))
	a.Map.rtt(rtt, Clients{e.Cell, e.Place})
	add := func(site uint16, band int) {
		s, st := &a.Map.Sites[site], &a.status[site]
		km := e.Place.DistanceKm(s.Place)
		k := Candidate{PoP: s.Name, Place: s.Place.String(), Provider: s.Provider, DistanceKm: km, RTT: perto.Millis(rtt[site]), Band: band,
			Weight: s.Weight, Headroom: st.headroom, Serving: len(st.members[f]), Replicas: len(st.all[f])}
		k.Chosen = e.Answer != nil && slices.ContainsFunc(st.all[f], func(c candidate) bool { return slices.Contains(e.Answer.Replicas, c.name) })
		switch {
		case k.Chosen && k.Serving == 0:
			k.Verdict = "chosen as a last resort: no replica serves"
		case k.Chosen:
			k.Verdict = "chosen"
		case band < 0:
			k.Verdict = "removed by fence " + e.Fence
		case k.Replicas == 0:
			k.Verdict = "has no " + f.String() + " address"
		case k.Serving == 0:
			k.Verdict = "removed by up: no replica serves"
			if len(st.held) > 0 {
				k.Verdict += " (" + strings.Join(st.held, "; ") + ")"
			}
		case k.Headroom < 1 && a.Policy.has(StepShed):
			k.Verdict = "sheds load"
		default:
			k.Verdict = "ranked behind"
		}
		e.Candidates = append(e.Candidates, k)
		listed[site] = true
	}
	for _, r := range c.rank {
		add(r.site, int(r.band))
	}
	for i := range a.Map.Sites {
		if !listed[uint16(i)] {
			add(uint16(i), -1)
		}
	}
}

// why returns the reason for the answer: for its first PoP, then for the others that it
// names.
func (a *Answers) why(e *Explanation) string {
	if e.Answer == nil {
		return fmt.Sprintf("no replica with an %s address may be named, and all_down says so", e.Family)
	}
	text := a.whyFirst(e)
	var others []string
	for _, c := range e.Candidates {
		if c.Chosen && c.PoP != e.Answer.PoP {
			others = append(others, string(c.PoP))
		}
	}
	if len(others) > 0 {
		text += fmt.Sprintf("; the answer holds up to %d addresses, so it also names %s", a.Policy.Answers, strings.Join(others, " and "))
	}
	return text
}

func (a *Answers) whyFirst(e *Explanation) string {
	if e.Source == "learned" {
		return fmt.Sprintf("%s has the least mean round trip from the %d client networks that use these resolvers", e.Answer.PoP, e.Learned.Blocks)
	}
	switch {
	case e.Anycast && e.Class == unknownClass:
		return fmt.Sprintf("%s is an anycast address, with users everywhere: PoPs by their mean distance from everywhere", e.Client)
	case e.Cell == 0 && e.Class == unknownClass:
		return "the client's place is not known: PoPs by their mean distance from everywhere"
	case e.Cell == 0:
		return "the place of the client subnet is not known: PoPs by their distance from the resolver"
	}
	for i, c := range e.Candidates {
		if c.PoP != e.Answer.PoP {
			continue
		}
		switch {
		case c.Serving == 0:
			return "no replica of any PoP serves: the last resort (all_down) answers"
		case a.splits(e, c.Band):
			return fmt.Sprintf("%s is in a band of equally near PoPs, which divides its clients by weight", c.PoP)
		case i == 0 && e.Regret > 0:
			return fmt.Sprintf("%s serves the whole scope /%d: %.0f km, about %d ms; %s is nearer to this client by %.1f ms (scope_regret)",
				c.PoP, e.Scope, c.DistanceKm, c.RTT.Duration().Milliseconds(), e.nearest().PoP, e.Regret.Float())
		case i == 0:
			return fmt.Sprintf("%s is nearest: %.0f km, about %d ms", c.PoP, c.DistanceKm, c.RTT.Duration().Milliseconds())
		case c.Band == e.Candidates[0].Band:
			return fmt.Sprintf("%s is in the nearest band with %s", c.PoP, e.Candidates[0].PoP)
		}
		return fmt.Sprintf("%s is the nearest that serves; nearer: %s (%s)", c.PoP, e.Candidates[0].PoP, e.Candidates[0].Verdict)
	}
	return "kept from before every replica went down"
}

// splits reports whether the PoPs of a band divide their clients by weight (order).
func (a *Answers) splits(e *Explanation, band int) bool {
	serving, weighted := 0, false
	for _, c := range e.Candidates {
		if c.Band == band && c.Serving > 0 {
			serving++
			weighted = weighted || c.Weight > 0
		}
	}
	return a.Policy.has(StepWeight) && weighted && serving > 1
}
