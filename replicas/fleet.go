package replicas

import (
	"fmt"
	"net/netip"
	"time"

	"perto"
)

// State is the health of a replica.
type State uint8

// The states, from best to worst.
const (
	// StateUp: fresh evidence that it serves.
	StateUp State = iota
	// StateUnknown: assumed up because no evidence arrived yet (boot) or because this
	// node was stalled. It counts as up in answers.
	StateUnknown
	// StateSuspect: two heartbeats were missed or a probe failed. It stays in answers,
	// with a shorter TTL.
	StateSuspect
	// StateDraining: it finishes its requests, and new answers avoid it.
	StateDraining
	// StateDown: confirmed down, by positive evidence or by silence.
	StateDown
)

var stateNames = [...]string{"up", "unknown", "suspect", "draining", "down"}

// String returns the state's name in lower case.
func (s State) String() string { return stateNames[s] }

// MarshalText returns the name, so that JSON shows words.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a state's name.
func (s *State) UnmarshalText(text []byte) error {
	for i, n := range stateNames {
		if n == string(text) {
			*s = State(i)
			return nil
		}
	}
	return fmt.Errorf("unknown state %q", text)
}

// Serves reports whether answers may name a replica in this state.
func (s State) Serves() bool { return s <= StateSuspect }

// Declared is the configuration of a replica.
type Declared struct {
	Name      perto.Replica
	PoP       perto.PoP
	Addresses []netip.Addr // where clients reach it, IPv4 and IPv6
	Capacity  uint64       // bits per second; 0 when not declared
	Weight    uint16       // share inside its PoP; 0 when not declared

	// Check is the address to probe instead of Addresses[0]. Its port replaces the port
	// of the probes. It is zero when not declared.
	Check netip.AddrPort
	// Probes are run against it regularly. Each one can remove it and must succeed to
	// bring it back. Without probes, heartbeats alone decide.
	Probes []Probe
	// Beats is set when the replica sends heartbeats. If none ever arrives, it is down.
	// A server that does not run perto must be probed instead.
	Beats bool
}

// Probe is a check that is repeated at an interval.
type Probe struct {
	Kind     ProbeKind
	Host     string // requested name: Host header, TLS server name or DNS question
	Path     string // for http and https; "" means "/"
	Port     uint16
	Interval time.Duration // time between two runs; 0 means 5 s
	Timeout  time.Duration // 0 means 2 s, or Interval if that is less
	Up       int           // good responses in a row that bring it back; 0 means 2
	Down     int           // bad responses, not interrupted by Up good ones, that remove it; 0 means 3
}

// ProbeKind is the protocol of a probe.
type ProbeKind uint8

// The kinds of probe. All except ProbeTCP need a response of the server itself. The
// server's kernel completes a TCP handshake even while the server hangs.
const (
	ProbeHTTP ProbeKind = iota
	ProbeHTTPS
	ProbeTCP
	ProbeDNS
)

var probeKindNames = [...]string{"http", "https", "tcp", "dns"}

// String returns the kind's name in the form of the configuration.
func (k ProbeKind) String() string { return probeKindNames[k] }

// ParseProbeKind returns the kind of a name.
func ParseProbeKind(name string) (ProbeKind, bool) {
	for k, n := range probeKindNames {
		if n == name {
			return ProbeKind(k), true
		}
	}
	return 0, false
}

// Site is a point of presence: a place with replicas.
type Site struct {
	Name     perto.PoP
	Place    perto.Place
	Provider string
	Weight   uint16 // share inside a band of equally near PoPs; 0 when not declared
}

// Member is one replica as the Fleet shows it.
type Member struct {
	Declared
	State  State
	Reason string    // reason for the state, for people ("2 heartbeats missed")
	Since  time.Time // start of the state
	// HeldUntil is the end of a hold-down: the replica is well, and answers avoid it until
	// then because it went down several times. It is zero when it is not held down.
	HeldUntil time.Time
	World     Digest  // of its configuration, as it reports it; 0 when unknown
	Load      float64 // share of its capacity in use, 0..1 and above when overloaded; 0 when unknown
	Admin     string  // "", "drain", "up" or "down": an administrator's order, which overrides evidence while it lasts
}

// Fleet is the state of all replicas at one moment. It is immutable: readers may keep
// it and must not change it.
//
// Sites and Members are sorted by name, and every Member's PoP is in Sites.
type Fleet struct {
	// Isolated is set while no sign of life of any replica arrives. The network of this node
	// is then suspected, and silence removes no replica.
	Isolated bool
	World    Digest // of the configuration of this node

	Sites   []Site
	Members []Member
}

// MembersOf returns the members of a PoP, in order of name.
func (f *Fleet) MembersOf(pop perto.PoP) []Member {
	var out []Member
	for _, m := range f.Members {
		if m.PoP == pop {
			out = append(out, m)
		}
	}
	return out
}

// Member returns the member of a name, or nil.
func (f *Fleet) Member(name perto.Replica) *Member {
	for i := range f.Members {
		if f.Members[i].Name == name {
			return &f.Members[i]
		}
	}
	return nil
}
