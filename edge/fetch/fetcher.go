package fetch

import (
	"context"
	"errors"
	"hash/maphash"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"perto/edge/cache"
	"perto/edge/rfc9111"
	"perto/internal/fields"
)

// Fetcher fills a cache from upstreams, one fetch for all who want a key.
type Fetcher struct {
	cache   *cache.Cache
	flights flights
	fills   sync.WaitGroup

	mu         sync.Mutex
	hitForMiss *simplelru.LRU[uint64, unshared]  // by hash of the key
	late       *simplelru.LRU[uint64, time.Time] // keys whose fetches take too long, until when
	seed       maphash.Seed
}

const (
	// hitForMissFor is how long nobody waits for a key whose reply was of no use to
	// others: waiting again would only cost everybody the leader's time.
	hitForMissFor = 10 * time.Second
	// passRangesFor is how long requests for ranges of what turned out not to be
	// stored, or to be too long, do not try again to fetch the whole.
	passRangesFor = 5 * time.Minute
	// maxHitForMiss bounds that list. It has hashes, since clients make keys as long as
	// they like; that two keys have one costs a fetch at most.
	maxHitForMiss = 4096
)

// NewFetcher returns a fetcher for a cache.
func NewFetcher(c *cache.Cache) *Fetcher {
	hitForMiss, err := simplelru.NewLRU[uint64, unshared](maxHitForMiss, nil)
	late, err2 := simplelru.NewLRU[uint64, time.Time](maxHitForMiss, nil)
	if err != nil || err2 != nil {
		panic(errors.Join(err, err2)) // only for a size below one
	}
	return &Fetcher{cache: c, flights: flights{running: make(map[string]*flight), alone: make(map[*flight]struct{})}, hitForMiss: hitForMiss, late: late, seed: maphash.MakeSeed()}
}

// Want is what a client needs that the cache cannot give.
type Want struct {
	Upstream *Upstream
	Key      string
	// Request is the client's request in memory that lives as long as the fetch.
	Request rfc9111.Request
	// Exchange is the request to the origin, without conditions.
	Exchange Exchange
	// Stale is the stored object that fits and must be validated; may be nil.
	Stale *cache.Object
	// Near is any object under the key: it tells what the resource varies by.
	Near *cache.Object
	// Compose makes what the cache keeps of a reply from the origin's fields.
	Compose func(*cache.Object)
	// Failed is called with the error of a fetch that no client waits for any more;
	// may be nil. It must not use the memory of the request.
	Failed func(error)
	// Alone asks not to wait for others, nor to let them wait.
	Alone bool
	// MostBytes is up to which promised length the whole reply is wanted, in bytes;
	// 0: any. The client wants a range, and a longer reply is not stored for that.
	MostBytes int64
}

// end closes the result of a fetch that no client waits for, and reports its error.
func (w *Want) end(got Got, err error) {
	got.Close()
	if err != nil && w.Failed != nil && !got.Collapsed {
		w.Failed(err)
	}
}

// Got is what a fetch brought. Exactly one of Object, Reply and the error beside
// it is set.
type Got struct {
	Object    *cache.Object  //
	Reader    *cache.Reader  // follows the object's body while it fills, to be closed; nil when the body is whole
	Reply     *Reply         // a reply that is nobody else's: the caller streams and closes it
	Why       rfc9111.Reason // why it is not stored, with Reply
	Own       fields.Header  // fields for this client only, which the object lacks; in memory of their own
	TooLarge  bool           // it is not stored for its size, with Reply
	Collapsed bool           // somebody else fetched it
	Validated bool           // the origin answered 304
	Stored    bool           // the object is or will be stored
	Status    int            // of the origin's reply; 0 when it was not asked
	Took      time.Duration  // from the request to the head; 0 when it was not asked
}

// Fetch gets what is wanted. A follower waits until the leader's head is there
// and follows its body if it may; the error of a leader is that of its
// followers.
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
		if o.Selector.Match(w.Request.Header) && rfc9111.Answers(o.Status, w.Request.Header) {
			if got := (Got{Object: o, Collapsed: true}); o.Policy.Evaluate(time.Now()) == rfc9111.Fresh && got.follow() {
				return got, nil
			}
			break
		}
		near = o // another variant: now we know what it varies by
	}
	return f.lead(ctx, w, f.flights.single(w.Key), "")
}

// FetchWithin is Fetch for a client that something stale can answer: late is true
// when nothing came within patience. The fetch goes on in the background, and fills
// the cache. Until it succeeds, later calls for the same key are late at once; no
// more than one fetch runs for them. The memory of w must live as long as the fetch.
func (f *Fetcher) FetchWithin(ctx context.Context, w *Want, patience time.Duration) (got Got, late bool, err error) {
	id := flightID(w, w.Near)
	if f.isLate(id) {
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
		f.setLate(id)
		return Got{}, true, nil
	}
}

// lateFor is how long a key counts as late at most.
const lateFor = 5 * time.Minute

func (f *Fetcher) isLate(id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	until, ok := f.late.Get(maphash.String(f.seed, id))
	return ok && time.Now().Before(until)
}

func (f *Fetcher) setLate(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.late.Add(maphash.String(f.seed, id), time.Now().Add(lateFor))
}

// inTime notes that a reply came for what is wanted.
func (f *Fetcher) inTime(w *Want) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.late.Len() > 0 {
		f.late.Remove(maphash.String(f.seed, flightID(w, w.Near)))
	}
}

