package rfc9111

import (
	"time"

	"perto/internal/fields"
)

// Reason is the reason why a reply is not stored. The edge sends it as detail of
// Cache-Status.
type Reason uint8

// The reasons.
const (
	Storable Reason = iota
	NotGET
	NotFinal
	PartialReply
	RequestNoStore
	ReplyNoStore
	ReplyPrivate
	Authorized
	SetsCookie
	Authenticates
	VariesOnAll
	VariesOnClient
	NotUnderstood
	NoFreshness
)

var reasonNames = [...]string{
	Storable:       "storable",
	NotGET:         "method",
	NotFinal:       "interim",
	PartialReply:   "partial",
	RequestNoStore: "request-no-store",
	ReplyNoStore:   "no-store",
	ReplyPrivate:   "private",
	Authorized:     "authorization",
	SetsCookie:     "set-cookie",
	Authenticates:  "authentication",
	VariesOnAll:    "vary-star",
	VariesOnClient: "vary-client",
	NotUnderstood:  "not-understood",
	NoFreshness:    "no-freshness",
}

// String returns the reason as a token.
func (r Reason) String() string { return reasonNames[r] }

// Request is the part of a request that the rules use.
type Request struct {
	Method string
	Header fields.Header
}

// Reply is the head of a reply, with the times at which its request was sent and at
// which the reply came (section 4.2.3).
type Reply struct {
	Status      int
	Header      fields.Header
	RequestTime time.Time
	ReplyTime   time.Time
}

// Policy has the data that decide later whether a stored reply may be used.
type Policy struct {
	Lifetime             time.Duration // freshness lifetime (section 4.2.1)
	InitialAge           time.Duration // corrected_initial_age (section 4.2.3)
	ReplyTime            time.Time
	StaleWhileRevalidate time.Duration // beyond Lifetime (RFC 5861, section 3)
	StaleIfError         time.Duration // beyond Lifetime (RFC 5861, section 4)
	Flags                Flags         // of the field that governs the reply
	Heuristic            bool          // Lifetime is an estimate (section 4.2.2)
	Targeted             bool          // CDN-Cache-Control governs
	Withheld             [][]byte      // fields not to be reused
}

const (
	// heuristicShare is the part of the time since Last-Modified for which a reply
	// without explicit freshness counts as fresh (section 4.2.2: "a typical
	// setting of this fraction might be 10%").
	heuristicShare = 10
	// heuristicMost is the maximum of that time. Without it, a file that has not changed
	// for ten years would be fresh for one year.
	heuristicMost = 24 * time.Hour
)

// Decide returns whether the reply may be stored (section 3), or the reason why not,
// and its policy.
func Decide(q Request, s Reply) (Policy, Reason) {
	d := ParseDirectives(s.Header)
	p := Policy{ReplyTime: s.ReplyTime}
	if t, ok := ParseTargeted(s.Header); ok {
		d, p.Targeted = t, true
	}
	p.Flags, p.Withheld = d.Flags, d.Withheld
	p.InitialAge = initialAge(s)
	p.lifetime(s, &d)
	if d.Has(StaleWhileRevalidate) {
		p.StaleWhileRevalidate = d.StaleWhileRevalidate
	}
	if d.Has(StaleIfError) {
		p.StaleIfError = d.StaleIfError
	}
	return p, p.reason(q, s, &d)
}

