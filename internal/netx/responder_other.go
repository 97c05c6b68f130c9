//go:build !linux

package netx

import "net"

// controlSize is not used: no socket reports destinations here.
const controlSize = 0

// reportDestination does nothing on this operating system. On a host with several
// addresses, list each of them as a listener.
func reportDestination(*net.UDPConn) (bool, error) { return false, nil }

func replyControl([]byte) []byte { return nil }
