//go:build !unix

package fetch

import "net"

// stillOpen cannot inspect sockets on this system.
func stillOpen(net.Conn) (alive, known bool) { return true, false }
