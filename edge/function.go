package edge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"perto/edge/fetch"
	"perto/edge/http1"
	"perto/edge/rfc9111"
	"perto/internal/fields"
)

// Phase is where a function stands on a request's way.
type Phase uint8

// The phases.
const (
	// ClientPhase: before the cache. It sees each request, and each answer on its
	// way to the client; what it makes of them is not stored.
	ClientPhase Phase = iota
	// OriginPhase: behind the cache. It sees what goes to the origin and what comes
	// back; what it makes of that is stored as the origin's reply would be.
	OriginPhase
)

var phaseNames = [...]string{"client", "origin"}

// String returns the phase as the configuration writes it.
func (p Phase) String() string { return phaseNames[p] }

// Function is application code that answers for some paths of a site, or stands
// before what answers there. Package functions has the runtime.
type Function struct {
	// Path is the path that it answers for; with "/*" at its end also everything
	// below. The most specific one counts (see [Closer]).
	Path  string
	Phase Phase
	// Version changes when what it makes of requests does: what was stored through
	// another version is forgotten.
	Version string
	// Handle answers. next goes on as if the function were not there: to the cache,
	// or to the origin. Errors of type *FunctionError are told to the client.
	Handle func(ctx context.Context, q *FunctionRequest, next func(*FunctionRequest) (*FunctionResponse, error)) (*FunctionResponse, error)

	normal string // Path as it stands in a target in normal form
}

// FunctionRequest is a request as functions see it. Fields may be views into memory that lives
// as long as the request.
type FunctionRequest struct {
	Method   string
	URI      string // path and query
	Protocol string // "HTTP/1.1"
	Source   netip.AddrPort
	Header   fields.Header
	Body     []byte
	Trailer  fields.Header // none comes, and none goes on
}

// FunctionResponse is a function's answer, or what it gets from the next one. Bodies that it
// gets may be the cache's own: nobody writes to them.
type FunctionResponse struct {
	Status  int
	Header  fields.Header
	Body    []byte
	Trailer fields.Header // none comes, and none goes on
}

// check returns an error when the status is not that of a final reply.
func (a *FunctionResponse) check() error {
	if a.Status < 200 || a.Status > 599 {
		return &FunctionError{Status: 500, Detail: "fn-bad-status", Err: fmt.Errorf("status %d is not between 200 and 599", a.Status)}
	}
	return nil
}

// FunctionError is a function that failed.
type FunctionError struct {
	Status int    // for the client: 500, 503 or 504
	Detail string // a token for Cache-Status: "fn-deadline"
	Err    error
}

// Error returns what went wrong.
func (e *FunctionError) Error() string { return fmt.Sprintf("%s: %v", e.Detail, e.Err) }

// Unwrap returns the cause.
func (e *FunctionError) Unwrap() error { return e.Err }

// passable returns an error for a request that a function lets pass and that is no
// request line (RFC 9112, section 3), or one that the edge refuses from clients too.
func (q *FunctionRequest) passable() error {
	token := len(q.Method) > 0 && q.Method != "CONNECT" && q.Method != "TRACE"
	for i := range len(q.Method) {
		c := q.Method[i]
		token = token && c > ' ' && c < 0x7f && strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) < 0
	}
	target := strings.HasPrefix(q.URI, "/") || q.URI == "*" && q.Method == "OPTIONS"
	for i := range len(q.URI) {
		target = target && q.URI[i] > ' ' && q.URI[i] < 0x7f
	}
	if !token || !target {
		return &FunctionError{Status: 500, Detail: "fn-crash", Err: fmt.Errorf("the function asks for %.100q %.100q, which is no request", q.Method, q.URI)}
	}
	return nil
}

// function returns the function of a phase that a target in normal form belongs to,
// or nil.
func (s *Site) function(target []byte, phase Phase) *Function {
	path, _, _ := bytes.Cut(target, []byte("?"))
	var found *Function
	for i := range s.Functions {
		f := &s.Functions[i]
		if f.Phase == phase && Matches(f.normal, path) && (found == nil || Closer(f.normal, found.normal)) {
			found = f
		}
	}
	return found
}

// Matches tells whether a function's Path is for a path in normal form.
func Matches[T string | []byte](pattern string, path T) bool {
	if below, ok := strings.CutSuffix(pattern, "/*"); ok {
		return len(path) >= len(below) && string(path[:len(below)]) == below && (len(path) == len(below) || path[len(below)] == '/')
	}
	return string(path) == pattern
}

