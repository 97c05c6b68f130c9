// Package wan puts the globe between containers. One process stands in all
// region networks, takes every packet that goes from one region to another, and
// hands it on when light in fibre could have carried it there; jitter, loss,
// bandwidth and cuts can be set while it runs. The kernel needs neither netem nor
// any module beyond TUN.
//
//	region network --eth0--> rule "to a region" -> tun0 --> Wan.Send
//	                                                        | held: delay, jitter
//	region network <--eth1-- main table <------- tun0 <--- out
//
// [Wan] is the pure part: IP packets in, IP packets out, no device and no
// privilege; its time is package time's, so tests run it in synctest bubbles.
// [Serve] puts it on a TUN device and serves its API. [AddRoutes],
// [DropPrivileges] and [Exec] are what every other container does at its start.
//
// It is for Linux; elsewhere it compiles and says so. docs/wan.md shows how the
// containers must be set up.
package wan
