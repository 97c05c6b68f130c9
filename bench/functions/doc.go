// Package functions measures the cost of functions at the edge, over real sockets. It
// measures the time that a function adds to a request, and the delay of other requests
// by an endless function. Package functions measures the runtime alone (go test -bench
// Handle).
package functions
