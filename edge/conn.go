package edge

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"perto/edge/http1"
)

// conn is one client connection and the request that it carries at the moment.
// Its buffers are used again for each request.
//
// Deadlines are set lazily: a busy connection would else pay for one with every
// request. What is armed stays while it is still good for most of its time.
type conn struct {
	e      *Edge
	nc     net.Conn
	client string
	reader *http1.Reader
	req    request

	out  []byte // the head, and a small body
	bufs net.Buffers
	room [maxPieces + 1][]byte // backs bufs

	sender *sender // nil when the connection is no socket

	phase      phase
	idle       atomic.Bool // between requests: closes after a grace when draining
	readUntil  time.Time   // the read deadline that is armed
	writeUntil time.Time
	bodyFrom   time.Time // when the body was first waited for
	bodyBytes  int64     // that came since
}

type phase uint8

const (
	waiting    phase = iota // for the first byte of a head
	inHead                  // for the rest of it
	inLongHead              // the same, with one deadline for all of it however slowly it drips
	inBody
)

func newConn(e *Edge, nc net.Conn) *conn {
	c := &conn{e: e, nc: nc}
	if a := nc.RemoteAddr(); a != nil {
		c.client = a.String()
	}
	c.reader, c.sender = http1.NewReader(c), newSender(c)
	c.req.c, c.req.e = c, e
	return c
}

// address returns the client's address without its port: what reads
// X-Forwarded-For expects that.
func (c *conn) address() string {
	if host, _, err := net.SplitHostPort(c.client); err == nil {
		return host
	}
	return c.client
}

// source returns the client's address and port; zero when it has none.
func (c *conn) source() netip.AddrPort {
	a, _ := netip.ParseAddrPort(c.client)
	return a
}

// serve reads and answers requests until somebody wants no more.
func (c *conn) serve() {
	defer c.e.leave(c)
	defer c.nc.Close()
	now := time.Now()
	for {
		c.await(now)
		err := c.reader.ReadRequest(&c.req.q)
		c.idle.Store(false)
		if err != nil {
			c.req.q = http1.Request{Header: c.req.q.Header[:0]}
		}
		c.req.begin(time.Now())
		if err != nil {
			if !c.refused(err) {
				return
			}
		} else {
			c.req.run()
		}
		now = c.req.end()
		if c.req.closing {
			c.linger()
			return
		}
	}
}

// await arms the deadline for the next head.
func (c *conn) await(now time.Time) {
	if c.reader.Buffered() > 0 {
		c.phase = inHead
		return
	}
	c.phase = waiting
	c.armRead(now, c.e.cfg.IdleTimeout)
	c.idle.Store(true)
	if c.e.draining.Load() {
		c.armRead(now, drainGrace)
	}
}

// drainGrace is how long a connection without a request stays open while the edge
// drains. A request that is under way is answered, with "Connection: close"; closing
// at once would lose it (RFC 9112, section 9.6).
const drainGrace = time.Second

// drain makes a connection that waits for a request close after the grace.
func (c *conn) drain() {
	if c.idle.Load() {
		c.nc.SetReadDeadline(time.Now().Add(drainGrace))
	}
}

// refused answers what could not be read as a request; false when there is
// nobody to answer to.
func (c *conn) refused(err error) bool {
	r := &c.req
	r.closing = true
	if refusal, ok := errors.AsType[http1.Refusal](err); ok {
		r.fail(refusal.Status(), Refused, refusal.Error())
		r.synth()
		return true
	}
	if errors.Is(err, os.ErrDeadlineExceeded) && c.phase == inLongHead {
		c.e.reached(limitHead)
		r.fail(408, Refused, "head not complete in time")
		r.synth()
		return true
	}
	return false
}

