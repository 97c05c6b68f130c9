// Package perto is the vocabulary of the project. It holds the names and ids that all
// packages share, places on the globe and the distance between them. It also holds the
// kinds of error that cross an API or the command line.
//
// It is layer 0 (docs/architecture.md): it imports nothing of the project, holds no
// state and starts no goroutine. Everything in it is safe for concurrent use. Start
// with [CanonicalName], [Place] and [Error].
package perto

import "strings"

// PoP is the name of a point of presence in the configuration, for example "gru". It is
// unique in a World.
type PoP string

// Replica is the name of one server of a PoP, for example "gru-1". It is the label of
// its edge block and unique in a World.
type Replica string

// Service is a DNS name that perto maps to replicas, in canonical form (see
// [CanonicalName]). For example, "shop.cdn.example".
type Service string

// CanonicalName returns a DNS name in the form that the whole project uses as key:
// ASCII letters in lower case, no trailing dot. The root is "". Other bytes stay as
// they are: names are bytes, not text (RFC 4343).
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
