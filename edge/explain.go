package edge

import (
	"fmt"
	"time"

	"perto"
	"perto/edge/cache"
	"perto/edge/fetch"
	"perto/edge/rfc9111"
	"perto/internal/fields"
)

// Explanation describes, step by step, the reply to a GET of a URL without further
// fields.
type Explanation struct {
	Edge    perto.Replica  `json:"edge"`
	Host    string         `json:"host"`
	Target  string         `json:"target"`            // in normal form
	Service perto.Service  `json:"service,omitempty"` // empty when no site has the host
	Origins []fetch.Health `json:"origins,omitempty"`
	// Functions are the functions for the path, in the order in which they run.
	Functions []FunctionStep `json:"functions,omitempty"`
	Stored    []StoredReply  `json:"stored,omitempty"` // the variants, newest first
	// Cookies is the rule for replies that set cookies: "pass" or "strip".
	Cookies string `json:"cookies,omitempty"`
	// NotStored is the reason why the last reply was not stored, as in Cache-Status. It
	// is empty when the edge has no record of it.
	NotStored string `json:"not_stored,omitempty"`
	Outcome   string `json:"outcome"` // an [Outcome]
	Forward   string `json:"forward,omitempty"`
	Why       string `json:"why"`
	// Advice is a change at the origin that would serve clients better, with its reason.
	Advice string `json:"advice,omitempty"`
}

// FunctionStep is a function that runs for a request.
type FunctionStep struct {
	Path    string `json:"path"` // as configured
	Phase   string `json:"phase"`
	Version string `json:"version"`
}

// StoredReply is one variant in the cache.
type StoredReply struct {
	Status     int          `json:"status"`
	Bytes      int64        `json:"bytes"`
	Age        perto.Millis `json:"age_ms"`
	TTL        perto.Millis `json:"ttl_ms"`      // remaining time for which it is fresh; negative when stale
	Lifetime   perto.Millis `json:"lifetime_ms"` // freshness lifetime
	Heuristic  bool         `json:"heuristic"`   // Lifetime is an estimate
	Vary       []string     `json:"vary,omitempty"`
	Tags       []string     `json:"tags,omitempty"`
	Validators []string     `json:"validators,omitempty"` // fields for a conditional request to the origin
	Fits       bool         `json:"fits"`                 // it fits a request without the fields in Vary
}

// Explain returns how the edge would reply to a GET without further fields. It sends no
// request. host and target have the form in which clients send them.
func (e *Edge) Explain(host, target string) *Explanation {
	authority, name := appendAuthority(nil, []byte(host))
	x := &Explanation{Edge: e.cfg.Name, Host: string(authority), Target: target}
	r := e.sites.Load().find(name)
	if r == nil {
		x.Outcome, x.Why = Refused.String(), "no service has this host: 421"
		return x
	}
	x.Service = r.site.Service
	x.Origins = r.upstream.Health()
	key, ok := r.appendKey(nil, authority, []byte(target))
	if !ok {
		x.Outcome, x.Why = Refused.String(), "the target has no safe meaning: 400"
		return x
	}
	if normal, ok := fetch.AppendTarget(nil, []byte(target)); ok {
		x.Target = string(normal)
	}
	for _, phase := range []Phase{ClientPhase, OriginPhase} {
		if f := r.site.function([]byte(x.Target), phase); f != nil {
			x.Functions = append(x.Functions, FunctionStep{f.Path, phase.String(), f.Version})
		}
	}
	x.Cookies = r.site.cookies([]byte(x.Target)).String()
	now := time.Now()
	var fit *cache.Object
	for _, o := range e.cache.Variants(key) {
		s := storedReply(o, now)
		if s.Fits && fit == nil {
			fit = o
		}
		x.Stored = append(x.Stored, s)
	}
	x.conclude(fit, now)
	if fit != nil {
		x.Advice = advise([]byte(x.Target), fit)
	}
	if fit != nil && fit.Status/100 == 3 && redirectsToHTTPS(fit.Header, authority) {
		x.Why += "; it redirects to https, which this edge does not serve"
	}
	if why, at, ok := e.fetcher.WhyUnshared(key); ok && fit == nil && why != rfc9111.Storable {
		x.NotStored = why.String()
		x.Why += fmt.Sprintf("; the reply of %s ago was not stored: %s", now.Sub(at).Round(time.Second), why)
		if why == rfc9111.SetsCookie {
			x.Why += ` (cookies = "strip" in a path block stores it without its cookies)`
		}
	}
	if len(x.Functions) > 0 && x.Functions[0].Phase == ClientPhase.String() {
		x.Why = fmt.Sprintf("the function %s makes the reply, or passes the request on; then: %s", x.Functions[0].Path, x.Why)
		x.Outcome = Computed.String()
	}
	return x
}

func storedReply(o *cache.Object, now time.Time) StoredReply {
	s := StoredReply{Status: o.Status, Age: perto.Millis(o.Policy.Age(now)), TTL: perto.Millis(o.Policy.TTL(now)), Lifetime: perto.Millis(o.Policy.Lifetime),
		Heuristic: o.Policy.Heuristic, Vary: o.Selector.Names(), Tags: o.Tags, Fits: o.Selector.Match(fields.Header{})}
	_, s.Bytes, _ = o.Body.Whole()
	for _, name := range []string{"etag", "last-modified"} {
		if v, ok := o.Header.Get(name); ok {
			s.Validators = append(s.Validators, name+": "+string(v))
		}
	}
	return s
}

// conclude sets the outcome of the request, given the variant that fits it.
func (x *Explanation) conclude(fit *cache.Object, now time.Time) {
	if fit == nil {
		x.Outcome, x.Forward, x.Why = Miss.String(), ForwardURIMiss.String(), "nothing is stored for this URL: the origin is asked"
		if len(x.Stored) > 0 {
			x.Forward, x.Why = ForwardVaryMiss.String(), "only variants for other requests are stored: the origin is asked"
		}
		return
	}
	ttl := fit.Policy.TTL(now).Round(time.Second)
	switch fit.Policy.Evaluate(now) {
	case rfc9111.Fresh:
		x.Outcome, x.Why = Hit.String(), fmt.Sprintf("fresh for another %s: answered from the cache", ttl)
	case rfc9111.Revalidating:
		x.Outcome, x.Why = HitStale.String(), fmt.Sprintf("stale for %s, which stale-while-revalidate allows: answered from the cache and refreshed in the background", -ttl)
	case rfc9111.StaleForError:
		x.Outcome, x.Forward = Validated.String(), ForwardStale.String()
		x.Why = fmt.Sprintf("stale for %s: the origin is asked; the stored reply is sent if that fails", -ttl)
	default:
		x.Outcome, x.Forward = Validated.String(), ForwardStale.String()
		x.Why = "must be validated before each use: the origin is asked"
	}
}
