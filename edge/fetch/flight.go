package fetch

import (
	"slices"
	"sync"

	"perto/edge/cache"
)

// flight is one fetch that others may wait for. Its outcome is known as soon as
// the head is, long before the body is whole.
type flight struct {
	key string // of the cache, without what the flight varies by

	mu      sync.Mutex
	known   sync.Cond
	done    bool          // the outcome is known
	object  *cache.Object // readable by all whom it fits; nil: everybody for himself
	err     error         // the origin failed
	revoked bool          // an unsafe request or a purge made the reply unusable meanwhile
	purged  []string      // tags purged before the head told which ones the reply has
}

// wait returns the outcome: an object, an error, or neither when it is no use to
// others. again tells that a purge made it so: the next flight may be of use.
func (f *flight) wait() (o *cache.Object, again bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for !f.done {
		f.known.Wait()
	}
	return f.object, f.revoked, f.err
}

// outdated tells whether the object's content was purged since the flight began.
// The caller holds mu.
func (f *flight) outdated(o *cache.Object) bool {
	return f.revoked || slices.ContainsFunc(f.purged, func(tag string) bool { return slices.Contains(o.Tags, tag) })
}

// unlessRevoked runs store, which puts the reply into the cache, unless an unsafe
// request or a purge came since the flight began. Neither can come in between:
// it waits, and then removes what was stored. old is the object of which o is a
// fresher form; may be nil.
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
	running map[string]*flight   // that others may join
	alone   map[*flight]struct{} // that nobody may
}

// join returns the flight for id, and whether the caller has to lead it.
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

// single returns a flight that nobody can join.
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

// settle makes the outcome of a flight known. It returns false when its object is
// of no use to others since a purge for one of its tags came: then they begin a
// flight of their own.
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

// land takes the flight off; from now on others start their own.
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

// revokeTag does the same for all flights whose object has a tag. Where the head
// is not known yet, settle does it.
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

// purgeTag notes the purge and tells whether it is known to concern the flight.
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
