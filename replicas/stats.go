package replicas

import (
	"perto/internal/snapshot"
	"perto/metrics"
)

// The events of witness queries.
const (
	witnessAsked    = iota // query sent
	witnessHeard           // response: a recent heartbeat
	witnessNever           // response: no heartbeat either
	witnessAnswered        // query received and answered
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
		received: r.CounterSet("perto_replicas_heartbeats_total", "Packets on the heartbeat port, by result.", "result", rejectNames[:]...),
		witness:  r.CounterSet("perto_replicas_witness_queries_total", "Queries between DNS nodes about the last heartbeat of a silent replica.", "result", witnessNames[:]...),
		probes:   r.CounterSet("perto_replicas_probes_total", "Probes by outcome.", "outcome", outcomeNames[:]...),
		stalls:   r.Counter("perto_replicas_stalls_total", "Stalls of this process, after each of which it extended all leases."),
		removal:  r.Histogram("perto_replicas_removal_seconds", "Time from the last sign of life of a replica to its removal."),
	}
}
