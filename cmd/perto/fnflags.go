package main

import (
	"errors"
	"strings"
	"time"

	"perto"
	"perto/config"
	"perto/functions"
)

// byteSize is a number of bytes in the form of the configuration: "64MiB".
type byteSize uint64

// UnmarshalText reads a flag.
func (s *byteSize) UnmarshalText(text []byte) error {
	n, err := config.ParseSize(string(text))
	*s = byteSize(n)
	return err
}

// fnLimits are the limits of a function.
type fnLimits struct {
	Wall        time.Duration `help:"Time limit of a request (default: 1s)." placeholder:"TIME"`
	Memory      byteSize      `help:"Memory of an instance (default: 64MiB)." placeholder:"SIZE"`
	Subrequests int           `help:"Most subrequests of a request (default: 4)." placeholder:"N"`
}

func (l *fnLimits) limits() (functions.Limits, error) {
	if l.Wall < 0 || l.Subrequests < 0 {
		return functions.Limits{}, &perto.Error{Op: "read limits", Kind: perto.KindInvalid, Err: errors.New("a limit is negative")}
	}
	return functions.Limits{Wall: l.Wall, Memory: uint64(l.Memory), Subrequests: l.Subrequests}, nil
}

// fnData is the data of a function.
type fnData struct {
	Config string   `help:"Text that the module's get_config returns." placeholder:"TEXT"`
	KV     []string `name:"kv" sep:"none" help:"Read-only data: KEY=VALUE." placeholder:"PAIR"`
}

// pairs returns the data for kv_get.
func (d *fnData) pairs() (map[string]string, error) {
	var out map[string]string
	for _, pair := range d.KV {
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, &perto.Error{Op: "read data", Path: pair, Kind: perto.KindInvalid, Err: errors.New("use the form KEY=VALUE")}
		}
		if out == nil {
			out = make(map[string]string)
		}
		out[key] = value
	}
	return out, nil
}
