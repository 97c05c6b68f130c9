package functions

import (
	"encoding/json"
	"errors"
	"time"

	"perto"
)

// Limits bound the resources of a module and of one call. Zero values take the
// defaults.
type Limits struct {
	Wall        time.Duration `json:"-"`              // time of one call, without the next handler's; default 1 s
	Begin       time.Duration `json:"-"`              // time of the initialisation; default 5 s, and no less than Wall
	Memory      uint64        `json:"memory_bytes"`   // memory of an instance, in steps of 64 KiB; default 64 MiB
	Response    int           `json:"response_bytes"` // body of a response; default 4 MiB
	Log         int           `json:"log_bytes"`      // text that one call may log; default 8 KiB
	Module      int           `json:"module_bytes"`   // size of the module; default 32 MiB
	Subrequests int           `json:"subrequests"`    // subrequests of one call; default 4
	Instances   int           `json:"instances"`      // instances that run at a time; default 64
}

// limitsJSON is the form of Limits in JSON: durations are numbers of milliseconds.
type limitsJSON struct {
	Wall  perto.Millis `json:"wall_ms"`
	Begin perto.Millis `json:"begin_ms"`
	*plainLimits
}

type plainLimits Limits

// MarshalJSON writes durations in milliseconds.
func (l Limits) MarshalJSON() ([]byte, error) {
	return json.Marshal(limitsJSON{perto.Millis(l.Wall), perto.Millis(l.Begin), (*plainLimits)(&l)})
}

// UnmarshalJSON reads the output of MarshalJSON.
func (l *Limits) UnmarshalJSON(b []byte) error {
	in := limitsJSON{perto.Millis(l.Wall), perto.Millis(l.Begin), (*plainLimits)(l)}
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	l.Wall, l.Begin = in.Wall.Duration(), in.Begin.Duration()
	return nil
}

const pageBytes = 1 << 16 // WebAssembly's page size

// over returns the limits with the values of d in place of zeros.
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

// Errors of a call. The edge responds 504 to ErrDeadline, 503 to ErrBusy and 500 to the
// others.
var (
	ErrDeadline = errors.New("it exceeded its time limit")
	ErrResponse = errors.New("its response exceeds the limit")
	ErrTrap     = errors.New("it crashed")
	ErrBusy     = errors.New("all its instances are busy")
)
