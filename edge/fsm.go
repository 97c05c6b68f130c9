package edge

import (
	"bytes"
	"errors"
	"time"

	"perto/edge/cache"
	"perto/edge/fetch"
	"perto/edge/http1"
	"perto/edge/rfc9111"
	"perto/internal/fields"
)

// request is one request that passes through the states drawn in docs/request.md.
type request struct {
	c       *conn
	e       *Edge
	q       http1.Request
	scratch []byte // backs authority and key
	progress
}

// progress is the state of one request. It is cleared before the next request.
type progress struct {
	now       time.Time // when the head was complete
	route     *route
	authority []byte        // the requested host, in the form that is forwarded
	key       []byte        // of the cache; the target in normal form follows its last zero byte
	stale     *cache.Object // fits the request, but must be validated
	near      *cache.Object // another variant

	// For functions.
	fn       *Function
	response *FunctionResponse
	fnTime   time.Duration // of the function, without its calls of next
	nextTime time.Duration // of its calls of next
	inner    bool          // a function made this request by calling next
	body     []byte        // of an inner request

	// The reply is one of object, reply and response. Without them synth makes it.
	object *cache.Object
	reader *cache.Reader // follows the object's body while it fills
	reply  *fetch.Reply
	own    fields.Header // fields for this client only, which the object lacks
	status int

	// For Cache-Status, Server-Timing, metrics and the log.
	outcome      Outcome
	forward      Forward
	detail       string
	originStatus int           // 0 without a request to the origin
	originTime   time.Duration // to the head of the origin's reply
	stored       bool
	collapsed    bool
	sent         int64 // bytes

	closing bool // the connection ends after this reply
	unread  bool // the request's body was not read to its end
	gone    bool // the client accepts no more bytes
}

// state is a step in the life of a request. Each state has a method that does its work
// and returns the next state.
type state uint8

const (
	stRoute state = iota
	stKey
	stFunction
	stLookup
	stHit
	stMiss
	stPass
	stDeliver
	stSynth
	stDone
)

func (r *request) begin(now time.Time) {
	r.scratch = r.scratch[:0]
	r.progress = progress{now: now}
}

// run takes the request through its states.
func (r *request) run() {
	if r.follow(r.recv()) == stDeliver {
		r.deliver()
	} else {
		r.synth()
	}
}

// follow takes the request from state s to the state that sends the reply: stDeliver or
// stSynth.
func (r *request) follow(s state) state {
	for s != stDeliver && s != stSynth {
		switch s {
		case stRoute:
			s = r.findRoute()
		case stKey:
			s = r.makeKey()
		case stFunction:
			s = r.function()
		case stLookup:
			s = r.lookup()
		case stHit:
			s = r.hit()
		case stMiss:
			s = r.miss()
		case stPass:
			s = r.pass()
		default:
			panic("edge: no way leads on from this state")
		}
	}
	return s
}

// release closes the reader and the reply of the origin.
func (r *request) release() {
	if r.reader != nil {
		r.reader.Close()
	}
	if r.reply != nil {
		r.reply.Close()
	}
}

// end counts the request and returns the current time.
func (r *request) end() time.Time {
	r.release()
	now := time.Now()
	took := now.Sub(r.now)
	r.e.m.requests[r.outcome].Inc()
	counts := &r.e.m.unrouted
	if r.route != nil {
		counts = r.route.counts
	}
	counts.count(r.status)
	r.e.m.seconds.Observe(took)
	r.e.m.sent.Add(uint64(r.sent))
	r.e.load.sent.Add(uint64(r.sent))
	r.e.log.add(r, took)
	return now
}

// fail selects a reply of the edge itself.
func (r *request) fail(status int, o Outcome, detail string) state {
	r.status, r.outcome, r.detail = status, o, detail
	return stSynth
}

// HealthPath is the path of the edge's health check, on every host. The edge replies
// with 200 while it serves and with 503 while it drains.
const HealthPath = "/.perto/health"

