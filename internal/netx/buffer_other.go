//go:build !linux

package netx

import "syscall"

// growReceiveBuffer does not change the receive buffer on this system.
func growReceiveBuffer(_, _ string, _ syscall.RawConn) error { return nil }
