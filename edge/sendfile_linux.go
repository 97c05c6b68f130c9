package edge

import (
	"io"
	"net"
	"syscall"
	"time"

	"perto/edge/cache"
)

// sender sends bodies that have a file to one connection. Its function values are made
// once, so that a hit allocates nothing.
type sender struct {
	c    *conn
	raw  syscall.RawConn
	use  func(file uintptr)
	step func(socket uintptr) bool

	head []byte // the unsent part of the head
	file int
	off  int64
	left int64 // of the body in bytes
	sent int64 // in this step
	now  time.Time
	err  error
}

// newSender returns nil for a connection that is not a TCP socket.
func newSender(c *conn) *sender {
	t, ok := c.nc.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return nil
	}
	s := &sender{c: c, raw: raw}
	s.use, s.step = s.send, s.write
	return s
}

// sendFile sends the head in out and then length bytes of the file from offset first
// on, without copying them. done is false when the file was closed. Then nothing was
// sent.
func (c *conn) sendFile(f *cache.File, first, length int64, now time.Time) (done bool, err error) {
	s := c.sender
	s.head, s.off, s.left, s.now = c.out, first, length, now
	if f.Use(s.use) != nil {
		return false, nil
	}
	return true, s.err
}

// send sends head and body. The file stays open during the call.
func (s *sender) send(file uintptr) {
	s.file = int(file)
	for {
		s.c.armWrite(s.now)
		s.sent, s.err = 0, nil
		err := s.raw.Write(s.step)
		if err == nil {
			err = s.err
		}
		s.c.req.sent += s.sent
		if s.err = err; err == nil || !s.c.slow(s.sent, err) {
			return
		}
		s.now = time.Now()
	}
}

// write sends as many bytes as the socket accepts. done is false when the socket must
// become writable first.
func (s *sender) write(socket uintptr) (done bool) {
	for len(s.head) > 0 {
		n, err := syscall.SendmsgN(int(socket), s.head, nil, nil, syscall.MSG_MORE|syscall.MSG_NOSIGNAL)
		switch err {
		case nil:
			s.head = s.head[n:]
			s.sent += int64(n)
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			s.err = err
			return true
		}
	}
	for s.left > 0 {
		n, err := syscall.Sendfile(int(socket), s.file, &s.off, int(min(s.left, maxBatch)))
		switch {
		case n > 0:
			s.left -= int64(n)
			s.sent += int64(n)
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			return false
		default:
			if s.err = err; err == nil {
				s.err = io.ErrUnexpectedEOF
			}
			return true
		}
	}
	return true
}
