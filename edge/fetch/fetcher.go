package fetch

import (
	"context"
	"errors"
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"perto/edge/cache"
	"perto/edge/rfc9111"
	"perto/internal/fields"
)

// Fetcher fills a cache from upstreams. Concurrent requests for one key share one
// fetch (request coalescing).
type Fetcher struct {
	cache   *cache.Cache
	flights flights
	fills   sync.WaitGroup

	mu         sync.Mutex
	hitForMiss *simplelru.LRU[uint64, unshared]  // by hash of the key
	slow       *simplelru.LRU[uint64, time.Time] // end of the time in which a key is slow, by hash
	seed       maphash.Seed
}

const (
	// hitForMissFor is the time in which requests for a key do not wait for each other
	// after a reply that could not be shared. Waiting would only add the leader's time.
	hitForMissFor = 10 * time.Second
	// passRangesFor is the time in which range requests go to the origin after the
	// whole object was not storable or too long. They do not fetch the whole again.
	passRangesFor = 5 * time.Minute
	// maxHitForMiss bounds the lists of hit-for-miss and slow keys. The lists have
	// hashes, because keys can be long. Two keys with one hash cost at most a fetch.
	maxHitForMiss = 4096
)

// NewFetcher returns a fetcher for a cache.
func NewFetcher(c *cache.Cache) *Fetcher {
	hitForMiss, err := simplelru.NewLRU[uint64, unshared](maxHitForMiss, nil)
	slow, err2 := simplelru.NewLRU[uint64, time.Time](maxHitForMiss, nil)
	if err != nil || err2 != nil {
		panic(errors.Join(err, err2)) // only for a size below one
	}
	return &Fetcher{cache: c, flights: flights{running: make(map[string]*flight), alone: make(map[*flight]struct{})}, hitForMiss: hitForMiss, slow: slow, seed: maphash.MakeSeed()}
}

// Want describes a reply that a client needs and that the cache does not have.
type Want struct {
	Upstream *Upstream
	Key      string
	// Request is the client's request in memory that lives as long as the fetch.
	Request rfc9111.Request
	// Exchange is the request to the origin, without conditions.
	Exchange Exchange
	// Stale is the stored object that fits and must be validated. It may be nil.
	Stale *cache.Object
	// Near is any object under the key, or nil. Its selector has the fields that the
	// resource varies by.
	Near *cache.Object
	// Compose fills the fields of a new object that depend on the origin's fields.
	Compose func(*cache.Object)
	// Failed is called with the error of a fetch that no client waits for any more. It
	// may be nil. It must not use the memory of the request.
	Failed func(error)
	// Alone excludes the fetch from request coalescing.
	Alone bool
	// MostBytes is the maximum promised length of a reply that is stored, in bytes. 0
	// means no maximum. It is set for a client that wants a range only.
	MostBytes int64
}

// end closes the result of a fetch that no client waits for, and reports its error.
func (w *Want) end(got Got, err error) {
	got.Close()
	if err != nil && w.Failed != nil && !got.Collapsed {
		w.Failed(err)
	}
}

// Got is the result of a fetch. Exactly one of Object, Reply and the returned error is
// set.
type Got struct {
	Object    *cache.Object
	Reader    *cache.Reader  // follows the object's body while it fills, to be closed; nil when the body is whole
	Reply     *Reply         // a reply for this client only: the caller streams and closes it
	Why       rfc9111.Reason // why Reply is not stored
	Own       fields.Header  // fields for this client only, which the object lacks; they are copies
	TooLarge  bool           // Reply is not stored because of its size
	Collapsed bool           // another request fetched the object
	Validated bool           // the origin replied 304
	Stored    bool           // the object is or will be stored
	Status    int            // of the origin's reply; 0 without a request to the origin
	Took      time.Duration  // from the request to the head; 0 without a request to the origin
}

