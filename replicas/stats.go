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
	r.GaugeTable("perto_replica_state", "1 for the current state of a replica as this name server decides it, 0 for its other states.", []string{"replica", "state"}, func(sample func(float64, ...string)) {
		f := fleet.Load()
		if f == nil {
			return
		}
		for i := range f.Members {
			m := &f.Members[i]
			for state, name := range stateNames {
				value := 0.0
				if m.State == State(state) {
					value = 1
				}
				sample(value, string(m.Name), name)
			}
		}
	})
	r.GaugeSet("perto_replica_load_ratio", "Share of a replica's capacity in use, as it reports it.", "replica", func(sample func(string, float64)) {
		if f := fleet.Load(); f != nil {
			for i := range f.Members {
				sample(string(f.Members[i].Name), f.Members[i].Load)
			}
		}
	})
	r.GaugeSet("perto_replica_config_differs", "1 for a replica that runs another configuration than this node, else 0.", "replica", func(sample func(string, float64)) {
		if f := fleet.Load(); f != nil {
			for i := range f.Members {
				m, value := &f.Members[i], 0.0
				if m.World != 0 && f.World != 0 && m.World != f.World {
					value = 1
				}
				sample(string(m.Name), value)
			}
		}
	})
	r.Gauge("perto_replicas_isolated", "1 while no replica gives a sign of life, so that the network of this node is suspected, else 0.", func() float64 {
		if f := fleet.Load(); f != nil && f.Isolated {
			return 1
		}
		return 0
	})
	return &stats{
		received: r.CounterSet("perto_replicas_heartbeats_total", "Packets on the heartbeat port, by result.", "result", rejectNames[:]...),
		witness:  r.CounterSet("perto_replicas_witness_queries_total", "Queries between DNS nodes about the last heartbeat of a silent replica.", "result", witnessNames[:]...),
		probes:   r.CounterSet("perto_replicas_probes_total", "Probes by outcome.", "outcome", outcomeNames[:]...),
		stalls:   r.Counter("perto_replicas_stalls_total", "Stalls of this process, after each of which it extended all leases."),
		removal:  r.Histogram("perto_replicas_removal_seconds", "Time from the last sign of life of a replica to its removal."),
	}
}
