// Package zone turns zone files (RFC 1035, section 5) into trees of packed
// answers that the name server copies into responses.
//
// A Zone is immutable: it is built whole, checked, and then only read, by any
// number of goroutines. Names of services stand in the tree as marks: what they
// answer changes with health and load and is kept elsewhere.
package zone