// Fetch fetches the reply that w describes. A follower waits for the head of the
// leader's reply, and follows its body if the reply may be shared. Followers return
// the error of their leader.
func (f *Fetcher) Fetch(ctx context.Context, w *Want) (Got, error) {
	near := w.Near
	for range 3 {
		id := flightID(w, near)
		if w.Alone || f.isHitForMiss(id) {
			break
		}
		fl, leads := f.flights.join(id, w.Key)
		if leads {
			return f.lead(ctx, w, fl, id)
		}
		o, again, err := fl.wait()
		if err != nil {
			return Got{Collapsed: true}, err
		}
		if o == nil && again {
			continue
		}
		if o == nil {
			break
		}
		if o.Selector.Match(w.Request.Header) && rfc9111.FitsCredentials(o.Status, w.Request.Header) {
			if got := (Got{Object: o, Collapsed: true}); o.Policy.Evaluate(time.Now()) == rfc9111.Fresh && got.follow() {
				return got, nil
			}
			break
		}
		near = o // another variant: its selector gives the flight for this request
	}
	return f.lead(ctx, w, f.flights.single(w.Key), "")
}

// FetchWithin is Fetch for a client that may receive a stale object. late is true when
// no reply came within patience. The fetch goes on in the background and fills the
// cache. Until a fetch succeeds, the key is slow: later calls for it return late at
// once, and at most one fetch runs for them. w must stay valid as long as the fetch.
func (f *Fetcher) FetchWithin(ctx context.Context, w *Want, patience time.Duration) (got Got, late bool, err error) {
	id := flightID(w, w.Near)
	if f.isSlow(id) {
		f.Refresh(ctx, w)
		return Got{}, true, nil
	}
	type result struct {
		got Got
		err error
	}
	done, gone := make(chan result), make(chan struct{})
	f.fills.Go(func() {
		got, err := f.Fetch(ctx, w)
		select {
		case done <- result{got, err}:
		case <-gone:
			w.end(got, err)
		}
	})
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case r := <-done:
		return r.got, false, r.err
	case <-t.C:
		close(gone)
		f.setSlow(id)
		return Got{}, true, nil
	}
}

// slowFor is the maximum time for which a key counts as slow.
const slowFor = 5 * time.Minute

func (f *Fetcher) isSlow(id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	until, ok := f.slow.Get(maphash.String(f.seed, id))
	return ok && time.Now().Before(until)
}

func (f *Fetcher) setSlow(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.slow.Add(maphash.String(f.seed, id), time.Now().Add(slowFor))
}

// clearSlow ends the slow state of a key after a reply came.
func (f *Fetcher) clearSlow(w *Want) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.slow.Len() > 0 {
		f.slow.Remove(maphash.String(f.seed, flightID(w, w.Near)))
	}
}

// follow opens a Reader if the object's body is still filling. ok is false when the
// first bytes of the body may be gone.
func (g *Got) follow() (ok bool) {
	if _, _, whole := g.Object.Body.Whole(); whole {
		return true
	}
	g.Reader, ok = g.Object.Body.Follow()
	return ok
}

// Close closes the reader or the reply of a result that is not used.
func (g *Got) Close() {
	if g.Reader != nil {
		g.Reader.Close()
	}
	if g.Reply != nil {
		g.Reply.Close()
	}
}

// Refresh fetches in the background, unless a fetch for the same key runs already.
func (f *Fetcher) Refresh(ctx context.Context, w *Want) {
	id := flightID(w, w.Near)
	fl, leads := f.flights.join(id, w.Key)
	if !leads {
		return
	}
	f.fills.Go(func() {
		w.end(f.lead(ctx, w, fl, id))
	})
}

// flightID returns the identifier of the flight for w. Requests with credentials have
// separate flights, because most of their replies cannot be shared. Followers would
// wait for such a reply and then fetch again.
func flightID(w *Want, near *cache.Object) string {
	id := []byte(w.Key)
	if near != nil {
		id = near.Selector.AppendKey(id, w.Request.Header)
	}
	if w.Request.Header.Has("authorization") {
		id = append(id, "\x00authorization"...)
	}
	return string(id)
}

