// Package node builds a running Node from a configuration, with the roles that its
// Local names. The command line, the lab and tests start Nodes with it: on the operating
// system's network, the lab's or a simulated one. Start with [New], then [Node.Start].
//
//	config.World, config.Local
//	     |
//	     +--> replicas.Registry --Fleet--> mapping --Answers--> dnsserver   (role dns)
//	     +--> edge                                                         (role edge)
//	     +--> internal/api: the read-only API over all of them
//
// The packages that do the work do not import each other. This package connects them: it
// passes snapshots down and function values up. A Node is safe for concurrent use.
package node
