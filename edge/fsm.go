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

// request is one request on its way through the states. docs/request.md has the
// drawing.
type request struct {
	c       *conn
	e       *Edge
	q       http1.Request
	scratch []byte // backs authority and key
	progress
}

// progress is set on the way of a request, and cleared before the next one.
type progress struct {
	now       time.Time // when the head was there
	route     *route    //
	authority []byte    // the host asked for, in the form that is forwarded
	key       []byte    // of the cache; the target in normal form follows its last zero byte
	stale     *cache.Object
	near      *cache.Object // a variant for somebody else

	// With functions: who answers, what, and how long that took.
	fn         *Function
	answer     *FunctionResponse
	fnTime     time.Duration // its own
	beyondTime time.Duration // of what it let pass
	inner      bool          // this request is what a function lets pass
	body       []byte        // then: of the request

	// The answer: one of object, reply, answer and nothing (synth).
	object *cache.Object
	reader *cache.Reader // follows the object's body while it fills
	reply  *fetch.Reply
	own    fields.Header // fields that belong to this client and not to the object
	status int

	// What is told about it.
	outcome      Outcome
	forward      Forward
	detail       string
	originStatus int           // 0: the origin was not asked
	originTime   time.Duration // to its head
	stored       bool
	collapsed    bool
	sent         int64 // bytes

	closing bool // the connection ends after this reply
	unread  bool // bytes of the request may still come
	gone    bool // the client does not take any more
}

// state is where a request is. Each state has a method, which does its work and
// returns the next one.
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
	switch s := r.follow(r.recv()); s {
	case stDeliver:
		r.deliver()
	case stSynth:
		r.synth()
	}
}

// follow takes the request from a state to the one that answers.
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
		}
	}
	return s
}

// release gives back what the answer holds.
func (r *request) release() {
	if r.reader != nil {
		r.reader.Close()
	}
	if r.reply != nil {
		r.reply.Close()
	}
}

// end counts the request and returns when that was.
func (r *request) end() time.Time {
	r.release()
	now := time.Now()
	took := now.Sub(r.now)
	r.e.m.requests[r.outcome].Inc()
	r.e.m.seconds.Observe(took)
	r.e.m.sent.Add(uint64(r.sent))
	r.e.load.sent.Add(uint64(r.sent))
	r.e.log.add(r, took)
	return now
}

// fail turns to an answer of the edge itself.
func (r *request) fail(status int, o Outcome, detail string) state {
	r.status, r.outcome, r.detail = status, o, detail
	return stSynth
}

// HealthPath is answered by the edge itself on every host: 200 while it serves,
// 503 once it drains.
const HealthPath = "/.perto/health"

// ModulePath is where functions' modules are, by digest, on every host: code on
// demand for whoever is asked to run it.
const ModulePath = "/.perto/modules/"

// recv looks at what concerns the connection and the edge as a whole.
func (r *request) recv() state {
	r.closing = !r.q.KeepAlive || r.e.draining.Load()
	// Until somebody has read the body to its end the connection cannot go on
	// behind it; whatever state answers, appendStory looks at that. A GET with a
	// body means different things to different programs: it is answered without
	// the body, which nobody needs to agree about when the connection ends here.
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
	return stRoute
}

// readsOnly tells whether the method is GET or HEAD.
func (r *request) readsOnly() bool {
	return string(r.q.Method) == "GET" || string(r.q.Method) == "HEAD"
}

func (r *request) isHEAD() bool { return string(r.q.Method) == "HEAD" }

