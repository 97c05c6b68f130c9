// Package mobility moves the application's code to where it runs.
//
//	Release   says which code answers a path of a service; signed by who may say so
//	Store     the releases and modules of one node: verified, durable, bounded
//	Push      brings a release, and its module, to many nodes
//	Puller    fetches a module when it is first asked for: code on demand
//	Handler   the HTTP API of a node's Store; Client speaks it
//
// A release is small and is told to every node at once; a module is large, is named
// by its digest, and may come later and from anyone, since the digest is signed.
//
// What runs is decided by the node: it waits on [Store.Desired] and loads what is
// there. A Store, a Puller and a Client are safe for concurrent use. The formats
// are in docs/formats/release.md.
package mobility