// ModulePath is the prefix of the paths of function modules, followed by a digest, on
// every host. Clients and other nodes load modules from it (code on demand).
const ModulePath = "/.perto/modules/"

// recv handles the parts of a request that concern the connection or the whole edge.
func (r *request) recv() state {
	r.closing = !r.q.KeepAlive || r.e.draining.Load()
	// The connection can carry another request only after the body was read to its
	// end. appendStory checks this for every reply. Programs interpret a GET with a body
	// differently. The edge replies without reading the body and closes the connection,
	// so the end of the body does not matter.
	r.unread = r.q.ContentLength != 0
	if string(r.q.Target) == HealthPath {
		if r.e.draining.Load() {
			return r.fail(503, Local, "draining")
		}
		return r.fail(200, Local, "ok")
	}
	if digest, ok := bytes.CutPrefix(r.q.Target, []byte(ModulePath)); ok && r.e.cfg.Module != nil && r.readsOnly() {
		return r.module(string(digest))
	}
	if r.q.Known&http1.HasCDNLoop != 0 && fetch.Looped(r.q.Header, r.e.name) {
		return r.fail(508, Refused, "loop")
	}
	if r.q.Known&http1.HasUpgrade != 0 && r.asksWebSocket() {
		return r.fail(501, Refused, "this edge has no tunnels for WebSocket yet")
	}
	return stRoute
}

// asksWebSocket reports whether the request opens a WebSocket (RFC 6455, section 4.1).
// The edge refuses it instead of ignoring Upgrade (docs/rationale.md). Other protocols in
// Upgrade are ignored.
func (r *request) asksWebSocket() bool {
	return r.readsOnly() && r.q.Minor == 1 && r.q.Header.Contains("upgrade", "websocket") && r.q.Header.Contains("connection", "upgrade")
}

// readsOnly reports whether the method is GET or HEAD.
func (r *request) readsOnly() bool {
	return string(r.q.Method) == "GET" || string(r.q.Method) == "HEAD"
}

func (r *request) isHEAD() bool { return string(r.q.Method) == "HEAD" }

// findRoute finds the site.
func (r *request) findRoute() state {
	// The scratch buffer holds the authority and then the key. The key has a service name,
	// a host, zero bytes and the target. The normal form of a target is at most three
	// times as long.
	if need := 2*len(r.q.Host) + 3*len(r.q.Target) + 512; cap(r.scratch) < need {
		r.scratch = make([]byte, 0, 2*need)
	}
	var name []byte
	r.authority, name = appendAuthority(r.scratch, r.q.Host)
	t := r.e.sites.Load()
	if r.route = t.find(name); r.route == nil {
		r.hostUnknown(t, name)
		return r.fail(421, Refused, "unknown host")
	}
	return stKey
}

// makeKey makes the cache key, with the target in normal form.
func (r *request) makeKey() state {
	key, ok := r.route.appendKey(r.authority[len(r.authority):], r.authority, r.q.Target)
	if !ok {
		r.closing = true
		return r.fail(400, Refused, "malformed request target")
	}
	r.key = key
	if len(r.route.site.Functions) > 0 && !r.inner {
		if r.fn = r.route.site.function(r.target(), ClientPhase); r.fn != nil {
			return stFunction
		}
	}
	return stLookup
}

// target returns the normal form of the request target.
func (r *request) target() []byte {
	return r.key[bytes.LastIndexByte(r.key, 0)+1:]
}

