// Package zone turns zone files (RFC 1035, section 5) into trees of packed answers. The
// name server copies these into its responses.
//
// A Zone is immutable. [Build] builds and checks it completely, and then any number of
// goroutines may read it. Names of services are only marks in the tree. Their addresses
// change with health and load, and mapping.Answers holds them. Start with [Build],
// [NewSet] and [Zone.Find].
package zone
