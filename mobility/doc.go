// Package mobility moves functions (an application's code) to the nodes that run them.
// Start with [OpenStore] on a node, and with [Push] in a client:
//
//	Release   the decision which code handles a path of a service, signed
//	Store     the releases and modules of one node: verified, durable, bounded
//	Push      sends a release and its module to many nodes
//	Puller    fetches a module at its first use: code on demand
//	Handler   the HTTP API of a node's Store; Client calls it
//
// A release is small and is sent to every node at once. A module is large and is named
// by its digest. It may come later and from any source, because the release signs the
// digest.
//
// A node waits for changes of [Store.Desired] and loads the functions it lists. A
// Store, a Puller and a Client are safe for concurrent use. A Store keeps at most
// maxFunctions functions with StoreConfig.Keep releases each. The formats are in
// docs/formats/release.md.
package mobility
