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

// Phase is the place of a function relative to the cache.
type Phase uint8

// The phases.
const (
	// ClientPhase is before the cache. The function receives each request, and its
	// responses are not stored.
	ClientPhase Phase = iota
	// OriginPhase is behind the cache. The function receives the requests to the origin,
	// and its responses are stored like replies of the origin.
	OriginPhase
)

var phaseNames = [...]string{"client", "origin"}

// String returns the phase as the configuration writes it.
func (p Phase) String() string { return phaseNames[p] }

// Function is application code for some paths of a site. It makes the response itself,
// or calls the cache or the origin with next and may change request and response.
// Package functions has the runtime.
type Function struct {
	// Path is the path of the function. With "/*" at its end it includes all paths below.
	// The most specific path counts (see [Closer]).
	Path  string
	Phase Phase
	// Version changes with the responses of the function. Objects that another version
	// made are removed.
	Version string
	// Handle makes the response to q. next returns the response without the function:
	// from the cache, or from the origin. Clients receive the status and the detail of
	// errors of type *FunctionError.
	Handle func(ctx context.Context, q *FunctionRequest, next func(*FunctionRequest) (*FunctionResponse, error)) (*FunctionResponse, error)

	normal string // Path in the normal form of targets
}

// FunctionRequest is a request to a function. Its fields may be views into memory that
// is valid as long as the client's request.
type FunctionRequest struct {
	Method   string
	URI      string // path and query
	Protocol string // "HTTP/1.1"
	Source   netip.AddrPort
	Header   fields.Header
	Body     []byte
	Trailer  fields.Header // always empty, and never forwarded
}

// FunctionResponse is the response of a function or of next. A body from next may be
// memory of the cache and must not be changed.
type FunctionResponse struct {
	Status  int
	Header  fields.Header
	Body    []byte
	Trailer fields.Header // always empty, and never forwarded
}

// check returns an error when the status is not that of a final response.
func (a *FunctionResponse) check() error {
	if a.Status < 200 || a.Status > 599 {
		return &FunctionError{Status: 500, Detail: "fn-bad-status", Err: fmt.Errorf("status %d is not between 200 and 599", a.Status)}
	}
	return nil
}

// FunctionError is the failure of a function.
type FunctionError struct {
	Status int    // for the client: 500, 502, 503 or 504
	Detail string // a token for Cache-Status: "fn-deadline"
	Err    error
}

// Error returns the detail and the cause.
func (e *FunctionError) Error() string { return fmt.Sprintf("%s: %v", e.Detail, e.Err) }

// Unwrap returns the cause.
func (e *FunctionError) Unwrap() error { return e.Err }

// passable returns an error when the request of a function makes no valid request line
// (RFC 9112, section 3), or when the edge would refuse it from a client.
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
		return &FunctionError{Status: 500, Detail: "fn-crash", Err: fmt.Errorf("the function sends %.100q %.100q, which is not a valid request", q.Method, q.URI)}
	}
	return nil
}

// function returns the function of a phase for a target in normal form, or nil.
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

// Matches reports whether a function's Path includes a path in normal form.
func Matches[T string | []byte](pattern string, path T) bool {
	if below, ok := strings.CutSuffix(pattern, "/*"); ok {
		return len(path) >= len(below) && string(path[:len(below)]) == below && (len(path) == len(below) || path[len(below)] == '/')
	}
	return string(path) == pattern
}

// Closer reports whether a is more specific than b, for two Paths that match the same
// path. A Path without "/*" is more specific. Otherwise the longer one is.
func Closer(a, b string) bool {
	exactA, exactB := !strings.HasSuffix(a, "/*"), !strings.HasSuffix(b, "/*")
	if exactA != exactB {
		return exactA
	}
	return len(a) > len(b)
}

// function runs the function of the client phase.
func (r *request) function() state {
	f := r.fn
	q, st := r.functionRequest()
	if q == nil {
		return st
	}
	began := time.Now()
	a, err := f.Handle(r.e.base, q, r.next)
	r.fnTime = time.Since(began) - r.nextTime
	if err == nil {
		err = a.check()
	}
	if err != nil {
		return r.failed(err)
	}
	r.response, r.status, r.outcome = a, a.Status, Computed
	return stDeliver
}

// failed selects the reply for an error of a function or a fetch.
func (r *request) failed(err error) state {
	if f, ok := errors.AsType[*FunctionError](err); ok {
		return r.fail(f.Status, Failed, f.Detail)
	}
	r.originFailed(err)
	cause := fetch.CauseOf(err)
	return r.fail(cause.Status(), Failed, cause.String())
}

