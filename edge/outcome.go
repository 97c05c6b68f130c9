package edge

// Outcome is the kind of reply to a request. Metrics count requests by it.
type Outcome uint8

// The outcomes.
const (
	Hit        Outcome = iota // from the cache, fresh
	HitStale                  // from the cache while it is refreshed (stale-while-revalidate)
	Validated                 // from the cache after the origin replied 304
	Miss                      // fetched and stored
	Collapsed                 // fetched and stored by another request
	Passed                    // fetched for this client only
	StaleError                // from the cache because the origin failed (stale-if-error)
	Refused                   // not an acceptable request
	Failed                    // the origin failed
	Local                     // made by the edge itself
	Computed                  // made or changed by a function
	outcomes
)

var outcomeNames = [outcomes]string{"hit", "stale", "validated", "miss", "collapsed", "pass", "stale_error", "refused", "failed", "local", "computed"}

// String returns the outcome as a label value.
func (o Outcome) String() string { return outcomeNames[o] }

// Forward is the reason why a request went to the origin. It is the "fwd" parameter of
// Cache-Status (RFC 9211, section 2.2).
type Forward uint8

// The reasons to forward.
const (
	NotForwarded    Forward = iota
	ForwardBypass           // the request has preconditions that bypass the cache
	ForwardMethod           // replies to the method are not cached
	ForwardURIMiss          // no object is stored for the URL
	ForwardVaryMiss         // only other variants are stored
	ForwardRequest          // the request's Cache-Control requires a validation
	ForwardStale            // the stored object is stale
)

var forwardNames = [...]string{"", "bypass", "method", "uri-miss", "vary-miss", "request", "stale"}

// String returns the parameter's value.
func (f Forward) String() string { return forwardNames[f] }
