package fetch

import (
	"context"
	"errors"
	"io"
	"net"
	"os"

	"perto/edge/http1"
)

// Cause is the reason why an exchange with an origin failed. The edge sends it as
// detail of Cache-Status.
type Cause uint8

// The causes.
const (
	Unreachable    Cause = iota // no connection
	ConnectTimeout              // no connection in time
	ReplyTimeout                // no head in time
	Closed                      // the connection ended before a head
	BadReply                    // the head of the reply is not acceptable
	BodyTimeout                 // the body stalled
	BodyCut                     // the body is truncated
	Busy                        // too many exchanges run already
	Broken                      // the circuit breaker is open, or the origin is unwell
	ServerError                 // 500, 502, 503 or 504 while a stale reply may be used
	ClientGone                  // the client's request body ended early
	Unsendable                  // the parts of the request make no valid request
)

var causes = [...]struct {
	name   string
	status int
}{
	Unreachable:    {"origin-unreachable", 502},
	ConnectTimeout: {"origin-connect-timeout", 504},
	ReplyTimeout:   {"origin-reply-timeout", 504},
	Closed:         {"origin-closed", 502},
	BadReply:       {"origin-bad-reply", 502},
	BodyTimeout:    {"origin-body-timeout", 504},
	BodyCut:        {"origin-body-cut", 502},
	Busy:           {"origin-busy", 503},
	Broken:         {"origin-down", 503},
	ServerError:    {"origin-error", 502},
	ClientGone:     {"client-gone", 400},
	Unsendable:     {"request-unsendable", 500},
}

// Causes returns the tokens of all causes, in their order.
func Causes() (out []string) {
	for i := range causes {
		out = append(out, causes[i].name)
	}
	return out
}

// String returns the cause as a token.
func (c Cause) String() string { return causes[c].name }

// Status returns the status code that a client receives for the cause.
func (c Cause) Status() int { return causes[c].status }

// Error is a failed exchange.
type Error struct {
	Cause  Cause
	Origin string // "host:port"
	Err    error  // may be nil
}

// Error returns the origin, the cause and its detail on one line.
func (e *Error) Error() string {
	s := e.Origin + ": " + e.Cause.String()
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the underlying error.
func (e *Error) Unwrap() error { return e.Err }

// CauseOf returns the cause of an error of this package, and [Unreachable] for other
// errors.
func CauseOf(err error) Cause {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Cause
	}
	return Unreachable
}

func isTimeout(err error) bool {
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	n, ok := errors.AsType[net.Error](err)
	return ok && n.Timeout()
}

// replyCause returns the cause for an error of reading a head.
func replyCause(err error) Cause {
	if _, ok := errors.AsType[http1.Refusal](err); ok {
		return BadReply
	}
	if isTimeout(err) {
		return ReplyTimeout
	}
	return Closed
}

// bodyError adds the cause to an error of reading a body.
func bodyError(origin string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	cause := BodyCut
	if isTimeout(err) {
		cause = BodyTimeout
	}
	return &Error{Cause: cause, Origin: origin, Err: err}
}
