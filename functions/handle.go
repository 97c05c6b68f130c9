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

// Handle lets the module answer a request. next answers what an http-wasm module
// lets pass, and its subrequests; nil stands for one that finds nothing. Errors are
// of KindInternal, or KindUnavailable for [ErrDeadline] and [ErrBusy], and name the
// module: they concern this request only. The caller's request is not changed, but
// the answer may share its memory.
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
		a.Body = nil // these have none (RFC 9110, sections 15.3.5, 15.3.6 and 15.4.5)
		r = &a
	}
	m.stats.count(c, err, time.Since(start))
	return r, err
}

// nothing is a Next that finds nothing.
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
	// A guest that broke off may have left its memory in any state. What is put back
	// must be even when the next one panics.
	defer func() {
		in.printedAll()
		m.put(in, answered)
	}()
	r, err := m.handle(ctx, c)
	answered = err == nil
	return r, err
}

// handle is the life of a request in an http-wasm module.
func (m *Module) handle(ctx context.Context, c *call) (*Response, error) {
	in, guest := c.instance, context.WithValue(ctx, callKey{}, c)
	if err := in.request.CallWithStack(guest, in.stack[:]); err != nil {
		return nil, err
	}
	result := in.stack[0]
	if uint32(result) == 0 { // it has answered
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
		return nil, nextError{nextErr} // the guest did not make anything better of it
	}
	if head && (c.written[kindResponse] || before != nil && len(before.Body) > 0) {
		c.response = withoutLength(c.response)
	}
	return c.response, nil
}

// withoutLength returns the response to a HEAD request of which the guest has changed
// the body. The body that it would make for GET is not known (RFC 9110, section 8.6).
func withoutLength(r *Response) *Response {
	a := *r
	a.Body = nil
	a.Header = slices.Clone(r.Header).Without([]byte("content-length"))
	return &a
}

// behind returns an answer of the next one behind what the guest had said before it
// let the request pass: its fields stay where the answer has none of their name, its
// body stands in front.
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
		a.Body = append(before.Body[:len(before.Body):len(before.Body)], answer.Body...)
	}
	return &a
}

// nextError is the failure of what a guest let pass.
type nextError struct{ error }

func (e nextError) Unwrap() error { return e.error }

// instanceError is the failure of the runtime to make an instance: no code of the guest
// has run.
type instanceError struct{ cause error }

func (e instanceError) Error() string { return "no instance can be made of it: " + e.cause.Error() }

// Is makes it count as a crash.
func (e instanceError) Is(target error) bool { return target == ErrTrap }

// failure says in a word what went wrong with a call.
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

// randomSource is the system's; instances never share a seed.
type randomSource struct{}

func (randomSource) Read(p []byte) (int, error) { return rand.Read(p) }
