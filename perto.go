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
// project: ASCII letters in lower case, no trailing dot; the root is "". Other
// bytes stay as they are: names are bytes, not text (RFC 4343).
func CanonicalName(name string) string {
	name = strings.TrimSuffix(name, ".")
	for i := range len(name) {
		if 'A' <= name[i] && name[i] <= 'Z' {
			b := []byte(name)
			for j := i; j < len(b); j++ {
				if 'A' <= b[j] && b[j] <= 'Z' {
					b[j] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return name
}
