package fetch

import (
	"slices"
	"sync"

	"perto/edge/cache"
)

// flight is one fetch that other requests may wait for. Its outcome is known with the
// head of the reply, before the body is whole.
type flight struct {
	key string // of the cache, without the values of varying fields

	mu      sync.Mutex
	known   sync.Cond
	done    bool          // the outcome is known
	object  *cache.Object // set when followers may use the leader's object; when nil, each fetches again
	err     error         // the origin failed
	revoked bool          // an unsafe request or a purge came, so the reply must not be used later
	purged  []string      // tags purged before the tags of the reply were known
}

// wait returns the outcome: an object, an error, or neither when the reply cannot be
// shared. again is true when the reason is a purge. Then the reply of the next flight
// may be shared.
func (f *flight) wait() (o *cache.Object, again bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for !f.done {
		f.known.Wait()
	}
	return f.object, f.revoked, f.err
}

// outdated reports whether the object was purged after the flight began.
// The caller holds mu.
func (f *flight) outdated(o *cache.Object) bool {
	return f.revoked || slices.ContainsFunc(f.purged, func(tag string) bool { return slices.Contains(o.Tags, tag) })
}

// unlessRevoked runs store, which puts the reply into the cache, unless an unsafe
// request or a purge came after the flight began. A purge during the call waits, and
// then removes the stored object. old is the object that o was freshened from, or nil.
func (f *flight) unlessRevoked(o, old *cache.Object, store func() bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.outdated(o) && (old == nil || !f.outdated(old)) && store()
}

func (f *flight) revoke() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.revoked = true
}

// flights are the fetches that run, by key and variant.
type flights struct {
	mu      sync.Mutex
	running map[string]*flight   // that other requests may join
	alone   map[*flight]struct{} // without followers
}

// join returns the flight for id, and whether the caller must lead it.
func (s *flights) join(id, key string) (f *flight, leads bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.running[id]; f != nil {
		return f, false
	}
	f = newFlight(key)
	s.running[id] = f
	return f, true
}

// single returns a flight that other requests cannot join.
func (s *flights) single(key string) *flight {
	f := newFlight(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alone[f] = struct{}{}
	return f
}

func newFlight(key string) *flight {
	f := &flight{key: key}
	f.known.L = &f.mu
	return f
}

// settle gives the outcome of a flight to its followers. It returns false when one of
// the object's tags was purged after the flight began. Then the followers start
// another flight.
func (s *flights) settle(id string, f *flight, o *cache.Object, err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	if o != nil && !f.revoked && f.outdated(o) {
		f.revoked, o = true, nil
		if s.running[id] == f {
			delete(s.running, id)
		}
	}
	f.done, f.object, f.err = true, o, err
	f.known.Broadcast()
	return !f.revoked
}

// land removes the flight. Later requests start another one.
func (s *flights) land(id string, f *flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.alone, f)
	if s.running[id] == f {
		delete(s.running, id)
	}
}

// revoke makes the replies of all flights for a cache key unusable for later requests.
func (s *flights) revoke(key string) {
	s.revokeIf(func(f *flight) bool { return f.key == key })
}

// revokeAll makes the replies of all flights unusable for later requests.
func (s *flights) revokeAll() { s.revokeIf(func(*flight) bool { return true }) }

func (s *flights) revokeIf(concerned func(*flight) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, f := range s.running {
		if concerned(f) {
			f.revoke()
			delete(s.running, id)
		}
	}
	for f := range s.alone {
		if concerned(f) {
			f.revoke()
		}
	}
}

// revokeTag makes the replies with a tag unusable for later requests. For a flight
// without a head yet, settle checks the tag.
func (s *flights) revokeTag(tag string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, f := range s.running {
		if f.purgeTag(tag) {
			delete(s.running, id)
		}
	}
	for f := range s.alone {
		f.purgeTag(tag)
	}
}

// purgeTag records the purge. It returns true when the flight's object is known to have
// the tag.
func (f *flight) purgeTag(tag string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.Contains(f.purged, tag) {
		f.purged = append(f.purged, tag)
	}
	if f.object != nil && f.outdated(f.object) {
		f.revoked = true
	}
	return f.revoked
}