func (p *Policy) reason(q Request, s Reply, d *Directives) Reason {
	switch {
	case q.Method != "GET":
		return NotGET
	case s.Status < 200:
		return NotFinal
	case s.Status == 206 || s.Status == 304:
		return PartialReply
	case d.Has(MustUnderstand):
		// Section 5.2.2.3: a cache that understands the status ignores no-store here.
		if !understood(s.Status) {
			return NotUnderstood
		}
	case d.Has(NoStore):
		return ReplyNoStore
	}
	if d.Has(Private) {
		return ReplyPrivate
	}
	if r := ParseDirectives(q.Header); r.Has(NoStore) {
		return RequestNoStore
	}
	// Section 3.5: a reply to a request with credentials may be shared only when the
	// origin allows it.
	if q.Header.Has("authorization") && (d.Flags&(Public|SMaxAge|MustRevalidate) == 0 || Denies(s.Status)) {
		return Authorized
	}
	if r := personalReason(s.Header, d.Withheld); r != Storable {
		return r
	}
	if s.Header.Contains("vary", "*") {
		return VariesOnAll
	}
	if s.Header.Contains("vary", "x-forwarded-for") || s.Header.Contains("vary", "forwarded") {
		return VariesOnClient // the fetch had the address of one client
	}
	// A reply that is stale at once and cannot be validated is of no use.
	etag, modified := Validators(s.Header)
	if p.Lifetime <= p.InitialAge && etag == nil && modified == nil && p.StaleIfError == 0 && p.StaleWhileRevalidate == 0 {
		return NoFreshness
	}
	if p.Heuristic && p.Lifetime == 0 && !heuristically(s.Status) && !d.Has(Public) && !d.Has(NoCache) {
		return NoFreshness
	}
	return Storable
}

// lifetime sets the freshness lifetime (section 4.2.1). When CDN-Cache-Control governs,
// Expires does not count (RFC 9213, section 2.1).
func (p *Policy) lifetime(s Reply, d *Directives) {
	switch {
	case d.Has(SMaxAge):
		p.Lifetime = d.SMaxAge
		return
	case d.Has(MaxAge):
		p.Lifetime = d.MaxAge
		return
	}
	date := s.date()
	if v, ok := s.Header.Get("expires"); ok && !p.Targeted {
		// "0" and all other values that are no date mean expired (section 5.3).
		if e, ok := ParseDate(v, s.ReplyTime); ok {
			p.Lifetime = min(max(0, e.Sub(date)), maxDelta)
		}
		return
	}
	p.Heuristic = true
	if !heuristically(s.Status) && !d.Has(Public) {
		return
	}
	if v, ok := s.Header.Get("last-modified"); ok {
		if m, ok := ParseDate(v, s.ReplyTime); ok {
			p.Lifetime = min(max(0, date.Sub(m)/heuristicShare), heuristicMost)
		}
	}
}

// date returns the reply's Date, or the time at which the reply came.
func (s *Reply) date() time.Time {
	if v, ok := s.Header.Get("date"); ok {
		if t, ok := ParseDate(v, s.ReplyTime); ok {
			return t
		}
	}
	return s.ReplyTime
}

// initialAge computes corrected_initial_age (section 4.2.3).
func initialAge(s Reply) time.Duration {
	// Date has whole seconds. A difference below one second is a rounding error.
	apparent := max(0, s.ReplyTime.Sub(s.date())).Truncate(time.Second)
	corrected := parseAge(s.Header) + s.ReplyTime.Sub(s.RequestTime)
	return min(max(apparent, corrected), maxDelta)
}

// parseAge reads Age. The first of several values counts. A value that is no number is
// ignored (section 5.1).
func parseAge(h fields.Header) time.Duration {
	v, ok := h.Get("age")
	if !ok {
		return 0
	}
	for e := range fields.List(v) {
		if age, ok := deltaSeconds(e); ok {
			return age
		}
		break
	}
	return 0
}

// heuristically reports whether a status is cacheable without explicit freshness (RFC
// 9110, section 15.1). 206 is left out, because partial replies are not stored.
func heuristically(status int) bool {
	switch status {
	case 200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501:
		return true
	}
	return false
}

// understood reports whether the cache implements the rules for a status. These are the
// statuses of RFC 9110 except 206 and 304.
func understood(status int) bool {
	switch {
	case status == 206 || status == 304 || status == 306:
		return false
	case 200 <= status && status <= 205, 300 <= status && status <= 308,
		400 <= status && status <= 417, 500 <= status && status <= 505:
		return true
	}
	return status == 421 || status == 422 || status == 426
}
