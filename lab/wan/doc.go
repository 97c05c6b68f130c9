// Package wan emulates a wide area network between containers. One process is attached
// to all region networks. It receives every packet between two regions, and forwards
// the packet after the time that light in fibre needs for the distance. Jitter, loss,
// bandwidth and cuts can be changed while it runs. The kernel needs no netem and no
// module except TUN.
//
//	region network --eth0--> rule "to a region" -> tun0 --> Wan.Send
//	                                                        | held: delay, jitter
//	region network <--eth1-- main table <------- tun0 <--- out
//
// Start with [Serve], which runs a [Wan] on a TUN device and serves its API. [Wan]
// itself takes and returns IP packets and needs no device and no privilege. It uses
// package time, so tests run it in synctest bubbles. All other containers call
// [AddRoutes], [DropPrivileges] and [Exec] at their start.
//
// The package needs Linux. On other systems its functions return an error. docs/wan.md
// describes the setup of the containers.
package wan
