// Package lab is an Internet in one process. Its hosts have real public addresses and
// places on the globe. They exchange real IP packets over gVisor's netstack, with the
// delay of the distance between them. The lab runs the same Nodes as in production,
// with caching resolvers, clients ("vantages"), an origin and a DNS root. Doors on
// 127.0.0.1 connect dig, curl and browsers to the lab.
//
//	vantage --UDP--> its resolver --> root, cdn.example --> answer: an edge
//	vantage --TCP--> edge (cache) --> origin
//
// Start with [Up]. The methods of [Lab] and [Internet] may be called from any
// goroutine. Package node starts the Nodes, and cmd/perto and the tests run the lab.
//
// The lab runs in real time, for interactive use and for measurements. Tests of leases
// and clocks use internal/simnet instead, which has virtual time.
package lab
