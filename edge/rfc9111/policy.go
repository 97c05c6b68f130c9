package rfc9111

import (
	"time"

	"perto/internal/fields"
)

// Reason says why a reply is not stored; the edge shows it as detail of
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

// Request is the part of a request that the rules look at.
type Request struct {
	Method string
	Header fields.Header
}

// Reply is the head of a reply with the moments at which its request was sent
// and at which it came (section 4.2.3).
type Reply struct {
	Status      int
	Header      fields.Header
	RequestTime time.Time
	ReplyTime   time.Time
}

// Policy is what there is to know about a stored reply to decide, later, whether
// it may be used.
type Policy struct {
	Lifetime             time.Duration // freshness lifetime (section 4.2.1)
	InitialAge           time.Duration // corrected_initial_age (section 4.2.3)
	ReplyTime            time.Time
	StaleWhileRevalidate time.Duration // beyond Lifetime (RFC 5861, section 3)
	StaleIfError         time.Duration // beyond Lifetime (RFC 5861, section 4)
	Flags                Flags         // of the field that governs the reply
	Heuristic            bool          // Lifetime is guessed (section 4.2.2)
	Targeted             bool          // CDN-Cache-Control governs
	Withheld             [][]byte      // fields not to be reused
}

const (
	// heuristicShare is the part of the time since Last-Modified for which a reply
	// without explicit freshness counts as fresh (section 4.2.2: "a typical
	// setting of this fraction might be 10%").
	heuristicShare = 10
	// heuristicMost caps it: nobody expects that a file untouched for ten years
	// stays for one in a cache that nobody told to keep it.
	heuristicMost = 24 * time.Hour
)

// Decide tells whether the reply may be stored (section 3), or why not, and with
// which policy.
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
		// Section 5.2.2.3: who understands the status ignores no-store beside it.
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
	// Section 3.5: what came for one user's credentials is for others only when
	// the origin says so.
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
	// What is neither fresh for a moment nor can be validated is of no use.
	etag, modified := Validators(s.Header)
	if p.Lifetime <= p.InitialAge && etag == nil && modified == nil && p.StaleIfError == 0 && p.StaleWhileRevalidate == 0 {
		return NoFreshness
	}
	if p.Heuristic && p.Lifetime == 0 && !heuristically(s.Status) && !d.Has(Public) && !d.Has(NoCache) {
		return NoFreshness
	}
	return Storable
}

// lifetime sets how long the reply is fresh (section 4.2.1). Where
// CDN-Cache-Control governs, Expires does not count (RFC 9213, section 2.1).
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
		// "0" and whatever else is no date mean: expired (section 5.3).
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

// date returns the reply's Date, or when it came.
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
	// Date has whole seconds: less than one is no age but its rounding.
	apparent := max(0, s.ReplyTime.Sub(s.date())).Truncate(time.Second)
	corrected := parseAge(s.Header) + s.ReplyTime.Sub(s.RequestTime)
	return min(max(apparent, corrected), maxDelta)
}

// parseAge reads Age. Of several values the first counts; what is no number is
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

// heuristically tells whether a status is cacheable without explicit freshness
// (RFC 9110, section 15.1; 206 is left out since we do not store it).
func heuristically(status int) bool {
	switch status {
	case 200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501:
		return true
	}
	return false
}

// understood tells whether we know a status and its rules for caches: those
// of RFC 9110 but 206 and 304.
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
