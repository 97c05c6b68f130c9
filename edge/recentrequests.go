package edge

import (
	"sync"
	"sync/atomic"
	"time"

	"perto/internal/printable"
)

const (
	// keptRequests is the number of last requests that are kept for the API and for
	// explanations. It is not an access log.
	keptRequests = 512
	// loggedBytes is the maximum length of host and target together, in bytes.
	loggedBytes = 160
)

// Request is one of the last requests.
type Request struct {
	Time    time.Time
	Client  string // address and port
	Method  string
	URL     string // host and target, cut after loggedBytes
	Status  int
	Bytes   int64 // of the reply, head included
	Outcome Outcome
	Detail  string
	Took    time.Duration
}

// recentRequests is a ring of the last requests. Each writer takes an entry of its own,
// so writers do not wait for each other.
type recentRequests struct {
	next    atomic.Uint64
	entries [keptRequests]logEntry
}

type logEntry struct {
	mu      sync.Mutex
	used    bool
	time    time.Time
	took    time.Duration
	bytes   int64
	client  string
	detail  string
	method  [16]byte
	url     [loggedBytes]byte
	methodN uint8
	urlN    uint8
	status  int16
	outcome Outcome
}

func (l *recentRequests) add(r *request, took time.Duration) {
	s := &l.entries[l.next.Add(1)%keptRequests]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used, s.time, s.took, s.bytes = true, r.now, took, r.sent
	s.client, s.detail = r.c.client, r.detail
	s.methodN = uint8(copy(s.method[:], r.q.Method))
	n := copy(s.url[:], r.q.Host)
	n += copy(s.url[n:], r.q.Target)
	s.urlN, s.status, s.outcome = uint8(n), int16(r.status), r.outcome
}

// Requests returns the last requests, newest first, at most n.
func (e *Edge) Requests(n int) []Request {
	l := &e.log
	last := l.next.Load()
	out := make([]Request, 0, min(n, keptRequests))
	for i := uint64(0); i < keptRequests && len(out) < n; i++ {
		s := &l.entries[(last-i)%keptRequests]
		s.mu.Lock()
		if s.used {
			out = append(out, Request{Time: s.time, Client: s.client, Method: printable.Text(s.method[:s.methodN]), URL: printable.Text(s.url[:s.urlN]),
				Status: int(s.status), Bytes: s.bytes, Outcome: s.outcome, Detail: s.detail, Took: s.took})
		}
		s.mu.Unlock()
	}
	return out
}
