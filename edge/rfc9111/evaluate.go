package rfc9111

import "time"

// Verdict is the way in which a stored reply may be used now.
type Verdict uint8

// The verdicts.
const (
	Fresh         Verdict = iota // send it
	Revalidating                 // send it, and refresh it in the background (RFC 5861, section 3)
	StaleForError                // ask the origin, and send it if the origin fails (section 4.2.4; RFC 5861, section 4)
	MustValidate                 // ask the origin, and fail if the origin fails
)

// Age returns current_age (section 4.2.3), never negative.
func (p *Policy) Age(now time.Time) time.Duration {
	return p.InitialAge + max(0, now.Sub(p.ReplyTime))
}

// TTL returns the remaining time for which the reply is fresh. It is negative when the
// reply is stale.
func (p *Policy) TTL(now time.Time) time.Duration { return p.Lifetime - p.Age(now) }

// Evaluate returns how a stored reply may be used for a request without Cache-Control.
func (p *Policy) Evaluate(now time.Time) Verdict {
	ttl := p.TTL(now)
	switch {
	case p.Flags&NoCache != 0:
		return MustValidate
	case ttl > 0:
		return Fresh
	case p.Flags&(MustRevalidate|ProxyRevalidate) != 0:
		return MustValidate
	case -ttl < p.StaleWhileRevalidate:
		return Revalidating
	case -ttl < p.StaleIfError:
		return StaleForError
	// s-maxage alone implies proxy-revalidate (section 5.2.2.10). Many origins send it
	// together with a permission of RFC 5861. Then the permission counts.
	case p.Flags&(StaleIfError|SMaxAge) == 0 && -ttl < defaultStale:
		return StaleForError
	}
	return MustValidate
}

// defaultStale is the time beyond its lifetime for which a reply is sent when the
// origin fails and no directive forbids it. Section 4.2.4 allows this while
// disconnected. A page that is one day old is better than an error, but one of last
// month is not.
const defaultStale = 24 * time.Hour

// EvaluateFor is Evaluate for a request with Cache-Control directives (section 5.2.1).
// They are advice. EvaluateFor obeys max-stale and the directives that ask for a
// fresher reply, but never against the directives of the origin.
func (p *Policy) EvaluateFor(now time.Time, d *Directives) Verdict {
	v := p.Evaluate(now)
	switch {
	case d.Has(NoCache),
		d.Has(MaxAge) && p.Age(now) > d.MaxAge && !(d.Has(MaxStale) && v != MustValidate),
		d.Has(MinFresh) && p.TTL(now) < d.MinFresh:
		if v < StaleForError {
			return StaleForError
		}
	case v == StaleForError && d.Has(MaxStale) && p.TTL(now) > -d.MaxStale:
		return Fresh
	}
	return v
}