// lookup looks for a stored object and decides whether it may be used.
func (r *request) lookup() state {
	if !r.readsOnly() {
		r.forward = ForwardMethod
		return stPass
	}
	if r.q.Known&(http1.HasIfMatch|http1.HasIfUnmodifiedSince) != 0 {
		r.forward = ForwardBypass // only the origin has the current state
		return stPass
	}
	var d rfc9111.Directives
	if r.q.Known&http1.HasCacheControl != 0 {
		d = rfc9111.ParseDirectives(r.q.Header)
	}
	o, near := r.e.cache.Lookup(r.key, r.q.Header)
	r.near = near
	if o != nil && r.q.Known&http1.HasAuthorization != 0 && rfc9111.Denies(o.Status) {
		r.near, r.forward, r.detail = o, ForwardRequest, rfc9111.Authorized.String()
	} else if o != nil {
		r.near = o
		switch o.Policy.EvaluateFor(r.now, &d) {
		case rfc9111.Fresh:
			r.object, r.outcome = o, Hit
			return stHit
		case rfc9111.Revalidating:
			r.object, r.outcome, r.detail = o, HitStale, "stale-while-revalidate"
			r.refresh()
			return stHit
		case rfc9111.StaleForError, rfc9111.MustValidate: // the origin decides
		}
		r.stale, r.forward = o, ForwardStale
		if o.Policy.TTL(r.now) > 0 && o.Policy.Flags&rfc9111.NoCache == 0 {
			r.forward = ForwardRequest
		}
	} else if near != nil {
		r.forward = ForwardVaryMiss
	} else {
		r.forward = ForwardURIMiss
	}
	switch {
	case d.Has(rfc9111.OnlyIfCached):
		return r.fail(504, Failed, "only-if-cached") // RFC 9111, section 5.2.1.7
	case r.isHEAD():
		return stPass // its reply has nothing to store
	}
	return stMiss
}

// hit replies with a stored object. deliver then chooses between the whole object, a
// part of it and 304.
func (r *request) hit() state {
	r.status = r.object.Status
	return stDeliver
}

// want describes the object that the cache lacks.
func (r *request) want() *fetch.Want {
	// The reply is the variant for the fields that the origin receives. A field that is
	// not forwarded does not select, for example one that Connection names.
	asked := fetch.Forwarded(r.q.Header, true)
	return &fetch.Want{
		Upstream: r.route.upstream,
		Key:      string(r.key),
		Request:  rfc9111.Request{Method: "GET", Header: asked},
		Exchange: fetch.Exchange{Method: "GET", Target: string(r.target()), Host: string(r.authority),
			Header: asked, Via: r.protocol(), Client: r.c.address(), Scheme: scheme, Shared: true,
			Wrap: r.originFunction(), StripCookies: r.stripsCookies()},
		Stale:   r.stale,
		Near:    r.near,
		Compose: r.composer(),
	}
}

// miss fetches a reply for the cache, or waits for the request that fetches it.
func (r *request) miss() state {
	w := r.want()
	w.Exchange.Interim = r.interim
	w.Alone = r.q.Known&http1.HasCacheControl != 0 && r.q.Header.Contains("cache-control", "no-store")
	ranged := r.q.Known&http1.HasRange != 0
	if ranged {
		w.MostBytes = r.e.limits.Load().RangeFillBytes
		if r.stale == nil && (w.Alone || r.q.Known&http1.HasAuthorization != 0 || r.e.fetcher.PassesRanges(w)) {
			r.detail = "range"
			return stPass
		}
	}
	got, late, err := r.fetch(w)
	if late {
		r.e.reached(limitStaleAfter)
		r.object, r.outcome, r.detail = r.stale, StaleError, "origin-slow"
		return stHit
	}
	r.originStatus, r.originTime, r.collapsed, r.stored, r.own = got.Status, got.Took, got.Collapsed, got.Stored, got.Own
	if err != nil {
		s := r.failed(err)
		if r.mayUseStale() {
			r.object, r.outcome = r.stale, StaleError // failed has set the detail
			return stHit
		}
		return s
	}
	if got.Reply != nil {
		r.reply, r.outcome, r.detail = got.Reply, Passed, got.Why.String()
		r.noteUpgrade(r.reply.Status, r.reply.Header)
		if got.TooLarge {
			r.e.reached(limitObject)
			r.detail = "too-large"
		}
		if ranged && (got.Reply.Status == 200 || got.Reply.Status == 206) {
			return r.forwardRange() // the whole reply cannot be stored
		}
		return stDeliver
	}
	r.object, r.reader, r.status = got.Object, got.Reader, got.Object.Status
	r.noteUpgrade(r.object.Status, r.object.Header)
	if ranged && r.reader != nil && r.isFar() {
		r.detail = "range-ahead"
		return r.forwardRange()
	}
	switch {
	case got.Validated:
		r.outcome = Validated
	case got.Collapsed:
		r.outcome = Collapsed
	default:
		r.outcome = Miss
	}
	return stDeliver
}

