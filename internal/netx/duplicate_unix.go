//go:build unix

package netx

import (
	"os"
	"syscall"
)

// duplicate returns a socket as a file that stays non-blocking when it is passed to a
// child. The mode belongs to the socket, which other processes share. The file of
// [net.UDPConn.File] would make it blocking. A worker that reads it could then no
// longer be woken by a deadline or by closing.
func duplicate(s syscall.Conn, a Address) (*os.File, error) {
	raw, err := s.SyscallConn()
	if err != nil {
		return nil, err
	}
	var fd int
	var failed error
	err = raw.Control(func(from uintptr) {
		syscall.ForkLock.RLock()
		defer syscall.ForkLock.RUnlock()
		if fd, failed = syscall.Dup(int(from)); failed == nil {
			syscall.CloseOnExec(fd)
		}
	})
	if err == nil {
		err = os.NewSyscallError("dup", failed)
	}
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), a.Network+" "+a.Address), nil
}
