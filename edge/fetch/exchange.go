package fetch

import (
	"bytes"
	"cmp"
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
	Host   string        // the host of the client's request
	Header fields.Header // see [Forwarded]
	// Via is the HTTP version of the client's request ("1.1").
	Via string
	// Client is the address of the client, for X-Forwarded-For. When many clients wait
	// for one fetch, it is the address of the leader's client. When empty, the field is
	// not sent.
	Client string
	// Scheme is that of the client's request ("http"), for X-Forwarded-Proto.
	Scheme string
	// Shared is set when the reply may be stored and sent to other clients too.
	Shared bool
	// StripCookies removes the fields that set cookies from the reply.
	StripCookies bool

	Body   io.Reader // nil when there is none
	Length int64     // of the body in bytes, -1 to send it chunked
	// Interim is called within Do for each 1xx reply except 100. It may be nil.
	Interim func(status int, header fields.Header)
	// Wrap, if it is not nil, makes the reply instead of the upstream. It may call do to
	// get the upstream's reply, and must return the errors of do unchanged.
	Wrap func(ctx context.Context, x *Exchange, do func(*Exchange) (*Reply, error)) (*Reply, error)
}

// Reply is the reply of an origin. Its head is valid until Close. The caller must
// close it.
type Reply struct {
	http1.Response
	Origin      string        // that replied, "host:port"; empty when a function made the reply
	RequestTime time.Time     // when the request was sent
	ReplyTime   time.Time     // when the head was complete
	conn        *conn         // nil after Close
	kept        time.Duration // the timeout in the origin's Keep-Alive field; 0 without it
	body        io.Reader
	origin      rfc9111.Reply // the head as the caching rules see it
}

// NewReply returns a reply that was made without an upstream, from a status, fields
// and a whole body. The reply keeps header and body. asked is the time at which the
// work on it began.
func NewReply(status int, header fields.Header, body []byte, asked time.Time) *Reply {
	r := &Reply{Response: http1.Response{Status: status, Header: header, ContentLength: int64(len(body))}, RequestTime: asked, ReplyTime: time.Now(), body: bytes.NewReader(body)}
	r.origin = rfc9111.Reply{Status: status, Header: header, RequestTime: asked, ReplyTime: r.ReplyTime}
	return r
}

// Asked returns the status of the origin's reply and the time to its head. Both are
// zero when the reply came from a function and not from an origin.
func (r *Reply) Asked() (status int, took time.Duration) {
	if r.Origin == "" {
		return 0, 0
	}
	return r.Status, r.ReplyTime.Sub(r.RequestTime)
}

// Read reads the body. Its errors are io.EOF or of type *Error.
func (r *Reply) Read(p []byte) (int, error) {
	n, err := r.body.Read(p)
	return n, bodyError(r.Origin, err)
}

// here reports whether the whole body has arrived.
func (r *Reply) here() bool {
	return r.ContentLength >= 0 && (r.conn == nil || r.ContentLength <= int64(r.conn.reader.Buffered()))
}

// Close ends the exchange. The connection is kept for another exchange when the body
// was read to its end. Otherwise it is closed.
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

// maxInterim bounds the number of 1xx replies before the final reply.
const maxInterim = 16

// Do sends a request to the first origin that accepts it and returns the head of its
// reply. It tries another origin only when nothing was sent to the one before. Errors
// are of type *Error, except the own errors of the exchange's Wrap.
func (u *Upstream) Do(ctx context.Context, x *Exchange) (*Reply, error) {
	r, err := u.doWrapped(ctx, x)
	if err == nil && x.StripCookies {
		r.Header = rfc9111.StripCookies(r.Header)
		r.origin.Header = r.Header
	}
	return r, err
}

func (u *Upstream) doWrapped(ctx context.Context, x *Exchange) (*Reply, error) {
	if x.Wrap != nil {
		return x.Wrap(ctx, x, func(x *Exchange) (*Reply, error) { return u.do(ctx, x) })
	}
	return u.do(ctx, x)
}

func (u *Upstream) do(ctx context.Context, x *Exchange) (*Reply, error) {
	var last error
	anyWell := slices.ContainsFunc(u.origins, func(o member) bool { return o.server.well() })
	for i := range u.origins {
		o := &u.origins[i]
		// When no origin passes its health checks, the checks may be wrong. Then all
		// origins are tried.
		if anyWell && !o.server.well() {
			last = &Error{Cause: Broken, Origin: o.server.address, Err: last}
			continue
		}
		if !o.server.allowed(time.Now()) {
			last = &Error{Cause: Broken, Origin: o.server.address, Err: last}
			continue
		}
		r, sent, err := o.do(ctx, x)
		o.server.stats.count(ctx, r, err)
		if err == nil {
			return r, nil
		}
		if last = err; sent || ctx.Err() != nil {
			break
		}
	}
	return nil, last
}

// do tries one origin. sent is true when the origin may have received the request.
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
		// The origin may have closed an idle connection in the meantime, and then
		// sends no reply. A repeatable request is then sent again, on the next idle
		// connection or finally on a new one. Bytes that are no valid reply may be
		// the late rest of the reply before.
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
	c.wait = cmp.Or(o.reply, o.server.limits.Load().ReplyTimeout)
	_, err := c.Write(head)
	if err == nil && x.Body != nil {
		err = sendBody(c, x)
		if CauseOf(err) == ClientGone && err != nil {
			return nil, err
		}
	}
	// After a failed write the origin may still have sent the reason (413, 400).
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
			c.wait = 0
			o.mapURLs(x, r.Header)
			r.origin = rfc9111.Reply{Status: r.Status, Header: r.Header, RequestTime: r.RequestTime, ReplyTime: r.ReplyTime}
			return r, nil
		}
		if r.Status != 100 && x.Interim != nil {
			o.mapURLs(x, r.Header)
			x.Interim(r.Status, rfc9111.EndToEnd(rfc9111.StripCookies(r.Header), nil))
		}
	}
	return nil, &Error{Cause: BadReply, Origin: r.Origin, Err: errors.New("too many interim replies")}
}

// keepAliveTimeout reads "Keep-Alive: timeout=5", which many origins send with a
// reply. They close the connection after that many seconds without a request.
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

// head composes the request. It returns an error when the parts make no valid request.
func (o *member) head(x *Exchange) ([]byte, error) {
	host, name := x.Host, o.server.cfg.Name
	if o.host != "" {
		host = o.host
	}
	h := slices.Clip(x.Header)
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

// origin returns the fields with the client's address, scheme and host.
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
	const front = 16       // bytes in front of the piece, for the chunk's size line
	buf := make([]byte, front+piece+2)
	for {
		n, err := x.Body.Read(buf[front : front+piece])
		if n > 0 {
			out := buf[front : front+n]
			if x.Length < 0 {
				line := append(strconv.AppendUint(make([]byte, 0, front), uint64(n), 16), "\r\n"...)
				copy(buf[front-len(line):], line)
				copy(buf[front+n:], "\r\n")
				out = buf[front-len(line) : front+n+2]
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
