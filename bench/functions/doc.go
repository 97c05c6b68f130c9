// Package functions measures what code at the edge costs, over real sockets: what a
// function adds to a request, and what one that never ends costs the others. The
// runtime by itself is measured in package functions (go test -bench Handle).
package functions
