// Package lab is an Internet in one process: hosts at real public addresses,
// placed on the globe, that exchange real IP packets over gVisor's netstack with
// the delay of the distance between them. The same Nodes as in production run on
// it, together with caching resolvers, clients ("vantages"), an origin and the
// root of the name space; doors on 127.0.0.1 let dig, curl and browsers in.
//
//	vantage --UDP--> its resolver --> root, cdn.example --> answer: an edge
//	vantage --TCP--> edge (cache) --> origin
//
// It is for people and for measuring. Tests of leases and clocks use
// internal/simnet instead, where time is virtual.
package lab
