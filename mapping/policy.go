package mapping

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"perto"
)

// Step is one step of a policy chain.
type Step uint8

// The steps.
const (
	StepUp      Step = iota // filter: replicas that are down or draining
	StepFence               // filter: PoPs that may not serve the client's country
	StepNearest             // rank: by estimated round-trip time, in bands
	StepShed                // split: overloaded PoPs and replicas lose a share of clients
	StepWeight              // split: by declared weights
)

// stepKind is the order of the kinds in a chain: filters, then the rank, then splits.
type stepKind uint8

const (
	filter stepKind = iota
	rank
	split
)

var steps = [...]struct {
	name string
	kind stepKind
}{
	StepUp:      {"up", filter},
	StepFence:   {"fence", filter},
	StepNearest: {"nearest", rank},
	StepShed:    {"shed", split},
	StepWeight:  {"weight", split},
}

// String returns the step's name in the form of the configuration.
func (s Step) String() string { return steps[s].name }

// MarshalText returns the name, so that JSON shows words.
func (s Step) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the output of MarshalText.
func (s *Step) UnmarshalText(text []byte) error {
	for i := range steps {
		if steps[i].name == string(text) {
			*s = Step(i)
			return nil
		}
	}
	return fmt.Errorf("unknown policy step %q", text)
}

// ParseSteps reads a chain in the form of the configuration. It must have exactly one
// rank, filters before it and splits behind it, each step once.
func ParseSteps(names []string) ([]Step, error) {
	var chain []Step
	last := filter
	ranked := false
	for _, name := range names {
		i := slices.IndexFunc(steps[:], func(s struct {
			name string
			kind stepKind
		}) bool {
			return s.name == name
		})
		if i < 0 {
			var known []string
			for _, s := range steps {
				known = append(known, s.name)
			}
			return nil, fmt.Errorf("unknown policy step %q (known: %s)", name, strings.Join(known, ", "))
		}
		kind := steps[i].kind
		switch {
		case slices.Contains(chain, Step(i)):
			return nil, fmt.Errorf("policy step %q is given twice", name)
		case kind < last || kind == rank && ranked:
			return nil, fmt.Errorf("policy step %q is too late: filters (up, fence) come first, then one rank (nearest), then splits (shed, weight)", name)
		case kind == split && !ranked:
			return nil, fmt.Errorf("policy step %q needs a rank (nearest) before it", name)
		}
		ranked = ranked || kind == rank
		last = kind
		chain = append(chain, Step(i))
	}
	if !ranked {
		return nil, fmt.Errorf("the policy has no rank (nearest)")
	}
	return chain, nil
}

// AllDown is the answer when all replicas of a service are down.
type AllDown uint8

// The last resorts.
const (
	AllDownLast AllDown = iota // the last answer
	AllDownAll                 // the answer as if all were up
	AllDownNone                // no addresses
)

// ParseAllDown reads "last", "all" or "none".
func ParseAllDown(s string) (AllDown, error) {
	switch s {
	case "last":
		return AllDownLast, nil
	case "all":
		return AllDownAll, nil
	case "none":
		return AllDownNone, nil
	}
	return 0, fmt.Errorf("all_down is %q; it takes last, all or none", s)
}

// Fence restricts the clients of some countries to some PoPs.
type Fence struct {
	Name      string
	Countries []string // ISO 3166-1 alpha-2
	PoPs      []perto.PoP
}

// Policy is the mapping configuration of one service.
type Policy struct {
	Service perto.Service
	PoPs    []perto.PoP // members; empty: all of the Fleet
	Steps   []Step
	Fences  []Fence
	Answers int           // most addresses of one family in an answer
	TTL     time.Duration // time to live of answers in the normal state
	TTLMin  time.Duration // the same while a named replica is suspect, draining or shedding
	AllDown AllDown
	// ScopeRegret bounds how much RTT clients lose on average because ECS scopes with
	// different answers are joined; 0: none is.
	ScopeRegret time.Duration
}

func (p *Policy) has(s Step) bool { return slices.Contains(p.Steps, s) }