// follow opens the Reader that the object needs; false when it is too late.
func (g *Got) follow() (ok bool) {
	if _, _, whole := g.Object.Body.Whole(); whole {
		return true
	}
	g.Reader, ok = g.Object.Body.Follow()
	return ok
}

// Close ends what the fetch brought and nobody will read.
func (g *Got) Close() {
	if g.Reader != nil {
		g.Reader.Close()
	}
	if g.Reply != nil {
		g.Reply.Close()
	}
}

// Refresh fetches in the background what is wanted, unless somebody does
// already.
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

// flightID names the flight for what is wanted. Requests with credentials have
// flights of their own: their replies are mostly for nobody else, and whoever
// waited for one would wait in vain.
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

// lead fetches for itself and for the followers of its flight; id is empty when
// it can have none.
func (f *Fetcher) lead(ctx context.Context, w *Want, fl *flight, id string) (got Got, err error) {
	filling := false
	defer func() {
		if !filling {
			f.flights.land(id, fl)
		}
	}()
	// Between the caller's look-up and its lead another flight may have landed.
	if o, _ := f.cache.Lookup([]byte(w.Key), w.Request.Header); id != "" && o != nil && o != w.Stale && rfc9111.Answers(o.Status, w.Request.Header) && o.Policy.Evaluate(time.Now()) == rfc9111.Fresh {
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
	f.inTime(w)
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
		if r.Status < 500 && why != rfc9111.RequestNoStore { // a failing origin should not get everybody at once
			f.setSolo(id, hitForMissFor, why)
			if w.MostBytes > 0 {
				f.setSolo(rangeID(id), passRangesFor, why)
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
		fill() // it is all here already
		got.Stored = f.flights.settle(id, fl, o, nil)
		return got, nil
	}
	got.follow()
	got.Stored = f.flights.settle(id, fl, o, nil)
	f.fills.Go(fill)
	return got, nil
}

var errUnasked304 = errors.New("304 to a request without conditions")

// shared returns what followers get of a validated object: only one that is
// stored may answer others.
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
	x.Header = x.Header[:len(x.Header):len(x.Header)]
	if etag != nil {
		x.Header = append(x.Header, fields.Field{Name: []byte("If-None-Match"), Value: etag})
	}
	if modified != nil {
		x.Header = append(x.Header, fields.Field{Name: []byte("If-Modified-Since"), Value: modified})
	}
	return &x
}

// freshen makes the stale object fresh with the fields of a 304 and stores the
// new one in its place, sharing the body. When the 304 says that it may not be
// stored any more, the old one goes. own are the fields of the 304 for its client.
func (f *Fetcher) freshen(w *Want, r *Reply, fl *flight) (o *cache.Object, own fields.Header, stored bool) {
	old := w.Stale
	merged := rfc9111.Reply{Status: old.Status, Header: rfc9111.Merge(old.Header, r.Header).Clone(),
		RequestTime: r.RequestTime, ReplyTime: r.ReplyTime}
	aged := merged
	if age, ok := r.Header.Get("age"); ok {
		aged.Header = append(merged.Header[:len(merged.Header):len(merged.Header)], fields.Field{Name: []byte("Age"), Value: age})
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
		return o, own, false // that is this client's matter, not the others'
	default:
		f.cache.Purge([]byte(old.Key))
		return o, own, false
	}
	return o, own, fl.unlessRevoked(o, old, func() bool { return f.cache.Put(o) })
}

// Invalidate forgets what is stored under a key, and what is being fetched for
// it is not stored (RFC 9111, section 4.4).
func (f *Fetcher) Invalidate(key string) {
	f.flights.revoke(key)
	f.cache.Purge([]byte(key))
}

// PurgeTag forgets everything with a surrogate key, and what is being fetched is
// not stored if it turns out to have it. It returns how many stored objects that
// were.
func (f *Fetcher) PurgeTag(tag string) int {
	f.flights.revokeTag(tag)
	return f.cache.PurgeTag(tag)
}

// PurgeAll forgets everything that is stored, and nothing that is being fetched is
// stored. It returns how many stored objects that were.
func (f *Fetcher) PurgeAll() int {
	f.flights.revokeAll()
	return f.cache.PurgeAll()
}

// Wait returns when no body is filled any more. No new fetch may start
// meanwhile.
func (f *Fetcher) Wait() { f.fills.Wait() }

// PassesRanges tells whether a range of what is wanted is better fetched as it is:
// the whole was not for the cache a while ago.
func (f *Fetcher) PassesRanges(w *Want) bool { return f.isHitForMiss(rangeID(flightID(w, w.Near))) }

func rangeID(id string) string {
	if id == "" {
		return ""
	}
	return id + "\x00range"
}

// unshared is a key whose last reply was of no use to other clients.
type unshared struct {
	at    time.Time
	until time.Time // no request waits for another's fetch before
	why   rfc9111.Reason
}

func (f *Fetcher) isHitForMiss(id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	u, ok := f.hitForMiss.Get(maphash.String(f.seed, id))
	return ok && time.Now().Before(u.until)
}

func (f *Fetcher) setSolo(id string, d time.Duration, why rfc9111.Reason) {
	if id == "" {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	f.hitForMiss.Add(maphash.String(f.seed, id), unshared{at: now, until: now.Add(d), why: why})
}

// WhyUnshared returns why the last reply for a cache key was not stored, and when
// it came. ok is false when no such reply is remembered. It is for explanations.
func (f *Fetcher) WhyUnshared(key []byte) (why rfc9111.Reason, at time.Time, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	u, ok := f.hitForMiss.Peek(maphash.Bytes(f.seed, key))
	return u.why, u.at, ok
}
