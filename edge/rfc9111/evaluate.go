package rfc9111

import "time"

// Verdict says how a stored reply may be used now.
type Verdict uint8

// The verdicts.
const (
	Fresh         Verdict = iota // give it
	Revalidating                 // give it, and refresh it meanwhile (RFC 5861, section 3)
	StaleForError                // ask the origin; give it when that fails (section 4.2.4, RFC 5861, section 4)
	MustValidate                 // ask the origin; when that fails, fail
)

// Age returns current_age (section 4.2.3), never negative.
func (p *Policy) Age(now time.Time) time.Duration {
	return p.InitialAge + max(0, now.Sub(p.ReplyTime))
}

// TTL returns how much longer the reply is fresh; negative when stale.
func (p *Policy) TTL(now time.Time) time.Duration { return p.Lifetime - p.Age(now) }

// Evaluate tells how a stored reply may be used for a request without
// Cache-Control.
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
	// s-maxage alone says proxy-revalidate (section 5.2.2.10); beside an explicit
	// permission of RFC 5861, as so many origins write it, the permission counts.
	case p.Flags&(StaleIfError|SMaxAge) == 0 && -ttl < defaultStale:
		return StaleForError
	}
	return MustValidate
}

// defaultStale is for how long beyond its lifetime a reply is given when the
// origin fails and nothing forbids it (section 4.2.4 allows it while
// disconnected). A page of yesterday is better than none; one of last month is
// not.
const defaultStale = 24 * time.Hour

// EvaluateFor is Evaluate for a request with Cache-Control directives (section
// 5.2.1). They are advice; we follow what makes the answer fresher, and
// max-stale, but never against the origin's word.
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
