package functions

import (
	"errors"
	"time"
)

// Limits bound what a module and one call of it may use. Zero values take the
// defaults.
type Limits struct {
	Wall        time.Duration `json:"wall_ns"`        // the guest's own time from call to answer; default 1 s
	Begin       time.Duration `json:"begin_ns"`       // its initialisation, once; default 5 s, and no less than Wall
	Memory      uint64        `json:"memory_bytes"`   // of an instance, in steps of 64 KiB; default 64 MiB
	Response    int           `json:"response_bytes"` // body of an answer; default 4 MiB
	Log         int           `json:"log_bytes"`      // text that one call may log; default 8 KiB
	Module      int           `json:"module_bytes"`   // the module itself; default 32 MiB
	Subrequests int           `json:"subrequests"`    // fetches of one call; default 4
	Instances   int           `json:"instances"`      // that answer at a time; default 64
}

const pageBytes = 1 << 16 // of WebAssembly

// over returns the limits with those of d in place of zeros.
func (l Limits) over(d Limits) Limits {
	fill(&l.Wall, d.Wall)
	fill(&l.Begin, d.Begin)
	fill(&l.Memory, d.Memory)
	fill(&l.Response, d.Response)
	fill(&l.Log, d.Log)
	fill(&l.Module, d.Module)
	fill(&l.Subrequests, d.Subrequests)
	fill(&l.Instances, d.Instances)
	return l
}

func fill[T comparable](v *T, d T) {
	if *v == *new(T) {
		*v = d
	}
}

var defaultLimits = Limits{Wall: time.Second, Begin: beginTime, Memory: 64 << 20, Response: 4 << 20, Log: 8 << 10, Module: 32 << 20, Subrequests: 4, Instances: 64}

// What can be wrong with a call. The edge answers 504 to ErrDeadline, 503 to ErrBusy
// and 500 to the others.
var (
	ErrDeadline = errors.New("it took longer than it may")
	ErrResponse = errors.New("its answer is larger than it may be")
	ErrTrap     = errors.New("it crashed")
	ErrBusy     = errors.New("all instances that it may have are busy")
)
