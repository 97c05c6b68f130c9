package functions

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"perto/internal/printable"
)

// call is one request in the hands of an instance. Host functions find it in the
// context.
type call struct {
	ctx      context.Context // the caller's
	module   *Module
	instance *instance
	next     Next
	request  *Request  // nil while the instance is made
	response *Response // nil before there is one
	after    bool      // the next one has answered: handle_response runs

	own     [4]bool // the lines of a kind of header are the call's own
	read    [2]int  // how much of each body the guest has read
	written [2]bool
	logged  int // bytes
	lines   int // that were logged
	hosted  int // host functions called

	subrequests int
	fetched     []byte // body of the last subrequest
	fetchedRead int

	wall     time.Duration // how long the guest may take
	deadline time.Time     // of the guest; what others take for it does not count
	yielded  time.Time     // when others had a turn last
	away     time.Duration // what others took
	err      error         // a limit that was broken, for which the guest was ended
}

type callKey struct{}

func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// guestError ends a guest: a host function was called as it must not be.
type guestError string

func (e guestError) Error() string { return string(e) }

// errEnded ends a guest whose caller wants no answer any more.
var errEnded = errors.New("its caller has gone")

const (
	// slice is how long a guest computes before others get a turn.
	slice = 250 * time.Microsecond
	// patience is how long it may compute without a pause; after that it needs credit,
	// or rests for rest behind each slice. The operating system gives a thread that
	// never rests turns of milliseconds, for which others wait even where another core
	// is idle.
	patience = 4 * time.Millisecond
	rest     = 3 * slice
	// hostedStep is after how many host functions a guest comes to yield.
	hostedStep = 64
)

// yield is where a guest comes by every now and then (package rewrite): it ends here
// when its time is over. Being Go it is also where the garbage collector and other
// goroutines get at a thread that computes without end.
func (c *call) yield() {
	now := time.Now()
	if now.After(c.deadline) {
		c.err = ErrDeadline
		panic(guestError(ErrDeadline.Error()))
	}
	if c.ctx.Err() != nil {
		c.err = errEnded
		panic(guestError(errEnded.Error()))
	}
	if now.Sub(c.yielded) < slice {
		return
	}
	if began := c.deadline.Add(-c.wall); now.Sub(began) > patience && !c.module.credit.take(now) {
		time.Sleep(rest)
	} else {
		runtime.Gosched()
	}
	c.yielded = time.Now()
}

// credit is time that a module's calls may compute beyond their patience without
// rests: up to 50 ms at once, of which 1 ms comes back in a second. A thumbnail now and
// then is made at full speed; who computes all the time does not get far with it. It
// holds when the bucket would be full again, in nanoseconds since 1970.
type credit struct{ full atomic.Int64 }

const (
	creditMost = 50 * time.Second // in which an empty bucket is full again
	creditCost = 1000 * slice     // in which a slice comes back
)

// take takes the credit for a slice.
func (c *credit) take(now time.Time) bool {
	at := now.UnixNano()
	for {
		full := c.full.Load()
		next := max(full, at) + int64(creditCost)
		if next-at > int64(creditMost) {
			return false
		}
		if c.full.CompareAndSwap(full, next) {
			return true
		}
	}
}

// elsewhere runs f, whose time is not the guest's.
func (c *call) elsewhere(f func()) {
	start := time.Now()
	f()
	took := time.Since(start)
	c.deadline, c.yielded, c.away = c.deadline.Add(took), c.yielded.Add(took), c.away+took
}

// hostFunc is the work of a host function: its parameters come in s, its result goes
// to s[0].
type hostFunc = func(c *call, mem api.Memory, s []uint64)

// hostFunction is what guests import.
type hostFunction struct {
	name            string
	params, results []api.ValueType
	run             hostFunc
}

const i32, i64 = api.ValueTypeI32, api.ValueTypeI64

// export makes a host module of functions.
func export(ctx context.Context, r wazero.Runtime, module string, functions []hostFunction) error {
	b := r.NewHostModuleBuilder(module)
	for _, f := range functions {
		b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(ctx context.Context, _ api.Module, s []uint64) {
			c := callOf(ctx)
			if c == nil {
				panic(guestError("no call is under way"))
			}
			if c.hosted++; c.hosted%hostedStep == 0 {
				c.yield()
			}
			for i, t := range f.params {
				if t == i32 { // the upper half of the slot is not defined
					s[i] = uint64(uint32(s[i]))
				}
			}
			f.run(c, c.instance.memory, s)
		}), f.params, f.results).Export(f.name)
	}
	_, err := b.Instantiate(ctx)
	return err
}

func types(n int, t api.ValueType) []api.ValueType { return slices.Repeat([]api.ValueType{t}, n) }

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

// maxLines is how many lines a call may log.
const maxLines = 64

// log writes a guest's line, as far as the call has not written too much. The text is
// one line: a client's text in it cannot begin another one.
func (c *call) log(n int32, text []byte) {
	level, ok := logLevel(n)
	if left := c.module.limits.Log - c.logged; len(text) > left {
		text = text[:max(left, 0)]
	}
	if !ok || len(text) == 0 || c.lines > maxLines {
		return
	}
	c.logged += len(text)
	line := printable.Text(text)
	if c.lines++; c.lines > maxLines {
		level, line = slog.LevelWarn, fmt.Sprintf("the request logs more than %d lines: the rest is dropped", maxLines)
	}
	c.module.host.log.Log(context.Background(), level, line, "module", c.module.Name)
	if c.module.logs != nil {
		var client netip.Addr
		if c.request != nil {
			client = c.request.Source.Addr()
		}
		c.module.logs.Add(client, level, line)
	}
}
