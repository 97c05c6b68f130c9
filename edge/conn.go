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

// conn is one client connection with its current request. Requests reuse its buffers.
//
// Deadlines are set lazily, because setting one for each request would cost too much on
// a busy connection. A deadline stays set while most of its time is left.
type conn struct {
	e      *Edge
	nc     net.Conn
	client string
	reader *http1.Reader
	req    request

	out       []byte // the head, and a small body
	bufs      net.Buffers
	bufsArray [maxPieces + 1][]byte // backs bufs

	sender *sender // nil when the connection is not a socket

	phase      phase
	idle       atomic.Bool   // between requests; then it closes drainGrace after a drain begins
	readUntil  time.Time     // the current read deadline
	writeUntil time.Time     // the current write deadline
	writeStall time.Duration // the stall time of writeUntil
	bodyFrom   time.Time     // time of the first read of the body
	bodyBytes  int64         // received since then
}

type phase uint8

const (
	waiting    phase = iota // for the first byte of a head
	inHead                  // for the rest of a head, before its first read
	inLongHead              // for the rest of a head, with one deadline for all reads
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

// address returns the client's address without its port, which is the form in
// X-Forwarded-For.
func (c *conn) address() string {
	if host, _, err := net.SplitHostPort(c.client); err == nil {
		return host
	}
	return c.client
}

// source returns the client's address and port. It is zero when the connection has no
// IP address.
func (c *conn) source() netip.AddrPort {
	a, _ := netip.ParseAddrPort(c.client)
	return a
}

// serve reads requests and replies to them until the connection closes.
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

// await sets the deadline for the next head.
func (c *conn) await(now time.Time) {
	if c.reader.Buffered() > 0 {
		c.phase = inHead
		return
	}
	c.phase = waiting
	c.armRead(now, c.e.limits.Load().IdleTimeout)
	c.idle.Store(true)
	if c.e.draining.Load() {
		c.armRead(now, drainGrace)
	}
}

// drainGrace is the time for which an idle connection stays open after the drain began.
// A request that is on its way to the edge then still gets a reply, with "Connection:
// close". Closing at once would lose that request (RFC 9112, section 9.6).
const drainGrace = time.Second

// drain makes an idle connection close after drainGrace.
func (c *conn) drain() {
	if c.idle.Load() {
		c.nc.SetReadDeadline(time.Now().Add(drainGrace))
	}
}

// refused replies to a head that could not be read as a request. It returns false when
// no reply can be sent, because the connection has ended.
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

// Read is the source of the parser. It sets the deadline for the current phase. Most
// heads arrive with the first read and need no deadline of their own.
func (c *conn) Read(p []byte) (int, error) {
	bound := limitStall
	switch c.phase {
	case inBody:
		now, l := time.Now(), c.e.limits.Load()
		if c.bodyFrom.IsZero() {
			c.bodyFrom = now
		}
		left := c.bodyFrom.Add(l.StallTimeout + time.Duration(c.bodyBytes)*time.Second/time.Duration(l.UploadRate)).Sub(now)
		if left <= 0 {
			c.e.reached(limitUploadRate)
			return 0, os.ErrDeadlineExceeded
		}
		if left < l.StallTimeout {
			bound = limitUploadRate
		}
		c.armRead(now, min(left, l.StallTimeout))
	case inHead:
		c.armRead(time.Now(), c.e.limits.Load().HeadTimeout)
		c.phase = inLongHead
	case waiting, inLongHead: // the deadline is set
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

// leastWritten is the number of bytes that a client must take within the stall time, if
// there are that many. A client that takes fewer has stalled.
const leastWritten = 32 << 10

// slack is the reciprocal of the part of a time limit by which a deadline may be early:
// one eighth.
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
	d := c.e.limits.Load().StallTimeout
	if c.writeStall == d && c.writeUntil.Sub(now) >= d-d/slack {
		return
	}
	c.writeStall, c.writeUntil = d, now.Add(d)
	c.nc.SetWriteDeadline(c.writeUntil)
}

// maxPieces is the number of pieces of one gathered write beside the head. maxBatch is
// the number of bytes at which it ends.
const (
	maxPieces = 15
	maxBatch  = 1 << 20
)

// write sends all of p.
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

// slow reports whether a failed write must go on, because the client still makes
// progress.
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

// gather sends the head in out and then the pieces, in as few writes as possible.
func (c *conn) gather(pieces [][]byte, now time.Time) error {
	bufs := append(c.bufsArray[:0], c.out)
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
		bufs, size = c.bufsArray[:0], 0
		if i < len(pieces)-1 {
			now = time.Now()
		}
	}
	return nil
}

// reset makes the connection end with a TCP reset, which no client accepts as the end
// of a body.
func (c *conn) reset() {
	if s, ok := c.nc.(interface{ SetLinger(seconds int) error }); ok {
		s.SetLinger(0)
	}
}

const (
	// lingerTime and lingerBytes bound how long and how much a closing connection still
	// reads. If it closed at once, a client with a refused upload would receive a
	// reset and lose the reply (RFC 9112, section 9.6).
	lingerTime  = time.Second
	lingerBytes = 256 << 10
)

// linger lets the client read the last reply before the connection closes.
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
