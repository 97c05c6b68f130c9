package fetch

import (
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
	revoked bool          // an unsafe request made the reply unusable meanwhile
}

// settle makes the outcome known.
func (f *flight) settle(o *cache.Object, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.done, f.object, f.err = true, o, err
	f.known.Broadcast()
}

// wait returns the outcome: an object, an error, or neither when it is no use to
// others.
func (f *flight) wait() (*cache.Object, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for !f.done {
		f.known.Wait()
	}
	return f.object, f.err
}

// unlessRevoked runs store, which puts the reply into the cache, unless an unsafe
// request or a purge came since the flight began. Neither can come in between:
// it waits, and then removes what was stored.
func (f *flight) unlessRevoked(store func() bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.revoked && store()
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

// land takes the flight off; from now on others start their own.
func (s *flights) land(id string, f *flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.alone, f)
	if s.running[id] == f {
		delete(s.running, id)
	}
}

// revoke makes the replies of all flights for a cache key unusable for whoever
// comes later.
func (s *flights) revoke(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, f := range s.running {
		if f.key == key {
			f.revoke()
			delete(s.running, id)
		}
	}
	for f := range s.alone {
		if f.key == key {
			f.revoke()
		}
	}
}