// lead fetches for its client and for the followers of its flight. id is empty when
// the flight cannot have followers.
func (f *Fetcher) lead(ctx context.Context, w *Want, fl *flight, id string) (got Got, err error) {
	filling := false
	defer func() {
		if !filling {
			f.flights.land(id, fl)
		}
	}()
	// Another flight may have ended between the caller's look-up and this call.
	if o, _ := f.cache.Lookup([]byte(w.Key), w.Request.Header); id != "" && o != nil && o != w.Stale && rfc9111.FitsCredentials(o.Status, w.Request.Header) && o.Policy.Evaluate(time.Now()) == rfc9111.Fresh {
		f.flights.settle(id, fl, o, nil)
		return Got{Object: o, Collapsed: true}, nil
	}
	r, err := w.Upstream.Do(ctx, f.conditional(w))
	confirmed := err == nil && r.Status == 304 && w.Stale != nil
	if confirmed && !rfc9111.Confirms(w.Stale.Header, r.Header) {
		confirmed = false
		r.Close()
		x := w.Exchange // without the condition
		r, err = w.Upstream.Do(ctx, &x)
	}
	if err == nil && r.Status == 304 && !confirmed {
		r.Close()
		err = &Error{Cause: BadReply, Origin: r.Origin, Err: errUnasked304}
	}
	if err != nil {
		f.flights.settle(id, fl, nil, err)
		return Got{}, err
	}
	f.clearSlow(w)
	got.Status, got.Took = r.Asked()
	if confirmed {
		defer r.Close()
		got.Validated = true
		got.Object, got.Own, got.Stored = f.freshen(w, r, fl)
		f.flights.settle(id, fl, shared(got), nil)
		return got, nil
	}
	if w.Stale != nil && serverError(r.Status) && w.Stale.Policy.Evaluate(time.Now()) != rfc9111.MustValidate {
		r.Close()
		err := &Error{Cause: ServerError, Origin: r.Origin}
		f.flights.settle(id, fl, nil, err)
		return got, err
	}
	policy, why := rfc9111.Decide(w.Request, r.origin)
	most := f.cache.MaxObjectBytes()
	if w.MostBytes > 0 {
		most = min(most, w.MostBytes)
	}
	got.TooLarge = why == rfc9111.Storable && r.ContentLength > most
	if why != rfc9111.Storable || got.TooLarge {
		if r.Status < 500 && why != rfc9111.RequestNoStore { // requests to a failing origin stay coalesced
			f.setHitForMiss(id, hitForMissFor, why)
			if w.MostBytes > 0 {
				f.setHitForMiss(rangeID(id), passRangesFor, why)
			}
		}
		f.flights.settle(id, fl, nil, nil)
		got.Reply, got.Why = r, why
		return got, nil
	}
	o := &cache.Object{Key: w.Key, Status: r.Status, Reason: string(r.Reason), Policy: policy}
	o.Header = rfc9111.Shared(r.Header, policy.Withheld).Clone()
	got.Own = rfc9111.Own(r.Header, policy.Withheld).Clone()
	o.Selector, _ = rfc9111.NewSelector(r.Header, w.Request.Header)
	o.Body = f.cache.NewBody(r.ContentLength)
	o.Policy.Withheld = nil
	w.Compose(o)
	got.Object = o
	filling = true
	fill := func() {
		err := o.Body.Fill(r)
		r.Close()
		if err == nil {
			fl.unlessRevoked(o, nil, func() bool { return f.cache.Put(o) })
		}
		f.flights.land(id, fl)
	}
	if r.here() {
		fill() // the whole body has arrived already
		got.Stored = f.flights.settle(id, fl, o, nil)
		return got, nil
	}
	got.follow()
	got.Stored = f.flights.settle(id, fl, o, nil)
	f.fills.Go(fill)
	return got, nil
}

var errUnasked304 = errors.New("304 to a request without conditions")

// shared returns the validated object for followers. It returns nil when the object is
// not stored, because only stored objects may be shared.
func shared(got Got) *cache.Object {
	if got.Stored {
		return got.Object
	}
	return nil
}

func serverError(status int) bool {
	return status == 500 || status == 502 || status == 503 || status == 504
}

// conditional returns the exchange with the validators of the stale object
// (RFC 9111, section 4.3.1).
func (f *Fetcher) conditional(w *Want) *Exchange {
	x := w.Exchange
	if w.Stale == nil {
		return &x
	}
	etag, modified := rfc9111.Validators(w.Stale.Header)
	x.Header = slices.Clip(x.Header)
	if etag != nil {
		x.Header = append(x.Header, fields.Field{Name: []byte("If-None-Match"), Value: etag})
	}
	if modified != nil {
		x.Header = append(x.Header, fields.Field{Name: []byte("If-Modified-Since"), Value: modified})
	}
	return &x
}

