package rfc9111

import (
	"bytes"
	"time"

	"perto/internal/fields"
)

// Flags is the set of directives that a Cache-Control field has (RFC 9111,
// section 5.2).
type Flags uint32

// The directives. Those with a time have it in [Directives].
const (
	NoStore Flags = 1 << iota
	NoCache
	Private
	Public
	MustRevalidate
	ProxyRevalidate
	MustUnderstand
	NoTransform
	OnlyIfCached
	MaxAge
	SMaxAge
	StaleWhileRevalidate
	StaleIfError
	MaxStale
	MinFresh
)

// Directives is a parsed Cache-Control field, of a request or of a reply.
type Directives struct {
	Flags                Flags
	MaxAge               time.Duration
	SMaxAge              time.Duration
	StaleWhileRevalidate time.Duration
	StaleIfError         time.Duration
	MaxStale             time.Duration // maxDelta when the directive had no value
	MinFresh             time.Duration

	// Withheld are the fields that no-cache="..." and private="..." name. They must not
	// be reused, but the rest of the reply may be (sections 5.2.2.4 and 5.2.2.7). The
	// flag of such a directive is not set.
	Withheld [][]byte
}

// Has reports whether all of the flags are set.
func (d *Directives) Has(f Flags) bool { return d.Flags&f == f }

// maxDelta is the maximum of delta-seconds: 2^31 s. Larger values count as maxDelta
// (section 1.2.2).
const maxDelta = (1 << 31) * time.Second

// ParseDirectives reads all Cache-Control lines of a header. When a directive is
// repeated, the first one counts (section 4.2.1). A malformed max-age or s-maxage
// counts as 0, so the reply is stale (same section).
func ParseDirectives(h fields.Header) Directives {
	var d Directives
	for e := range h.Elements("cache-control") {
		name, value, hasValue := bytes.Cut(e, []byte{'='})
		if hasValue {
			value = unquote(value)
		}
		d.add(name, value, hasValue)
	}
	return d
}

func (d *Directives) add(name, value []byte, hasValue bool) {
	for i := range flagNames {
		f := &flagNames[i]
		if !fields.Equal(name, f.name) {
			continue
		}
		if (f.flag == NoCache || f.flag == Private) && hasValue {
			for field := range fields.List(value) {
				d.Withheld = append(d.Withheld, field)
			}
			return
		}
		if d.Flags&f.flag != 0 {
			return
		}
		if f.at != nil {
			delta, ok := deltaSeconds(value)
			switch {
			case ok:
			case f.flag == MaxStale && !hasValue:
				delta = maxDelta
			case f.flag == MaxAge, f.flag == SMaxAge:
				delta = 0
			default:
				return
			}
			*f.at(d) = delta
		}
		d.Flags |= f.flag
		return
	}
}

// directive is the spelling of a directive, its flag, and the field for its time.
type directive struct {
	name string
	flag Flags
	at   func(*Directives) *time.Duration // nil without a time
}

// flagNames are the directives of replies and requests.
var flagNames = [...]directive{
	{"max-age", MaxAge, func(d *Directives) *time.Duration { return &d.MaxAge }},
	{"s-maxage", SMaxAge, func(d *Directives) *time.Duration { return &d.SMaxAge }},
	{"no-store", NoStore, nil},
	{"no-cache", NoCache, nil},
	{"private", Private, nil},
	{"public", Public, nil},
	{"must-revalidate", MustRevalidate, nil},
	{"proxy-revalidate", ProxyRevalidate, nil},
	{"must-understand", MustUnderstand, nil},
	{"no-transform", NoTransform, nil},
	{"only-if-cached", OnlyIfCached, nil},
	{"stale-while-revalidate", StaleWhileRevalidate, func(d *Directives) *time.Duration { return &d.StaleWhileRevalidate }},
	{"stale-if-error", StaleIfError, func(d *Directives) *time.Duration { return &d.StaleIfError }},
	{"max-stale", MaxStale, func(d *Directives) *time.Duration { return &d.MaxStale }},
	{"min-fresh", MinFresh, func(d *Directives) *time.Duration { return &d.MinFresh }},
}

// unquote removes the quotes of a quoted string, because section 5.2 requires both
// forms to be accepted. Backslashes stay: no supported directive needs them.
func unquote(v []byte) []byte {
	if len(v) >= 2 && v[0] == '"' && v[len(v)-1] == '"' {
		return v[1 : len(v)-1]
	}
	return v
}

// deltaSeconds reads a number of seconds (section 1.2.2).
func deltaSeconds(v []byte) (time.Duration, bool) {
	if len(v) == 0 {
		return 0, false
	}
	var n time.Duration
	for _, c := range v {
		if c < '0' || c > '9' {
			return 0, false
		}
		if n = n*10 + time.Duration(c-'0'); n > maxDelta/time.Second {
			n = maxDelta / time.Second
		}
	}
	return n * time.Second, true
}
