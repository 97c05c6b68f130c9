package main

import (
	"errors"
	"strings"
	"time"

	"perto"
	"perto/config"
	"perto/functions"
)

// byteSize is a number of bytes as the configuration writes it: "64MiB".
type byteSize uint64

// UnmarshalText reads a flag.
func (s *byteSize) UnmarshalText(text []byte) error {
	n, err := config.ParseSize(string(text))
	*s = byteSize(n)
	return err
}

// fnLimits are the limits of a function.
type fnLimits struct {
	Wall        time.Duration `help:"How long it may take (1s)." placeholder:"TIME"`
	Memory      byteSize      `help:"Memory of an instance (64MiB)." placeholder:"SIZE"`
	Subrequests int           `help:"Fetches of a request (4)." placeholder:"N"`
}

func (l *fnLimits) limits() (functions.Limits, error) {
	if l.Wall < 0 || l.Subrequests < 0 {
		return functions.Limits{}, &perto.Error{Op: "read limits", Kind: perto.KindInvalid, Err: errors.New("a limit is negative")}
	}
	return functions.Limits{Wall: l.Wall, Memory: uint64(l.Memory), Subrequests: l.Subrequests}, nil
}

// fnData is the data of a function.
type fnData struct {
	Config string   `help:"What the module's get_config returns." placeholder:"TEXT"`
	KV     []string `name:"kv" sep:"none" help:"Read-only data: KEY=VALUE." placeholder:"PAIR"`
}

// pairs returns what kv_get finds.
func (d *fnData) pairs() (map[string]string, error) {
	var out map[string]string
	for _, pair := range d.KV {
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, &perto.Error{Op: "read data", Path: pair, Kind: perto.KindInvalid, Err: errors.New("it takes KEY=VALUE")}
		}
		if out == nil {
			out = make(map[string]string)
		}
		out[key] = value
	}
	return out, nil
}