// Closer tells whether of two Paths that match a path a is the more specific one: that
// without "/*", else the longer.
func Closer(a, b string) bool {
	exactA, exactB := !strings.HasSuffix(a, "/*"), !strings.HasSuffix(b, "/*")
	if exactA != exactB {
		return exactA
	}
	return len(a) > len(b)
}

// function lets code answer.
func (r *request) function() state {
	f := r.fn
	q, st := r.ask()
	if q == nil {
		return st
	}
	began := time.Now()
	a, err := f.Handle(r.e.base, q, r.beyond)
	r.fnTime = time.Since(began) - r.beyondTime
	if err == nil {
		err = a.check()
	}
	if err != nil {
		return r.failed(err)
	}
	r.answer, r.status, r.outcome = a, a.Status, Computed
	return stDeliver
}

// failed turns to the answer for an error of a function or a fetch.
func (r *request) failed(err error) state {
	if f, ok := errors.AsType[*FunctionError](err); ok {
		return r.fail(f.Status, Failed, f.Detail)
	}
	r.originFailed(err)
	cause := fetch.CauseOf(err)
	return r.fail(cause.Status(), Failed, cause.String())
}

// ask makes what a function sees of the client's request; without one, the state
// says what becomes of the request.
func (r *request) ask() (*FunctionRequest, state) {
	q := &FunctionRequest{Method: string(r.q.Method), URI: string(r.target()), Protocol: "HTTP/" + r.protocol(), Source: r.c.source(),
		Header: withHost(fetch.Forwarded(r.q.Header, false), r.authority)}
	if r.q.ContentLength == 0 || r.readsOnly() {
		return q, stDone
	}
	most := r.e.cfg.MaxFunctionRequestBytes
	if r.q.ContentLength > most {
		r.e.reached(limitFunctionRequest)
		return nil, r.fail(413, Refused, "body too large for a function")
	}
	up := r.upload()
	body, err := io.ReadAll(io.LimitReader(up, most+1))
	r.unread = !up.body.Done()
	switch {
	case int64(len(body)) > most:
		r.e.reached(limitFunctionRequest)
		return nil, r.fail(413, Refused, "body too large for a function")
	case err != nil:
		_, malformed := errors.AsType[http1.Refusal](err)
		r.gone = !malformed
		return nil, r.fail(400, Refused, "malformed body")
	}
	q.Body = body
	return q, stDone
}

func withHost(h fields.Header, authority []byte) fields.Header {
	return append(h, fields.Field{Name: []byte("Host"), Value: authority})
}

// beyond answers what a function lets pass: the request goes on to the cache and
// the origin without it. What the client is told of that way is the way of the last
// one.
func (r *request) beyond(q *FunctionRequest) (*FunctionResponse, error) {
	if err := q.passable(); err != nil {
		return nil, err
	}
	began := time.Now()
	defer func() { r.beyondTime += time.Since(began) }()
	in := &request{c: r.c, e: r.e, progress: progress{now: began, route: r.route, authority: slices.Clip(r.authority), inner: true}}
	in.q = http1.Request{Method: []byte(q.Method), Target: []byte(q.URI), Host: r.q.Host, Minor: r.q.Minor, ContentLength: int64(len(q.Body))}
	in.q.Header = q.Header // a fetch omits the fields that it makes itself: Host, lengths
	if in.readsOnly() {
		in.q.ContentLength = 0
		// The function gets all of an answer: parts and "you have it" are between the
		// client and us.
		in.q.Header = fetch.Forwarded(in.q.Header, true)
	}
	in.q.Known, in.body = http1.KnownOf(in.q.Header), q.Body
	defer in.release()
	in.follow(stKey)
	r.forward, r.originStatus, r.originTime = in.forward, in.originStatus, in.originTime
	r.stored, r.collapsed, r.detail = in.stored, in.collapsed, in.detail
	return in.collect()
}