// freshen updates the stale object with the fields of a 304 and stores the new object
// in its place, with the same body. When the 304 forbids storing, the old object is
// removed. own has the fields of the 304 that are for this client only.
func (f *Fetcher) freshen(w *Want, r *Reply, fl *flight) (o *cache.Object, own fields.Header, stored bool) {
	old := w.Stale
	merged := rfc9111.Reply{Status: old.Status, Header: rfc9111.Merge(old.Header, r.Header).Clone(),
		RequestTime: r.RequestTime, ReplyTime: r.ReplyTime}
	aged := merged
	if age, ok := r.Header.Get("age"); ok {
		aged.Header = append(slices.Clip(merged.Header), fields.Field{Name: []byte("Age"), Value: age})
	}
	policy, why := rfc9111.Decide(w.Request, aged)
	o = &cache.Object{Key: old.Key, Status: old.Status, Reason: old.Reason, Policy: policy, Body: old.Body, Selector: old.Selector}
	o.Header = rfc9111.Shared(merged.Header, policy.Withheld)
	own = rfc9111.Own(r.Header, policy.Withheld).Clone()
	o.Policy.Withheld = nil
	if s, ok := rfc9111.NewSelector(merged.Header, w.Request.Header); ok {
		o.Selector = s
	}
	w.Compose(o)
	switch why {
	case rfc9111.Storable:
	case rfc9111.RequestNoStore, rfc9111.Authorized:
		return o, own, false // it concerns this client only: the old object stays
	default:
		f.cache.Purge([]byte(old.Key))
		return o, own, false
	}
	return o, own, fl.unlessRevoked(o, old, func() bool { return f.cache.Put(o) })
}

// Invalidate removes the objects under a key. Replies that are being fetched for the
// key are not stored (RFC 9111, section 4.4).
func (f *Fetcher) Invalidate(key string) {
	f.flights.revoke(key)
	f.cache.Purge([]byte(key))
}

// PurgeTag removes all objects with a surrogate key and returns their number. Replies
// that are being fetched are not stored if they have that key.
func (f *Fetcher) PurgeTag(tag string) int {
	f.flights.revokeTag(tag)
	return f.cache.PurgeTag(tag)
}

// PurgeAll removes all objects and returns their number. Replies that are being
// fetched are not stored.
func (f *Fetcher) PurgeAll() int {
	f.flights.revokeAll()
	return f.cache.PurgeAll()
}

// Wait returns when no body is filling. No fetch may start during the call.
func (f *Fetcher) Wait() { f.fills.Wait() }

// PassesRanges reports whether a range request must go to the origin as it is, because
// the whole object was not storable or too long a short time ago.
func (f *Fetcher) PassesRanges(w *Want) bool { return f.isHitForMiss(rangeID(flightID(w, w.Near))) }

func rangeID(id string) string {
	if id == "" {
		return ""
	}
	return id + "\x00range"
}

// unshared is the entry of a key with a last reply that could not be shared.
type unshared struct {
	at    time.Time
	until time.Time // before it, requests for the key do not wait for each other
	why   rfc9111.Reason
}

func (f *Fetcher) isHitForMiss(id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	u, ok := f.hitForMiss.Get(maphash.String(f.seed, id))
	return ok && time.Now().Before(u.until)
}

func (f *Fetcher) setHitForMiss(id string, d time.Duration, why rfc9111.Reason) {
	if id == "" {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	f.hitForMiss.Add(maphash.String(f.seed, id), unshared{at: now, until: now.Add(d), why: why})
}

// WhyUnshared returns why the last reply for a cache key was not stored, and when it
// came, for explanations. ok is false when there is no entry for the key.
func (f *Fetcher) WhyUnshared(key []byte) (why rfc9111.Reason, at time.Time, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	u, ok := f.hitForMiss.Peek(maphash.Bytes(f.seed, key))
	return u.why, u.at, ok
}
