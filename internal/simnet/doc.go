// Package simnet is a network in virtual time: hosts with addresses, packets
// and streams between them, delay, loss, cuts and frozen machines, all inside a
// testing/synctest bubble. An hour passes in milliseconds, and a seed repeats a
// run (but for the order of what happens at the very same instant, which the
// scheduler decides).
//
//	synctest.Test(t, func(t *testing.T) {
//		n := simnet.New(seed, simnet.Link{Latency: 20 * time.Millisecond})
//		ns, edge := n.Host("192.0.2.53"), n.Host("203.0.113.10")
//		conn, err := ns.ListenPacket(ctx, "udp", ":5399")
//		n.Cut(edge, ns) // packets of edge no longer reach ns; the other way is open
//	})
//
// A [Host] is a netx.Network: the rooms run on it unchanged. It has no name
// resolution. What can befall it:
//
//	Freeze  the process stops (SIGSTOP): the kernel still queues packets and
//	        completes handshakes, but nothing is read, written or accepted
//	Kill    the process dies: peers of its streams see a reset, its ports refuse
//	Vanish  the machine is gone: nothing comes back at all
//
// Streams are simple: ordered, reliable, with a window of 256 KiB, half close,
// deadlines, refusal and reset. There is no slow start and no bandwidth. Data
// sent into a cut waits and is delivered after it heals.
//
// simnet is for tests of leases, faults and clocks; package lab, which has real
// TCP, is for people and for measuring. It starts no goroutine of its own: all
// it leaves behind at the end of a bubble are timers.
package simnet
