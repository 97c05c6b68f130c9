// Package replicas decides which replicas can serve. It combines heartbeats (soft
// state), probes, reports of other DNS nodes and administrators' orders into one
// immutable [Fleet]. It publishes a new Fleet at each relevant change.
//
//	edge:     Status -> Sender --UDP, HMAC, every 0.5 s--> all DNS nodes
//	DNS node: Registry = heartbeats + probes + witnesses + reports -> Fleet
//
// There is no leader and no consensus. Each DNS node receives the heartbeats of each
// edge itself and expires leases by its own monotonic clock. The amount of work does
// not depend on failures.
//
// How a replica is removed and comes back:
//
//   - Positive evidence removes it at once: its farewell, a connection that was
//     refused or reset, or its own status that no listener works.
//   - Two missed heartbeats make it suspect. The registry then probes it and asks
//     other DNS nodes for its last heartbeat (witnesses). Unless one of these finds
//     it alive, it is removed within 2.5 s of silence. A TCP handshake is no proof
//     of life: the kernel completes it also for a process that hangs.
//   - It comes back after three heartbeats in a row, one heartbeat of a new process,
//     or as many good probes as configured. A replica that is removed again within
//     10 minutes is held down for a minute. From its third removal on, it returns
//     after 10 minutes without a further one.
//   - When no heartbeat or probe arrives at all, this node's own network is the
//     likely cause. Silence then removes no replica, and states become unknown.
//     When this process was stalled, it extends all leases by that time.
//   - At boot all replicas are assumed up, except those that were down recently.
//   - An administrator's order overrides all evidence while it lasts.
//
// Heartbeats are authenticated, and protected against replay by epoch and sequence. A
// registry without its file accepts a replay of the current epoch until it receives a
// heartbeat of the edge. docs/formats has the layouts.
//
// The package is in layer 1. The mapper reads the Fleet to assign clients to replicas.
// This package decides nothing about clients. The mapper also decides the answer when
// no replica is up. A [Registry] has one owner, the goroutine of [Registry.Run]. Its
// methods may be called from any other goroutine. Start with [New] and [NewSender].
package replicas
