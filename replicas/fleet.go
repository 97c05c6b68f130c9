package replicas

import (
	"fmt"
	"net/netip"
	"time"

	"perto"
)

// State is what is known of a replica.
type State uint8

// The states, from best to worst.
const (
	// StateUp: fresh evidence that it serves.
	StateUp State = iota
	// StateUnknown: assumed up because nothing was heard yet (boot) or because
	// this node itself was stalled. It counts as up in answers.
	StateUnknown
	// StateSuspect: two heartbeats missed or a probe failed; still in answers,
	// whose TTL is shortened.
	StateSuspect
	// StateDraining: it finishes what it has; new answers avoid it.
	StateDraining
	// StateDown: confirmed down, by positive evidence or by silence.
	StateDown
)

var stateNames = [...]string{"up", "unknown", "suspect", "draining", "down"}

// String returns the state's name in lower case.
func (s State) String() string { return stateNames[s] }

// MarshalText returns the name, so that JSON shows words.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a name.
func (s *State) UnmarshalText(text []byte) error {
	for i, n := range stateNames {
		if n == string(text) {
			*s = State(i)
			return nil
		}
	}
	return fmt.Errorf("no state is called %q", text)
}

// Serves reports whether answers may name a replica in this state.
func (s State) Serves() bool { return s <= StateSuspect }

// Declared is what the configuration says of a replica.
type Declared struct {
	Name      perto.Replica
	PoP       perto.PoP
	Addresses []netip.Addr // where clients reach it, IPv4 and IPv6
	Capacity  uint64       // bits per second; 0 when not declared
	Weight    uint16       // share inside its PoP; 0 when not declared

	// Check is what to probe in place of Addresses[0], with its port in place
	// of the probes'; zero when not declared.
	Check netip.AddrPort
	// Probes are run against it regularly; each can take it out and must bring
	// it back. Without any, heartbeats alone decide.
	Probes []Probe
	// Beats says that it sends heartbeats: if none ever comes, it is down. A
	// server that does not run perto must be probed instead.
	Beats bool
}

// Probe is a check made again and again.
type Probe struct {
	Kind     ProbeKind
	Host     string // name asked for: Host header, TLS server name or DNS question
	Path     string // for http and https; "" means "/"
	Port     uint16
	Interval time.Duration // from one to the next; 0 means 5 s
	Timeout  time.Duration // 0 means 2 s, or Interval if that is less
	Up       int           // good answers in a row that bring it back; 0 means 2
	Down     int           // bad answers, not interrupted by Up good ones, that take it out; 0 means 3
}

// ProbeKind is what a probe speaks.
type ProbeKind uint8

// The kinds of probe. All but ProbeTCP want an answer of the server itself; a
// handshake is made by its kernel, even while the server hangs.
const (
	ProbeHTTP ProbeKind = iota
	ProbeHTTPS
	ProbeTCP
	ProbeDNS
)

var probeKindNames = [...]string{"http", "https", "tcp", "dns"}

// String returns the kind's name as the configuration writes it.
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
	Reason string    // why it is in this state, for people ("2 heartbeats missed")
	Since  time.Time // when it entered the state
	Load   float64   // share of its capacity in use, 0..1 and above when overloaded; 0 when unknown
	Admin  string    // "", "drain", "up" or "down": an administrator's word, which wins while it lasts
}

// Fleet is the whole of what is known at one moment. It is immutable: readers
// may keep it as long as they like, and must change nothing in it.
//
// Sites and Members are sorted by name, and every Member's PoP is in Sites.
type Fleet struct {
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