// functionRequest makes the request to the function from the client's request. When it
// returns nil, the request goes on with the state.
func (r *request) functionRequest() (*FunctionRequest, state) {
	q := &FunctionRequest{Method: string(r.q.Method), URI: string(r.target()), Protocol: "HTTP/" + r.protocol(), Source: r.c.source(),
		Header: withHost(fetch.Forwarded(r.q.Header, false), r.authority)}
	if r.q.ContentLength == 0 || r.readsOnly() {
		return q, stDone
	}
	most := r.e.limits.Load().MaxFunctionRequestBytes
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

// next handles a request that a function passes on: it goes through the states from the
// key on, without the function. After several calls, Cache-Status describes the last
// one.
func (r *request) next(q *FunctionRequest) (*FunctionResponse, error) {
	if err := q.passable(); err != nil {
		return nil, err
	}
	began := time.Now()
	defer func() { r.nextTime += time.Since(began) }()
	in := &request{c: r.c, e: r.e, progress: progress{now: began, route: r.route, authority: slices.Clip(r.authority), inner: true}}
	in.q = http1.Request{Method: []byte(q.Method), Target: []byte(q.URI), Host: r.q.Host, Minor: r.q.Minor, ContentLength: int64(len(q.Body))}
	in.q.Header = q.Header // a fetch leaves out Host and lengths and writes its own
	if in.readsOnly() {
		in.q.ContentLength = 0
		// The function receives the whole response. The edge applies the client's ranges
		// and conditions afterwards.
		in.q.Header = fetch.Forwarded(in.q.Header, true)
	}
	in.q.Known, in.body = http1.KnownOf(in.q.Header), q.Body
	defer in.release()
	in.follow(stKey)
	r.forward, r.originStatus, r.originTime = in.forward, in.originStatus, in.originTime
	r.stored, r.collapsed, r.detail = in.stored, in.collapsed, in.detail
	return in.collect()
}

// collect makes a response from the reply or the object of a request.
func (r *request) collect() (*FunctionResponse, error) {
	switch {
	case r.reply != nil:
		a := responseOf(r.reply, r.isHEAD())
		if !r.hasBody(a.Status) {
			return a, nil
		}
		var err error
		a.Body, err = r.e.readResponse(r.reply)
		return a, err
	case r.object != nil:
		o := r.object
		a := &FunctionResponse{Status: o.Status, Header: o.Header}
		if age := int64(o.Policy.Age(r.now) / time.Second); age > 0 {
			a.Header = append(slices.Clip(a.Header), fields.Field{Name: []byte("Age"), Value: fmt.Append(nil, age)})
		}
		a.Header = append(slices.Clip(a.Header), r.own...)
		if n := o.Body.Length(); r.isHEAD() && n >= 0 {
			a.Header = append(slices.Clip(a.Header), fields.Field{Name: []byte("Content-Length"), Value: strconv.AppendInt(nil, n, 10)})
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
				if a.Body = append(a.Body, p...); err == nil && int64(len(a.Body)) > r.e.limits.Load().MaxFunctionResponseBytes {
					err = r.e.responseTooLarge()
				}
				if err != nil {
					return nil, err
				}
			}
		}
		chunks, size, _ := o.Body.Whole()
		if size > r.e.limits.Load().MaxFunctionResponseBytes {
			return nil, r.e.responseTooLarge()
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

// responseOf returns the head of a reply for a function. For HEAD it has the length of
// the body that a reply to GET would have.
func responseOf(p *fetch.Reply, head bool) *FunctionResponse {
	a := &FunctionResponse{Status: p.Status, Header: rfc9111.EndToEnd(p.Header, nil).Clone()}
	if v, ok := p.Header.Get("content-length"); head && ok {
		a.Header = append(a.Header, fields.Field{Name: []byte("Content-Length"), Value: bytes.Clone(v)})
	}
	return a
}

// lengthForHEAD returns the Content-Length of a response to HEAD. It is the length of
// the body if the function made one, and otherwise the length in the response's header.
func (a *FunctionResponse) lengthForHEAD() (int64, bool) {
	if len(a.Body) > 0 {
		return int64(len(a.Body)), true
	}
	v, ok := a.Header.Get("content-length")
	n, err := strconv.ParseUint(string(v), 10, 63)
	return int64(n), ok && err == nil
}

// synthHeader is the header of replies that the edge makes itself, for functions.
var synthHeader = fields.Header{{Name: []byte("Cache-Control"), Value: []byte("no-store")}}

var errResponseTooLarge = &FunctionError{Status: 502, Detail: "fn-input-too-large", Err: errors.New("the response from next is too large for the function")}

func (e *Edge) responseTooLarge() error {
	e.reached(limitFunctionReply)
	return errResponseTooLarge
}

func (e *Edge) readResponse(r io.Reader) ([]byte, error) {
	most := e.limits.Load().MaxFunctionResponseBytes
	body, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(body)) > most {
		err = e.responseTooLarge()
	}
	return body, err
}

// originFunction returns the Wrap of an exchange for this request. It is nil when no
// function of the origin phase is for its path.
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
			return do(x) // an upload streams to the origin without the function
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
				return nil, &FunctionError{Status: 500, Detail: "fn-crash", Err: fmt.Errorf("the function requests %q, which has no safe meaning", q.URI)}
			}
			y.Wrap, y.Method, y.Target, y.Header = nil, q.Method, string(target), fetch.Forwarded(q.Header, false)
			reply, err := do(&y)
			if err != nil {
				return nil, err
			}
			defer reply.Close()
			origin = reply.Origin
			a := responseOf(reply, q.Method == "HEAD")
			a.Body, err = r.e.readResponse(reply)
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

// module replies with the module that has a digest.
func (r *request) module(digest string) state {
	wasm, ok := r.e.cfg.Module(digest)
	if !ok {
		return r.fail(404, Local, "no such module")
	}
	r.response = &FunctionResponse{Status: 200, Body: wasm, Header: moduleHeader}
	r.status, r.outcome = 200, Local
	return stDeliver
}

// moduleHeader lets caches keep a module, because the module of a digest never changes.
var moduleHeader = fields.Header{
	{Name: []byte("Content-Type"), Value: []byte("application/wasm")},
	{Name: []byte("Cache-Control"), Value: []byte("public, max-age=31536000, immutable")},
}

// deliverResponse sends the response of a function.
func (r *request) deliverResponse() error {
	a, c := r.response, r.c
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
