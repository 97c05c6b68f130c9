// Package console is the web console of a running world: a map with the edge of each
// client, live series, and pages of PoPs, vantages and services. The world is a lab, the
// same lab in containers, or one real node.
//
//	world --State--> Console --HTML, server-sent events--> browser
//	browser --POST /act--> Config.Do --> world
//
// Start with [New] and serve [Console.Handler]. The pages are made on the server and work
// without scripts. Scripts keep them up to date and animate them.
//
// A Console reads its world through the functions of [Config], and it is safe for
// concurrent use. It does not authenticate: serve it on loopback, on a Unix socket or
// behind a token.
package console
