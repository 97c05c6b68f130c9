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

// call is the state of one request while an instance handles it. Host functions find
// it in the context.
type call struct {
	ctx      context.Context // the caller's
	module   *Module
	instance *instance
	next     Next
	request  *Request  // nil while the instance is made
	response *Response // nil before there is one
	after    bool      // the next handler has responded: handle_response runs

	own     [4]bool // by kind of header: the fields were copied and belong to this call
	read    [2]int  // bytes of each body that the guest has read
	written [2]bool
	logged  int // bytes logged
	lines   int // lines logged
	hosted  int // host functions called

	subrequests int
	fetched     []byte // body of the last subrequest
	fetchedRead int

	wall     time.Duration // time limit of the guest
	deadline time.Time     // when the guest's time is over; moved by the time spent elsewhere
	yielded  time.Time     // when the guest last yielded
	away     time.Duration // time spent in the next handler and in subrequests
	err      error         // the limit that the guest exceeded, for which it was ended
}

type callKey struct{}

func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// guestError ends a guest that called a host function wrongly.
type guestError string

func (e guestError) Error() string { return string(e) }

// errEnded ends a guest when the caller's context has ended.
var errEnded = errors.New("its caller has canceled the request")

const (
	// slice is the time a guest computes before it yields to other goroutines.
	slice = 250 * time.Microsecond
	// patience is the time a guest may compute without a pause. After that it needs
	// credit, or sleeps for rest after each slice. The operating system gives a thread
	// that never sleeps turns of milliseconds. Other threads wait for these turns, even
	// when another core is idle.
	patience = 4 * time.Millisecond
	rest     = 3 * slice
	// hostedStep is the number of host function calls after which a guest yields.
	hostedStep = 64
)

// yield is called by the guest at intervals (package rewrite). It ends the guest when
// its time is over. Because it is Go code, the garbage collector and other goroutines
// can run here, also while the guest computes in an endless loop.
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

// credit is a token bucket: time that a module's calls may compute beyond patience
// without rests. The bucket holds 50 ms, and 1 ms comes back in a second. So an
// occasional thumbnail is made at full speed, and a module that computes all the time
// is slowed down. The field is the time when the bucket is full again, in nanoseconds
// since 1970.
type credit struct{ full atomic.Int64 }

const (
	creditMost = 50 * time.Second // an empty bucket is full again after this time
	creditCost = 1000 * slice     // the credit of one slice is back after this time
)

// take takes the credit for one slice.
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

// elsewhere runs f. Its time does not count as the guest's.
func (c *call) elsewhere(f func()) {
	start := time.Now()
	f()
	took := time.Since(start)
	c.deadline, c.yielded, c.away = c.deadline.Add(took), c.yielded.Add(took), c.away+took
}

// hostFunc implements a host function. Its parameters are in s, its result goes to
// s[0].
type hostFunc = func(c *call, mem api.Memory, s []uint64)

// hostFunction is a function that guests can import.
type hostFunction struct {
	name            string
	params, results []api.ValueType
	run             hostFunc
}

const i32, i64 = api.ValueTypeI32, api.ValueTypeI64

// export makes a host module from functions.
func export(ctx context.Context, r wazero.Runtime, module string, functions []hostFunction) error {
	b := r.NewHostModuleBuilder(module)
	for _, f := range functions {
		b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(ctx context.Context, _ api.Module, s []uint64) {
			c := callOf(ctx)
			if c == nil {
				panic(guestError("the host function was called outside of a request"))
			}
			if c.hosted++; c.hosted%hostedStep == 0 {
				c.yield()
			}
			for i, t := range f.params {
				if t == i32 { // the upper half of an i32 is undefined
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

// logLevel returns the slog level of a level number of the ABI. ok is false when there
// is none.
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

// maxLines is the most lines that a call may log.
const maxLines = 64

// log writes a guest's line, within the limits of the call. The text is always one
// line: text of a client in it cannot begin another one.
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
