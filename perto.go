// Package perto is the vocabulary of the project: the names and ids that every
// room shares, places on the globe and the distance between them, and the kinds
// of error that cross an API or the command line.
//
// It is layer 0 of the house (docs/architecture.md): it imports nothing of the
// project, holds no state and starts no goroutine.
package perto

import "strings"

// PoP is the name of a point of presence as written in the configuration
// ("gru"). It is unique in a World.
type PoP string

// Replica is the name of one server that answers for a PoP ("gru-1"). It is the
// label of its edge block and unique in a World.
type Replica string

// Service is the DNS name that clients ask for and that perto maps to replicas,
// in canonical form (see [CanonicalName]): "shop.cdn.example".
type Service string

// CanonicalName returns a DNS name in the form used as key everywhere in the
// project: lower case ASCII, no trailing dot; the root is "".
func CanonicalName(name string) string {
	return strings.ToLower(strings.TrimSuffix(name, "."))
}
