package functions

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/tetratelabs/wazero/sys"

	"perto"
)

// Handle lets the module answer a request. next answers what an http-wasm module
// lets pass; nil stands for one that finds nothing. Errors are of KindInternal, or
// KindUnavailable for [ErrDeadline], and name the module: they concern this
// request only. The caller's request is not changed.
func (m *Module) Handle(ctx context.Context, q *Request, next Next) (*Response, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, m.host.limits.Wall, ErrDeadline)
	defer cancel()
	if next == nil {
		next = func(*Request) (*Response, error) {
			r := newResponse()
			r.Status = http.StatusNotFound
			return r, nil
		}
	}
	if m.ABI == WAGI {
		r, err := m.runCommand(ctx, q)
		return r, m.failure(ctx, nil, err)
	}
	in, put, err := m.get(ctx)
	if err != nil {
		return nil, m.failure(ctx, nil, err)
	}
	c := &call{module: m, instance: in, request: q.clone()}
	r, err := m.handle(ctx, c, next)
	// A guest that broke off may have left its memory in any state.
	put(err == nil)
	return r, m.failure(ctx, c, err)
}

// handle is the life of a request in an http-wasm module.
func (m *Module) handle(ctx context.Context, c *call, next Next) (*Response, error) {
	guest := context.WithValue(ctx, callKey{}, c)
	result, err := c.instance.request.Call(guest)
	if err != nil {
		return nil, err
	}
	if uint32(result[0]) == 0 { // it has answered
		return c.needResponse(), nil
	}
	token := result[0] >> 32
	answered, nextErr := next(c.request)
	c.after, c.response, c.written[kindResponse] = true, answered, false
	isError := uint64(0)
	if nextErr != nil {
		isError, c.response = 1, newResponse()
		c.response.Status = http.StatusBadGateway
	}
	if _, err := c.instance.response.Call(guest, token, isError); err != nil {
		return nil, err
	}
	if nextErr != nil && c.response.Status == http.StatusBadGateway && c.response.Body == nil {
		return nil, nextErr // the guest did not make anything better of it
	}
	return c.response, nil
}

// failure says in a word what went wrong with a call.
func (m *Module) failure(ctx context.Context, c *call, err error) error {
	if err == nil {
		return nil
	}
	e := &perto.Error{Op: "run function", Path: m.Name, Kind: perto.KindInternal, Err: err}
	exit, exited := errors.AsType[*sys.ExitError](err)
	switch {
	case c != nil && c.err != nil:
		e.Err = c.err
	case errors.Is(err, ErrResponse):
		e.Err = ErrResponse
	case context.Cause(ctx) == ErrDeadline:
		e.Kind, e.Err = perto.KindUnavailable, fmt.Errorf("%w (%s)", ErrDeadline, m.host.limits.Wall)
	case exited && exit.ExitCode() != sys.ExitCodeContextCanceled:
		e.Err = fmt.Errorf("%w: it ended with code %d", ErrTrap, exit.ExitCode())
	case ctx.Err() != nil:
		e.Kind, e.Err = perto.KindUnavailable, context.Cause(ctx)
	default:
		text, _, _ := strings.Cut(err.Error(), "\n") // the rest is the guest's stack
		e.Err = fmt.Errorf("%w: %s", ErrTrap, text)
	}
	return e
}

// logLevel returns the level of an ABI's number; ok is false for none.
func logLevel(n int32) (level slog.Level, ok bool) {
	switch n {
	case -1:
		return slog.LevelDebug, true
	case 0:
		return slog.LevelInfo, true
	case 1:
		return slog.LevelWarn, true
	case 2:
		return slog.LevelError, true
	}
	return 0, false
}

// log writes a guest's line, as long as the call has not written too much.
func (c *call) log(n int32, text []byte) {
	level, ok := logLevel(n)
	if c.logged += len(text); !ok || c.logged > c.module.host.limits.Log {
		return
	}
	c.module.host.log.Log(context.Background(), level, strings.ToValidUTF8(string(text), "?"), "module", c.module.Name)
}

// randomSource is the system's; instances never share a seed.
type randomSource struct{}

func (randomSource) Read(p []byte) (int, error) { return rand.Read(p) }