// collect makes an answer of what a request has found.
func (r *request) collect() (*FunctionResponse, error) {
	switch {
	case r.reply != nil:
		a := answerOf(r.reply, r.isHEAD())
		if !r.hasBody(a.Status) {
			return a, nil
		}
		var err error
		a.Body, err = r.e.readAnswer(r.reply)
		return a, err
	case r.object != nil:
		o := r.object
		a := &FunctionResponse{Status: o.Status, Header: o.Header}
		if age := int64(o.Policy.Age(r.now) / time.Second); age > 0 {
			a.Header = append(a.Header[:len(a.Header):len(a.Header)], fields.Field{Name: []byte("Age"), Value: fmt.Append(nil, age)})
		}
		a.Header = append(a.Header[:len(a.Header):len(a.Header)], r.own...)
		if n := o.Body.Length(); r.isHEAD() && n >= 0 {
			a.Header = append(a.Header[:len(a.Header):len(a.Header)], fields.Field{Name: []byte("Content-Length"), Value: strconv.AppendInt(nil, n, 10)})
		}
		if !r.hasBody(a.Status) {
			return a, nil
		}
		if r.reader != nil {
			for {
				p, err := r.reader.Next()
				if err == io.EOF {
					return a, nil
				}
				if a.Body = append(a.Body, p...); err == nil && int64(len(a.Body)) > r.e.cfg.MaxFunctionResponseBytes {
					err = r.e.answerTooLarge()
				}
				if err != nil {
					return nil, err
				}
			}
		}
		chunks, size, _ := o.Body.Whole()
		if size > r.e.cfg.MaxFunctionResponseBytes {
			return nil, r.e.answerTooLarge()
		}
		if len(chunks) == 1 {
			a.Body = chunks[0]
			return a, nil
		}
		a.Body = bytes.Join(chunks, nil)
		return a, nil
	}
	return &FunctionResponse{Status: r.status, Header: synthHeader}, nil
}

// answerOf returns the head of a reply as a function gets it. That of a reply to HEAD
// has the length of the body that GET would have.
func answerOf(p *fetch.Reply, head bool) *FunctionResponse {
	a := &FunctionResponse{Status: p.Status, Header: rfc9111.EndToEnd(p.Header, nil).Clone()}
	if v, ok := p.Header.Get("content-length"); head && ok {
		a.Header = append(a.Header, fields.Field{Name: []byte("Content-Length"), Value: bytes.Clone(v)})
	}
	return a
}

// lengthForHEAD returns the Content-Length of an answer to HEAD: that of the body, if
// the function made one, or the one that the answer behind the function has.
func (a *FunctionResponse) lengthForHEAD() (int64, bool) {
	if len(a.Body) > 0 {
		return int64(len(a.Body)), true
	}
	v, ok := a.Header.Get("content-length")
	n, err := strconv.ParseUint(string(v), 10, 63)
	return int64(n), ok && err == nil
}

// synthHeader is that of what the edge says itself.
var synthHeader = fields.Header{{Name: []byte("Cache-Control"), Value: []byte("no-store")}}

var errAnswerTooLarge = &FunctionError{Status: 502, Detail: "fn-input-too-large", Err: errors.New("what the function lets pass is too large for it")}

func (e *Edge) answerTooLarge() error {
	e.reached(limitFunctionReply)
	return errAnswerTooLarge
}

func (e *Edge) readAnswer(r io.Reader) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, e.cfg.MaxFunctionResponseBytes+1))
	if err == nil && int64(len(body)) > e.cfg.MaxFunctionResponseBytes {
		err = e.answerTooLarge()
	}
	return body, err
}

// originFunction returns what stands before the upstream for this request, or nil.
func (r *request) originFunction() func(context.Context, *fetch.Exchange, func(*fetch.Exchange) (*fetch.Reply, error)) (*fetch.Reply, error) {
	if len(r.route.site.Functions) == 0 {
		return nil
	}
	f := r.route.site.function(r.target(), OriginPhase)
	if f == nil {
		return nil
	}
	return r.wrap(f)
}

