package fetch

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"perto/edge/http1"
	"perto/edge/rfc9111"
	"perto/internal/fields"
)

// Exchange is one request to an upstream.
type Exchange struct {
	Method string
	Target string        // in the form of AppendTarget
	Host   string        // what the client asked for
	Header fields.Header // see [Forwarded]
	// Via is the protocol that the request came with ("1.1").
	Via string
	// Client is the address of the client, for X-Forwarded-For; of a fetch that many
	// wait for, that of the one which began it. Empty: not told.
	Client string
	// Scheme is that of the client's request ("http"), for X-Forwarded-Proto.
	Scheme string
	// Shared tells that the reply may be stored, and so be for other clients too.
	Shared bool
	// StripCookies removes the fields that set cookies from the reply.
	StripCookies bool

	Body   io.Reader // nil when there is none
	Length int64     // of the body in bytes, -1 to send it chunked
	// Interim is called for each 1xx reply but 100, within Do; may be nil.
	Interim func(status int, header fields.Header)
	// Around stands before the upstream, if it is not nil: it makes the reply, and
	// may ask do for the upstream's. Errors of do pass through it.
	Around func(ctx context.Context, x *Exchange, do func(*Exchange) (*Reply, error)) (*Reply, error)
}

// Reply is the answer of an origin. Its head lives as long as it does; whoever
// gets it must close it.
type Reply struct {
	http1.Response
	Origin      string        // that answered, "host:port"; empty: a function did without it
	RequestTime time.Time     // when the request was sent
	ReplyTime   time.Time     // when the head had come
	conn        *conn         // nil after Close
	kept        time.Duration // for which the origin keeps the connection, 0: it does not say
	body        io.Reader     //
	origin      rfc9111.Reply // the head as the caching rules see it
}

// NewReply returns a reply that no upstream sent, as if one had: status, fields and
// a whole body, which it keeps. asked is when the work on it began.
func NewReply(status int, header fields.Header, body []byte, asked time.Time) *Reply {
	r := &Reply{Response: http1.Response{Status: status, Header: header, ContentLength: int64(len(body))}, RequestTime: asked, ReplyTime: time.Now(), body: bytes.NewReader(body)}
	r.origin = rfc9111.Reply{Status: status, Header: header, RequestTime: asked, ReplyTime: r.ReplyTime}
	return r
}

// Asked returns the status of the reply and the time to its head, zero when no
// origin was asked for it.
func (r *Reply) Asked() (status int, took time.Duration) {
	if r.Origin == "" {
		return 0, 0
	}
	return r.Status, r.ReplyTime.Sub(r.RequestTime)
}

// Read reads the body. Its errors are of type *Error, but io.EOF.
func (r *Reply) Read(p []byte) (int, error) {
	n, err := r.body.Read(p)
	return n, bodyError(r.Origin, err)
}

// here tells whether all of the body has come.
func (r *Reply) here() bool {
	return r.ContentLength >= 0 && (r.conn == nil || r.ContentLength <= int64(r.conn.reader.Buffered()))
}

// Close ends the exchange. The connection is kept for another one when the body
// was read to its end, else it is closed.
func (r *Reply) Close() {
	c := r.conn
	if c == nil {
		return
	}
	r.conn = nil
	if r.KeepAlive && r.body.(*http1.Body).Done() {
		c.server.put(c, r.kept)
	} else {
		c.server.drop(c)
	}
	c.server.release()
}

// maxInterim is how many 1xx replies are taken before the final one.
const maxInterim = 16

// Do sends a request to the first origin that takes it and returns the head of
// its reply. Another origin is tried only when nothing was sent yet. Errors are
// of type *Error, unless they are those of the exchange's Around.
func (u *Upstream) Do(ctx context.Context, x *Exchange) (*Reply, error) {
	r, err := u.around(ctx, x)
	if err == nil && x.StripCookies {
		r.Header = rfc9111.StripCookies(r.Header)
		r.origin.Header = r.Header
	}
	return r, err
}

func (u *Upstream) around(ctx context.Context, x *Exchange) (*Reply, error) {
	if x.Around != nil {
		return x.Around(ctx, x, func(x *Exchange) (*Reply, error) { return u.do(ctx, x) })
	}
	return u.do(ctx, x)
}

func (u *Upstream) do(ctx context.Context, x *Exchange) (*Reply, error) {
	var last error
	anyWell := slices.ContainsFunc(u.origins, func(o member) bool { return o.server.well() })
	for i := range u.origins {
		o := &u.origins[i]
		// While no origin passes its health checks, the checks may be what is wrong:
		// then all are tried.
		if anyWell && !o.server.well() {
			last = &Error{Cause: Broken, Origin: o.server.address, Err: last}
			continue
		}
		if !o.server.allowed(time.Now()) {
			last = &Error{Cause: Broken, Origin: o.server.address, Err: last}
			continue
		}
		r, sent, err := o.do(ctx, x)
		if err == nil {
			return r, nil
		}
		if last = err; sent || ctx.Err() != nil {
			break
		}
	}
	return nil, last
}

// do tries one origin. sent tells that it may have seen the request.
func (o *member) do(ctx context.Context, x *Exchange) (r *Reply, sent bool, err error) {
	s := o.server
	head, err := o.head(x)
	if err != nil {
		s.untried()
		return nil, true, err
	}
	if err := s.acquire(ctx); err != nil {
		s.untried()
		return nil, false, err
	}
	repeatable := x.Body == nil && rfc9111.Idempotent(x.Method)
	for fresh := false; ; {
		var c *conn
		if !fresh {
			c = s.take(repeatable)
		}
		if c == nil {
			if c, err = s.dial(ctx); err != nil {
				s.unreachable()
				s.release()
				return nil, false, err
			}
		}
		s.connected()
		r, err = o.roundTrip(c, x, head)
		s.ended(err)
		if err == nil {
			return r, true, nil
		}
		s.drop(c)
		// A connection that waited may have been closed by the origin meanwhile:
		// then it answers nothing, and the same request is sent once more, on the
		// next idle one or in the end on a new one, if that can do no harm. If no reply
		// can be made of what came, it may be the late rest of the reply before.
		if cause := CauseOf(err); c.again && repeatable && (cause == Closed || cause == BadReply) {
			fresh = cause == BadReply
			continue
		}
		s.release()
		return nil, true, err
	}
}