// findRoute finds the site.
func (r *request) findRoute() state {
	// Room for the authority and the key behind it: at most a service name, a host,
	// zero bytes and the target, which normalising makes three times as long at most.
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

// makeKey puts the target into its one form.
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

// lookup asks the cache and the rules.
func (r *request) lookup() state {
	if !r.readsOnly() {
		r.forward = ForwardMethod
		return stPass
	}
	if r.q.Known&(http1.HasIfMatch|http1.HasIfUnmodifiedSince) != 0 {
		r.forward = ForwardBypass // only the origin knows the present state
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

// hit chooses between the whole object, a part of it and the news that the
// client has it already.
func (r *request) hit() state {
	r.status = r.object.Status
	return stDeliver
}

// want describes the object that the cache lacks.
func (r *request) want() *fetch.Want {
	// The variant that comes is the one for the fields that the origin saw. A field
	// that does not reach it, for example one that Connection names, selects nothing.
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

// miss fetches for the cache, or waits for whoever does.
func (r *request) miss() state {
	w := r.want()
	w.Exchange.Interim = r.interim
	w.Alone = r.q.Known&http1.HasCacheControl != 0 && r.q.Header.Contains("cache-control", "no-store")
	ranged := r.q.Known&http1.HasRange != 0
	if ranged {
		w.MostBytes = r.e.cfg.RangeFillBytes
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
		if r.staleWillDo() {
			r.object, r.outcome = r.stale, StaleError // the detail says why
			return stHit
		}
		return s
	}
	if got.Reply != nil {
		r.reply, r.outcome, r.detail = got.Reply, Passed, got.Why.String()
		if got.TooLarge {
			r.e.reached(limitObject)
			r.detail = "too-large"
		}
		if ranged && (got.Reply.Status == 200 || got.Reply.Status == 206) {
			return r.forwardRange() // the whole is not worth a part that only one client gets
		}
		return stDeliver
	}
	r.object, r.reader, r.status = got.Object, got.Reader, got.Object.Status
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

// fetch gets what is wanted; late is true when the stale object is to be given
// instead, since the origin takes long.
func (r *request) fetch(w *fetch.Want) (got fetch.Got, late bool, err error) {
	if !r.staleWillDo() {
		got, err = r.e.fetcher.Fetch(r.e.base, w)
		return got, false, err
	}
	// The fetch may outlive the request, whose header is in the connection's buffer.
	w.Request.Header = w.Request.Header.Clone()
	w.Exchange.Header, w.Exchange.Interim, w.Failed = w.Request.Header, nil, r.failedLater()
	return r.e.fetcher.FetchWithin(r.e.base, w, r.e.cfg.StaleAfter)
}

// staleWillDo tells whether the stale object may answer when the origin does not.
func (r *request) staleWillDo() bool {
	return r.stale != nil && r.stale.Policy.Evaluate(time.Now()) != rfc9111.MustValidate
}

// refresh fetches in the background what the client gets stale.
func (r *request) refresh() {
	r.stale = r.object
	w := r.want()
	r.stale = nil
	// The fetch outlives the request, whose header is in the connection's buffer.
	w.Request.Header = w.Request.Header.Clone()
	w.Exchange.Header = w.Request.Header
	w.Stale, w.Failed = r.object, r.failedLater()
	r.e.fetcher.Refresh(r.e.base, w)
}

// scheme is that of all requests: the edge has no TLS yet.
const scheme = "http"

// pass lets the origin answer this one request.
func (r *request) pass() state {
	x := &fetch.Exchange{Method: string(r.q.Method), Target: string(r.target()), Host: string(r.authority),
		Header: fetch.Forwarded(r.q.Header, false), Via: r.protocol(), Client: r.c.address(), Scheme: scheme, Interim: r.interim, Wrap: r.originFunction(),
		StripCookies: r.readsOnly() && r.stripsCookies()}
	var up *upload
	if len(r.body) > 0 { // a function has read it
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
	if rfc9111.Invalidates(x.Method, reply.Status) {
		r.invalidate(reply)
	}
	return stDeliver
}

// invalidate forgets what an unsafe request changed (RFC 9111, section 4.4).
func (r *request) invalidate(reply *fetch.Reply) {
	r.e.fetcher.Invalidate(string(r.key))
	for _, target := range rfc9111.Targets(string(r.authority), string(r.target()), reply.Header) {
		if key, ok := r.route.appendKey(nil, r.authority, []byte(target)); ok {
			r.e.fetcher.Invalidate(string(key))
		}
	}
}
