package netx

import "syscall"

// receiveBuffer is the size of the receive buffer of inherited UDP sockets, in bytes.
// The kernel doubles it and counts about 1 KiB for a query. It therefore holds some
// 32,000 queries while a crashed worker is replaced: eight seconds at 4,000 queries a
// second. The memory is only in use while queries wait.
const receiveBuffer = 16 << 20

// growReceiveBuffer enlarges the receive buffer of a socket. With the capability
// CAP_NET_ADMIN it can exceed the system's limit (net.core.rmem_max). Without the
// capability, the limit applies. A buffer that stays small is no error.
func growReceiveBuffer(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) {
		if syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUFFORCE, receiveBuffer) != nil {
			syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, receiveBuffer)
		}
	})
}
