package edge

// Outcome says how a request was answered. Metrics count by it.
type Outcome uint8

// The outcomes.
const (
	Hit        Outcome = iota // from the cache, fresh
	HitStale                  // from the cache while it is refreshed (stale-while-revalidate)
	Validated                 // from the cache after the origin said 304
	Miss                      // fetched and stored
	Collapsed                 // fetched and stored on behalf of another request
	Passed                    // fetched for this client only
	StaleError                // from the cache since the origin failed (stale-if-error)
	Refused                   // not an acceptable request
	Failed                    // the origin failed
	Local                     // answered by the edge itself
	Computed                  // answered by a function, or changed by one
	outcomes
)

var outcomeNames = [outcomes]string{"hit", "stale", "validated", "miss", "collapsed", "pass", "stale_error", "refused", "failed", "local", "computed"}

// String returns the outcome as a label value.
func (o Outcome) String() string { return outcomeNames[o] }

// Forward says why a request went to the origin: the "fwd" parameter of
// Cache-Status (RFC 9211, section 2.2).
type Forward uint8

// The reasons to forward.
const (
	NotForwarded    Forward = iota
	ForwardBypass           // the request asks for what is not cached: preconditions
	ForwardMethod           // the method's replies are not cached
	ForwardURIMiss          // nothing is stored for the URL
	ForwardVaryMiss         // only other variants are
	ForwardRequest          // the request's Cache-Control asks to validate
	ForwardStale            // what is stored is stale
)

var forwardNames = [...]string{"", "bypass", "method", "uri-miss", "vary-miss", "request", "stale"}

// String returns the parameter's value.
func (f Forward) String() string { return forwardNames[f] }
