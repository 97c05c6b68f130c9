//go:build !linux

package netx

import "syscall"

// growReceiveBuffer leaves the receive buffer as it is.
func growReceiveBuffer(_, _ string, _ syscall.RawConn) error { return nil }