// fetch fetches the object that w describes. late is true when the origin takes too
// long and the stale object must be sent instead.
func (r *request) fetch(w *fetch.Want) (got fetch.Got, late bool, err error) {
	if !r.mayUseStale() {
		got, err = r.e.fetcher.Fetch(r.e.base, w)
		return got, false, err
	}
	// The fetch may outlive the request. The header of the request is in the connection's
	// buffer.
	w.Request.Header = w.Request.Header.Clone()
	w.Exchange.Header, w.Exchange.Interim, w.Failed = w.Request.Header, nil, r.failedLater()
	return r.e.fetcher.FetchWithin(r.e.base, w, r.e.limits.Load().StaleAfter)
}

// mayUseStale reports whether the stale object may be sent when the origin fails.
func (r *request) mayUseStale() bool {
	return r.stale != nil && r.stale.Policy.Evaluate(time.Now()) != rfc9111.MustValidate
}

// refresh starts a fetch in the background for an object that is sent stale.
func (r *request) refresh() {
	r.stale = r.object
	w := r.want()
	r.stale = nil
	// The fetch outlives the request. The header of the request is in the connection's
	// buffer.
	w.Request.Header = w.Request.Header.Clone()
	w.Exchange.Header = w.Request.Header
	w.Stale, w.Failed = r.object, r.failedLater()
	r.e.fetcher.Refresh(r.e.base, w)
}

// scheme is the scheme of all requests, because the edge has no TLS yet. Stored replies
// have URLs with it (see fetch.Exchange), so a second scheme must be part of the cache
// key.
const scheme = "http"

// pass forwards this request to the origin, without the cache.
func (r *request) pass() state {
	x := &fetch.Exchange{Method: string(r.q.Method), Target: string(r.target()), Host: string(r.authority),
		Header: fetch.Forwarded(r.q.Header, false), Via: r.protocol(), Client: r.c.address(), Scheme: scheme, Interim: r.interim, Wrap: r.originFunction(),
		StripCookies: r.readsOnly() && r.stripsCookies()}
	var up *upload
	if len(r.body) > 0 { // a function has read the body
		x.Body, x.Length = bytes.NewReader(r.body), int64(len(r.body))
	} else if r.q.ContentLength != 0 && !r.readsOnly() {
		up = r.upload()
		x.Body, x.Length = up, r.q.ContentLength
	}
	reply, err := r.route.upstream.Do(r.e.base, x)
	if up != nil {
		r.unread = !up.body.Done()
	}
	if err != nil {
		if _, ok := errors.AsType[http1.Refusal](err); ok && up != nil && fetch.CauseOf(err) == fetch.ClientGone {
			return r.fail(400, Refused, "malformed body")
		}
		r.gone = fetch.CauseOf(err) == fetch.ClientGone && !r.inner
		return r.failed(err)
	}
	r.reply, r.outcome = reply, Passed
	r.originStatus, r.originTime = reply.Asked()
	r.noteUpgrade(reply.Status, reply.Header)
	if rfc9111.Invalidates(x.Method, reply.Status) {
		r.invalidate(reply)
	}
	return stDeliver
}

// invalidate removes the objects that an unsafe request changed (RFC 9111, section
// 4.4).
func (r *request) invalidate(reply *fetch.Reply) {
	r.e.fetcher.Invalidate(string(r.key))
	for _, target := range rfc9111.Targets(string(r.authority), string(r.target()), reply.Header) {
		if key, ok := r.route.appendKey(nil, r.authority, []byte(target)); ok {
			r.e.fetcher.Invalidate(string(key))
		}
	}
}
