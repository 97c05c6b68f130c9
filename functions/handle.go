package functions

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tetratelabs/wazero/sys"

	"perto"
	"perto/internal/fields"
	"perto/internal/printable"
)

// Handle runs the module for a request. next handles the requests that an http-wasm
// module lets pass, and its subrequests. When next is nil, these get a 404. Errors are
// of KindInternal, or of KindUnavailable for [ErrDeadline] and [ErrBusy]. They name the
// module and concern this request only. The caller's request is not changed, but the
// response may share its memory.
func (m *Module) Handle(ctx context.Context, q *Request, next Next) (*Response, error) {
	start := time.Now()
	if next == nil {
		next = nothing
	}
	request := *q
	c := &call{ctx: ctx, module: m, next: next, request: &request, yielded: start, wall: m.limits.Wall, deadline: start.Add(m.limits.Wall)}
	r, err := m.answer(ctx, c)
	err = m.failure(c, err)
	if err == nil && len(r.Body) > 0 && (r.Status == http.StatusNoContent || r.Status == http.StatusResetContent || r.Status == http.StatusNotModified) {
		a := *r
		a.Body = nil // these statuses have no body (RFC 9110, sections 15.3.5, 15.3.6 and 15.4.5)
		r = &a
	}
	m.stats.count(c, err, time.Since(start))
	return r, err
}

// nothing is a Next that responds 404 to everything.
func nothing(*Request) (*Response, error) {
	return &Response{Status: http.StatusNotFound}, nil
}

func (m *Module) answer(ctx context.Context, c *call) (*Response, error) {
	if m.ABI == WAGI {
		return m.runCommand(ctx, c)
	}
	in, err := m.get(ctx, c)
	if err != nil {
		return nil, err
	}
	c.instance = in
	in.printsTo(c)
	answered := false
	// A guest that failed may have left its memory in any state, so put gets the result.
	// The instance must be put back also when the next handler panics.
	defer func() {
		in.printedAll()
		m.put(in, answered)
	}()
	r, err := m.handle(ctx, c)
	answered = err == nil
	return r, err
}

// handle runs one request in an http-wasm instance.
func (m *Module) handle(ctx context.Context, c *call) (*Response, error) {
	in, guest := c.instance, context.WithValue(ctx, callKey{}, c)
	if err := in.request.CallWithStack(guest, in.stack[:]); err != nil {
		return nil, err
	}
	result := in.stack[0]
	if uint32(result) == 0 { // the guest has responded
		return c.needResponse(), nil
	}
	token := result >> 32
	var nextErr error
	before, head := c.response, c.request.Method == http.MethodHead
	c.elsewhere(func() { c.response, nextErr = c.next(c.request) })
	c.after, c.written[kindResponse] = true, false
	c.own[kindResponse], c.own[kindResponseTrailers] = false, false
	if before != nil && nextErr == nil {
		c.response = behind(before, c.response)
	}
	isError := uint64(0)
	if nextErr != nil {
		isError, c.response = 1, &Response{Status: http.StatusBadGateway}
	}
	in.stack[0], in.stack[1] = token, isError
	if err := in.response.CallWithStack(guest, in.stack[:]); err != nil {
		return nil, err
	}
	if nextErr != nil && c.response.Status == http.StatusBadGateway && c.response.Body == nil {
		return nil, nextError{nextErr} // the guest did not replace the failed response
	}
	if head && (c.written[kindResponse] || before != nil && len(before.Body) > 0) {
		c.response = withoutLength(c.response)
	}
	return c.response, nil
}

// withoutLength returns the response to a HEAD request when the guest has changed the
// body. The length that GET would have is then unknown (RFC 9110, section 8.6).
func withoutLength(r *Response) *Response {
	a := *r
	a.Body = nil
	a.Header = slices.Clone(r.Header).Without([]byte("content-length"))
	return &a
}

// behind combines the response of the next handler with the response that the guest
// wrote before it let the request pass. A field of the guest stays when the other
// response has no field of that name. The guest's body comes first.
func behind(before, answer *Response) *Response {
	a := *answer
	var kept fields.Header
	for _, f := range before.Header {
		if !slices.ContainsFunc(answer.Header, func(g fields.Field) bool { return fields.EqualFold(f.Name, g.Name) }) {
			kept = append(kept, f)
		}
	}
	a.Header = append(kept, answer.Header...)
	if len(before.Body) > 0 {
		a.Body = append(slices.Clip(before.Body), answer.Body...)
	}
	return &a
}

// nextError is a failure of the next handler.
type nextError struct{ error }

func (e nextError) Unwrap() error { return e.error }

// instanceError is a failure of the runtime to make an instance. No guest code has run.
type instanceError struct{ cause error }

func (e instanceError) Error() string { return "no instance could be made: " + e.cause.Error() }

// Is makes instanceError match ErrTrap, so that it counts as a crash.
func (e instanceError) Is(target error) bool { return target == ErrTrap }

// failure turns an error of a call into an error for the caller of Handle.
func (m *Module) failure(c *call, err error) error {
	if err == nil {
		return nil
	}
	e := &perto.Error{Op: "run function", Path: m.Name, Kind: perto.KindInternal, Err: err}
	exit, exited := errors.AsType[*sys.ExitError](err)
	cause := err
	if in, ok := errors.AsType[instanceError](err); ok {
		cause = in.cause
	}
	text, _, _ := strings.Cut(cause.Error(), "\n") // the rest is the guest's stack
	text = strings.TrimSuffix(text, " (recovered by wazero)")
	next, isNext := errors.AsType[nextError](err)
	switch {
	case c.err == ErrDeadline || errors.Is(err, ErrDeadline):
		e.Kind, e.Err = perto.KindUnavailable, fmt.Errorf("%w (%s)", ErrDeadline, c.wall)
	case c.err != nil:
		e.Err = c.err
	case errors.Is(err, ErrBusy):
		e.Kind = perto.KindUnavailable
	case errors.As(err, new(instanceError)):
		e.Err = instanceError{errors.New(printable.Text(text))}
	case errors.Is(err, ErrResponse), errors.Is(err, ErrTrap):
	case exited:
		e.Err = fmt.Errorf("%w: it ended with code %d", ErrTrap, exit.ExitCode())
	case isNext:
		e.Err = next.error
	default:
		e.Err = fmt.Errorf("%w: %s", ErrTrap, printable.Text(text))
	}
	return e
}

// randomSource reads the system's random numbers, so instances never share a seed.
type randomSource struct{}

func (randomSource) Read(p []byte) (int, error) { return rand.Read(p) }
