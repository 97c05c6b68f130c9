// Package node is the only wiring: it turns a configuration into a running Node
// with the roles that its Local names. The command line, the lab and tests all
// start Nodes with it, on the operating system's network, the lab's or a
// simulated one.
//
//	config.World, config.Local
//	     |
//	     +--> replicas.Registry --Fleet--> mapping --Answers--> dnsserver   (role dns)
//	     +--> edge                                                         (role edge)
//	     +--> console: the read-only API over all of them
//
// Snapshots go down, function values go up; the rooms do not know each other.
package node
