// Package simnet is a network in virtual time, inside a testing/synctest bubble. It has
// hosts with addresses, packets and streams, delay, loss, cuts and frozen machines. An
// hour passes in milliseconds. A seed repeats a run, except for the order of events at
// the same instant, which the scheduler decides.
//
//	synctest.Test(t, func(t *testing.T) {
//		n := simnet.New(seed, simnet.Link{Latency: 20 * time.Millisecond})
//		ns, edge := n.Host("192.0.2.53"), n.Host("203.0.113.10")
//		conn, err := ns.ListenPacket(ctx, "udp", ":5399")
//		n.Cut(edge, ns) // packets of edge no longer reach ns; the other way is open
//	})
//
// A [Host] is a netx.Network, so packages run on it unchanged. It has no name
// resolution. It can have these faults:
//
//	Freeze  the process stops (SIGSTOP): the kernel still queues packets and
//	        completes handshakes, but nothing is read, written or accepted
//	Kill    the process dies: peers of its streams receive a reset, and its
//	        ports refuse connections
//	Vanish  the machine is gone: it sends no packet at all
//
// Streams are simple: ordered, reliable, with a window of 256 KiB, half close,
// deadlines, refusal and reset. There is no slow start and no bandwidth limit. Data
// sent into a cut waits and is delivered after it heals.
//
// simnet is for tests of leases, faults and clocks. Package lab has real TCP, and is
// for people and for measuring. simnet starts no goroutine of its own. Only timers may
// be left at the end of a bubble. Start with [New] and [Net.Host].
package simnet
