package functions

import (
	"errors"
	"time"
)

// Limits bound what one call of a module may use. Zero values take the defaults.
type Limits struct {
	Wall     time.Duration // from call to answer; default 1 s
	Memory   uint64        // of an instance, in bytes, in steps of 64 KiB; default 64 MiB
	Response int           // body of an answer, in bytes; default 4 MiB
	Log      int           // text that one call may log, in bytes; default 8 KiB
	Module   int           // size of the module itself, in bytes; default 32 MiB
}

const pageBytes = 1 << 16 // of WebAssembly

func (l Limits) withDefaults() Limits {
	if l.Wall == 0 {
		l.Wall = time.Second
	}
	if l.Memory == 0 {
		l.Memory = 64 << 20
	}
	if l.Response == 0 {
		l.Response = 4 << 20
	}
	if l.Log == 0 {
		l.Log = 8 << 10
	}
	if l.Module == 0 {
		l.Module = 32 << 20
	}
	return l
}

// What can be wrong with a call; the edge answers 500 to all but ErrDeadline (504).
var (
	ErrDeadline = errors.New("it took longer than it may")
	ErrResponse = errors.New("its answer is larger than it may be")
	ErrTrap     = errors.New("it crashed")
)