// roundTrip sends the request over c and reads heads up to the final one.
func (o *member) roundTrip(c *conn, x *Exchange, head []byte) (*Reply, error) {
	r := &Reply{Origin: o.server.address, RequestTime: time.Now(), conn: c}
	c.wait = o.reply
	_, err := c.Write(head)
	if err == nil && x.Body != nil {
		err = sendBody(c, x)
		if CauseOf(err) == ClientGone && err != nil {
			return nil, err
		}
	}
	// After a failed write the origin may still have said why (413, 400).
	for range maxInterim + 1 {
		if rerr := c.reader.ReadResponse(&r.Response, x.Method == "HEAD"); rerr != nil {
			if err == nil || !errors.Is(rerr, io.EOF) {
				err = rerr
			}
			return nil, &Error{Cause: replyCause(err), Origin: r.Origin, Err: err}
		}
		if r.Status >= 200 {
			r.ReplyTime = time.Now()
			r.KeepAlive = r.KeepAlive && err == nil && !rfc9111.BindsConnection(x.Header) && !rfc9111.BindsConnection(r.Header)
			r.body = c.reader.Body(r.ContentLength, r.Chunked)
			r.kept = keepAliveTimeout(r.Header)
			c.wait = o.server.cfg.StallTimeout
			r.origin = rfc9111.Reply{Status: r.Status, Header: r.Header, RequestTime: r.RequestTime, ReplyTime: r.ReplyTime}
			return r, nil
		}
		if r.Status != 100 && x.Interim != nil {
			x.Interim(r.Status, rfc9111.EndToEnd(rfc9111.StripCookies(r.Header), nil))
		}
	}
	return nil, &Error{Cause: BadReply, Origin: r.Origin, Err: errors.New("too many interim replies")}
}

// keepAliveTimeout reads "Keep-Alive: timeout=5", which many origins send beside
// a reply: they close the connection after so many seconds without a request.
func keepAliveTimeout(h fields.Header) time.Duration {
	for e := range h.Elements("keep-alive") {
		if v, ok := bytes.CutPrefix(e, []byte("timeout=")); ok {
			if n, err := strconv.Atoi(string(v)); err == nil && n > 0 {
				return time.Duration(min(n, 3600)) * time.Second
			}
		}
	}
	return 0
}

// head composes the request. It returns an error when the parts make no request.
func (o *member) head(x *Exchange) ([]byte, error) {
	host, name := x.Host, o.server.cfg.Name
	if o.host != "" {
		host = o.host
	}
	h := x.Header[:len(x.Header):len(x.Header)]
	h = append(h, fields.Of("Via", x.Via+" "+name, "CDN-Loop", name)...)
	h = append(h, x.origin(o.forwarded)...)
	b, err := http1.AppendRequestHead(make([]byte, 0, 1024), []byte(x.Method), []byte(x.Target), []byte(host), h)
	if err != nil {
		return nil, &Error{Cause: Unsendable, Origin: o.server.address, Err: err}
	}
	switch {
	case x.Body == nil:
	case x.Length < 0:
		b = http1.AppendField(b, "Transfer-Encoding", "chunked")
	default:
		b = http1.AppendInt(b, "Content-Length", x.Length)
	}
	if x.Body == nil && (x.Method == "POST" || x.Method == "PUT" || x.Method == "PATCH") {
		b = http1.AppendInt(b, "Content-Length", 0)
	}
	return append(b, "\r\n"...), nil
}

// origin returns the fields that say where the request came from.
func (x *Exchange) origin(forwarded bool) (h fields.Header) {
	if x.Client != "" {
		h = append(h, fields.Of("X-Forwarded-For", x.Client)...)
	}
	if x.Scheme != "" {
		h = append(h, fields.Of("X-Forwarded-Proto", x.Scheme, "X-Forwarded-Host", x.Host)...)
	}
	if forwarded && x.Client != "" && x.Scheme != "" { // RFC 7239
		node := x.Client
		if strings.Contains(node, ":") {
			node = `"[` + node + `]"`
		}
		h = append(h, fields.Of("Forwarded", "for="+node+`;host="`+x.Host+`";proto=`+x.Scheme)...)
	}
	return h
}

// sendBody copies the client's body to the origin.
func sendBody(c *conn, x *Exchange) error {
	const piece = 16 << 10 // bytes
	const room = 16        // for the line of a chunk
	buf := make([]byte, room+piece+2)
	for {
		n, err := x.Body.Read(buf[room : room+piece])
		if n > 0 {
			out := buf[room : room+n]
			if x.Length < 0 {
				line := append(strconv.AppendUint(make([]byte, 0, room), uint64(n), 16), "\r\n"...)
				copy(buf[room-len(line):], line)
				copy(buf[room+n:], "\r\n")
				out = buf[room-len(line) : room+n+2]
			}
			if _, err := c.Write(out); err != nil {
				return err
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return &Error{Cause: ClientGone, Origin: c.server.address, Err: err}
		}
	}
	if x.Length < 0 {
		_, err := c.Write([]byte(http1.LastChunk))
		return err
	}
	return nil
}
