// Package replicas knows who can serve: it gathers heartbeats (soft state),
// probes, what others saw, and the administrator's word about every edge into
// one immutable [Fleet], published whenever something that matters changed.
//
//	edge:     Status -> Sender --UDP, HMAC, every 0.5 s--> all DNS nodes
//	DNS node: Registry = heartbeats + probes + witnesses + reports -> Fleet
//
// There is no leader and no consensus: every DNS node hears every edge itself
// and lets leases expire by its own monotonic clock. The work is the same on
// the best and on the worst day.
//
// How a replica leaves and comes back:
//
//   - Positive evidence removes it at once: its farewell, a connection that was
//     refused or reset, or its own word that no listener works.
//   - Two missed heartbeats make it suspect. It is then probed, and other DNS
//     nodes are asked whether they hear it (witnesses). Unless one of them finds
//     it alive, it is out within 2.5 s of silence. A TCP handshake finds nobody
//     alive: the kernel makes it, also for a process that hangs.
//   - It comes back after three heartbeats in a row, one of a new process, or as
//     many good probes as configured. Who leaves again within a minute is held
//     down for 10 s, 20 s, up to a minute.
//   - When nobody at all is heard, this node's own network is likelier to be
//     the cause than everyone's death: silence removes nobody then, and states
//     become unknown. When this node itself stood still, all leases are extended
//     by that.
//   - At boot everyone is assumed up, but for those that were down a moment ago.
//   - An administrator's word wins over all of it while it lasts.
//
// Heartbeats are authenticated and protected against replay by epoch and
// sequence; a registry that lost its file accepts a replay of the epoch that was
// current, until the edge is heard itself. docs/formats has the layouts.
//
// It is layer 1. The mapper reads the Fleet to decide who should serve whom;
// this package decides nothing about clients, and what to answer when nobody is
// up is the mapper's choice. A [Registry] has one owner, the goroutine of
// [Registry.Run]; its methods may be called from any other.
package replicas
