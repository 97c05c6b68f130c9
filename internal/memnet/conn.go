package memnet

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// conn is one end of a stream: it reads from in and writes to out.
type conn struct {
	in, out       *half
	local, remote addr
}

func pair(a, b addr) (*conn, *conn) {
	ab, ba := newHalf(), newHalf()
	return &conn{in: ba, out: ab, local: a, remote: b}, &conn{in: ab, out: ba, local: b, remote: a}
}

// half is one direction of a stream.
type half struct {
	mu      sync.Mutex
	changed sync.Cond
	buf     []byte // pending bytes
	start   []byte // the whole buffer, to reuse when empty
	ended   bool   // the writer closed: EOF after buf
	broken  bool   // the reader closed: writes fail

	reading, writing deadline
}

func newHalf() *half {
	h := new(half)
	h.changed.L = &h.mu
	return h
}

// deadline wakes the half's waiters when it passes.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func (h *half) set(d *deadline, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
	}
	d.at, d.timer = at, nil
	if !at.IsZero() {
		d.timer = time.AfterFunc(time.Until(at), func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.changed.Broadcast()
		})
	}
	h.changed.Broadcast()
}

func (h *half) read(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.broken:
			return 0, net.ErrClosed
		case h.reading.passed():
			return 0, os.ErrDeadlineExceeded
		case len(h.buf) > 0:
			n := copy(p, h.buf)
			if h.buf = h.buf[n:]; len(h.buf) == 0 {
				h.buf = h.start[:0]
			}
			h.changed.Broadcast()
			return n, nil
		case h.ended:
			return 0, io.EOF
		case len(p) == 0:
			return 0, nil
		}
		h.changed.Wait()
	}
}

func (h *half) write(p []byte) (n int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.ended:
			return n, net.ErrClosed
		case h.broken:
			return n, syscall.EPIPE
		case h.writing.passed():
			return n, os.ErrDeadlineExceeded
		}
		if room := bufferBytes - len(h.buf); room > 0 {
			k := min(room, len(p)-n)
			h.buf = append(h.buf, p[n:n+k]...)
			if cap(h.buf) > cap(h.start) {
				h.start = h.buf
			}
			n += k
			h.changed.Broadcast()
		}
		if n == len(p) {
			return n, nil
		}
		h.changed.Wait()
	}
}

// end closes the half from its writer's side, or from its reader's.
func (h *half) end(reader bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if reader {
		h.broken = true
		h.buf, h.start = nil, nil
	} else {
		h.ended = true
	}
	for _, d := range []*deadline{&h.reading, &h.writing} {
		if d.timer != nil && (h.broken || d == &h.writing) {
			d.timer.Stop()
		}
	}
	h.changed.Broadcast()
}

func (c *conn) Read(p []byte) (int, error)  { return c.in.read(p) }
func (c *conn) Write(p []byte) (int, error) { return c.out.write(p) }

func (c *conn) Close() error {
	c.in.end(true)
	c.out.end(false)
	return nil
}

// CloseWrite ends one direction, as TCP does with FIN.
func (c *conn) CloseWrite() error {
	c.out.end(false)
	return nil
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) SetDeadline(t time.Time) error {
	c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.set(&c.in.reading, t)
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.out.set(&c.out.writing, t)
	return nil
}