// Read is the source of the parser. It knows which deadline the moment has. Most
// heads come with the first read, and then nothing was armed for them.
func (c *conn) Read(p []byte) (int, error) {
	bound := limitStall
	switch c.phase {
	case inBody:
		now, stall := time.Now(), c.e.cfg.StallTimeout
		if c.bodyFrom.IsZero() {
			c.bodyFrom = now
		}
		left := c.bodyFrom.Add(stall + time.Duration(c.bodyBytes)*time.Second/time.Duration(c.e.cfg.UploadRate)).Sub(now)
		if left <= 0 {
			c.e.reached(limitUploadRate)
			return 0, os.ErrDeadlineExceeded
		}
		if left < stall {
			bound = limitUploadRate
		}
		c.armRead(now, min(left, stall))
	case inHead:
		c.armRead(time.Now(), c.e.cfg.HeadTimeout)
		c.phase = inLongHead
	}
	n, err := c.nc.Read(p)
	if c.phase == inBody && err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		c.e.reached(bound)
	}
	if c.phase == waiting && n > 0 {
		c.idle.Store(false)
		c.phase = inHead
	}
	c.bodyBytes += int64(n)
	return n, err
}

// leastWritten is how many bytes a client must take within the stall time, where
// there are so many: a slow one makes progress, a stalled one does not.
const leastWritten = 32 << 10

// slack is the part of a time limit by which a deadline may be off.
const slack = 8

// armRead makes reads fail after d, counted from about now.
func (c *conn) armRead(now time.Time, d time.Duration) {
	if left := c.readUntil.Sub(now); left <= d && left >= d-d/slack {
		return
	}
	c.readUntil = now.Add(d)
	c.nc.SetReadDeadline(c.readUntil)
}

// armWrite makes writes fail after the stall time.
func (c *conn) armWrite(now time.Time) {
	d := c.e.cfg.StallTimeout
	if c.writeUntil.Sub(now) >= d-d/slack {
		return
	}
	c.writeUntil = now.Add(d)
	c.nc.SetWriteDeadline(c.writeUntil)
}

// maxPieces is how many pieces one gathered write takes beside the head, and
// maxBatch how many bytes.
const (
	maxPieces = 15
	maxBatch  = 1 << 20
)

// write sends p whole.
func (c *conn) write(p []byte, now time.Time) error {
	for {
		c.armWrite(now)
		n, err := c.nc.Write(p)
		c.req.sent += int64(n)
		if err == nil || !c.slow(int64(n), err) {
			return err
		}
		p, now = p[n:], time.Now()
	}
}

// slow tells whether a write that failed is worth going on with.
func (c *conn) slow(n int64, err error) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	if n < leastWritten {
		c.e.reached(limitStall)
		return false
	}
	return true
}

// gather sends the head in out and then the pieces, in as few writes as may be.
func (c *conn) gather(pieces [][]byte, now time.Time) error {
	bufs := append(c.room[:0], c.out)
	size := 0
	for i, p := range pieces {
		bufs = append(bufs, p)
		size += len(p)
		if len(bufs) <= maxPieces && size < maxBatch && i < len(pieces)-1 {
			continue
		}
		c.bufs = bufs
		for {
			c.armWrite(now)
			n, err := c.bufs.WriteTo(c.nc)
			c.req.sent += n
			if err == nil {
				break
			}
			if !c.slow(n, err) {
				return err
			}
			now = time.Now()
		}
		bufs, size = c.room[:0], 0
		if i < len(pieces)-1 {
			now = time.Now()
		}
	}
	return nil
}

// reset makes the connection end in a way that no client takes for the end of a
// body.
func (c *conn) reset() {
	if s, ok := c.nc.(interface{ SetLinger(seconds int) error }); ok {
		s.SetLinger(0)
	}
}

const (
	// lingerTime is how long a closing connection still listens, and lingerBytes to
	// how much: a client that was refused in the middle of its upload would lose
	// our answer to a reset if we closed at once (RFC 9112, section 9.6).
	lingerTime  = time.Second
	lingerBytes = 256 << 10
)

// linger lets the client read the last reply before the connection goes.
func (c *conn) linger() {
	w, ok := c.nc.(interface{ CloseWrite() error })
	if !ok || c.req.gone || !c.req.unread && c.reader.Buffered() == 0 {
		return
	}
	if w.CloseWrite() != nil {
		return
	}
	c.nc.SetReadDeadline(time.Now().Add(lingerTime))
	io.CopyN(io.Discard, c.nc, lingerBytes)
}
