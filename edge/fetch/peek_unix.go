//go:build unix

package fetch

import (
	"net"
	"syscall"
)

// stillOpen inspects the socket of an idle connection without waiting. alive is false
// when the origin closed the connection or sent unexpected bytes. known is false when
// the connection has no socket.
func stillOpen(c net.Conn) (alive, known bool) {
	s, ok := c.(syscall.Conn)
	if !ok {
		return true, false
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return true, false
	}
	var b [1]byte
	err = raw.Read(func(fd uintptr) bool {
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		alive = err == syscall.EAGAIN || err == syscall.EINTR
		return true
	})
	return alive && err == nil, true
}