// wrap returns the Wrap of an exchange that runs a function of the origin phase.
func (r *request) wrap(f *Function) func(context.Context, *fetch.Exchange, func(*fetch.Exchange) (*fetch.Reply, error)) (*fetch.Reply, error) {
	protocol := "HTTP/" + r.protocol()
	return func(ctx context.Context, x *fetch.Exchange, do func(*fetch.Exchange) (*fetch.Reply, error)) (*fetch.Reply, error) {
		if x.Body != nil {
			return do(x) // an upload streams through; what is made of its reply is the origin's affair
		}
		asked, source, origin := time.Now(), netip.AddrPort{}, ""
		if !x.Shared { // for this client only
			if a, err := netip.ParseAddr(x.Client); err == nil {
				source = netip.AddrPortFrom(a, 0)
			}
		}
		q := &FunctionRequest{Method: x.Method, URI: x.Target, Protocol: protocol, Source: source, Header: withHost(x.Header, []byte(x.Host))}
		a, err := f.Handle(ctx, q, func(q *FunctionRequest) (*FunctionResponse, error) {
			if err := q.passable(); err != nil {
				return nil, err
			}
			y := *x
			target, ok := fetch.AppendTarget(nil, []byte(q.URI))
			if !ok {
				return nil, &FunctionError{Status: 500, Detail: "fn-crash", Err: fmt.Errorf("it asks for %q, which has no safe meaning", q.URI)}
			}
			y.Wrap, y.Method, y.Target, y.Header = nil, q.Method, string(target), fetch.Forwarded(q.Header, false)
			reply, err := do(&y)
			if err != nil {
				return nil, err
			}
			defer reply.Close()
			origin = reply.Origin
			a := answerOf(reply, q.Method == "HEAD")
			a.Body, err = r.e.readAnswer(reply)
			return a, err
		})
		if err == nil {
			err = a.check()
		}
		if err != nil {
			return nil, err
		}
		if x.Method == "HEAD" {
			n, ok := a.lengthForHEAD()
			a.Header, a.Body = a.Header.Clone().Without([]byte("content-length")), nil
			if ok {
				a.Header = append(a.Header, fields.Field{Name: []byte("Content-Length"), Value: strconv.AppendInt(nil, n, 10)})
			}
		}
		reply := fetch.NewReply(a.Status, a.Header, a.Body, asked)
		reply.Origin = origin
		return reply, nil
	}
}

// module gives code to whoever pulls it.
func (r *request) module(digest string) state {
	wasm, ok := r.e.cfg.Module(digest)
	if !ok {
		return r.fail(404, Local, "no such module")
	}
	r.answer = &FunctionResponse{Status: 200, Body: wasm, Header: moduleHeader}
	r.status, r.outcome = 200, Local
	return stDeliver
}

// moduleHeader: what a digest stands for never changes.
var moduleHeader = fields.Header{
	{Name: []byte("Content-Type"), Value: []byte("application/wasm")},
	{Name: []byte("Cache-Control"), Value: []byte("public, max-age=31536000, immutable")},
}

// deliverAnswer sends what a function has answered.
func (r *request) deliverAnswer() error {
	a, c := r.answer, r.c
	if a.Status == 200 && r.readsOnly() && r.q.Known&(http1.HasIfNoneMatch|http1.HasIfModifiedSince) != 0 && rfc9111.NotModified(r.q.Header, a.Header, r.now) {
		r.status = 304
	}
	body := a.Body
	if r.status == 205 { // RFC 9110, section 15.3.6
		body = nil
	}
	c.out = http1.AppendStatusLine(c.out[:0], r.status, nil)
	for i, f := range a.Header {
		switch {
		case fields.Equal(f.Name, "content-length") || rfc9111.HopByHop(f.Name, a.Header):
		case fields.Equal(f.Name, "age"):
			c.out = http1.AppendSound(c.out, a.Header[i:i+1])
		default:
			c.out = appendReplyField(c.out, a.Header[i:i+1])
		}
	}
	if !a.Header.Has("date") {
		c.out = http1.AppendDate(c.out, "Date", r.now)
	}
	c.out = r.e.appendIdentity(c.out)
	switch {
	case r.status == 204 || r.status == 304:
	case r.isHEAD():
		if n, ok := a.lengthForHEAD(); ok {
			c.out = http1.AppendInt(c.out, "Content-Length", n)
		}
	default:
		c.out = http1.AppendInt(c.out, "Content-Length", int64(len(body)))
	}
	c.out = r.appendStory(c.out)
	if !r.hasBody(r.status) || len(body) == 0 {
		return c.write(c.out, time.Now())
	}
	if len(body) <= smallBody {
		c.out = append(c.out, body...)
		return c.write(c.out, time.Now())
	}
	return c.gather([][]byte{body}, time.Now())
}
