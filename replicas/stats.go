package replicas

import (
	"perto/internal/snapshot"
	"perto/metrics"
)

// What happens to witness queries.
const (
	witnessAsked    = iota // we asked
	witnessHeard           // the answer: heard lately
	witnessNever           // the answer: not heard either
	witnessAnswered        // we were asked
)

var witnessNames = [...]string{"asked", "heard", "not_heard", "answered"}

// stats are the registry's metrics.
type stats struct {
	received []metrics.Counter // by Reject
	witness  []metrics.Counter
	probes   []metrics.Counter // by outcome
	stalls   *metrics.Counter
	removal  *metrics.Histogram
}

func newStats(r *metrics.Registry, fleet *snapshot.Var[Fleet]) *stats {
	r.GaugeSet("perto_replicas_members", "Replicas by state.", "state", func(sample func(string, float64)) {
		var n [len(stateNames)]int
		if f := fleet.Load(); f != nil {
			for i := range f.Members {
				n[f.Members[i].State]++
			}
		}
		for i, name := range stateNames {
			sample(name, float64(n[i]))
		}
	})
	return &stats{
		received: r.CounterSet("perto_replicas_heartbeats_total", "Packets on the heartbeat port, by what was made of them.", "result", rejectNames[:]...),
		witness:  r.CounterSet("perto_replicas_witness_queries_total", "Questions between DNS nodes whether a silent replica was heard.", "result", witnessNames[:]...),
		probes:   r.CounterSet("perto_replicas_probes_total", "Probes by outcome.", "outcome", outcomeNames[:]...),
		stalls:   r.Counter("perto_replicas_stalls_total", "Times that this node itself stood still and extended all leases."),
		removal:  r.Histogram("perto_replicas_removal_seconds", "From the last sign of life of a replica to its removal."),
	}
}
