package functions

import (
	"bytes"

	"github.com/tetratelabs/wazero"
)

// printed logs what a guest writes to one of its standard outputs, line by line: that
// is where runtimes of languages say why they end.
type printed struct {
	call  *call // under way
	level int32 // of the ABI's log
	rest  []byte
}

// Write takes what an output gets, which comes in pieces.
func (p *printed) Write(b []byte) (int, error) {
	n := len(b)
	for {
		line, after, ok := bytes.Cut(b, []byte("\n"))
		if !ok {
			break
		}
		p.keep(line)
		p.end()
		b = after
	}
	p.keep(b)
	return n, nil
}

// keep keeps a part of a line, no more than the call may log.
func (p *printed) keep(b []byte) {
	p.rest = append(p.rest, b[:min(len(b), max(0, p.call.module.limits.Log-len(p.rest)))]...)
}

// end logs the line.
func (p *printed) end() {
	p.call.log(p.level, bytes.TrimSuffix(p.rest, []byte("\r")))
	p.rest = p.rest[:0]
}

// printsTo connects the outputs of an http-wasm instance with a call's log.
func (in *instance) printsTo(c *call) {
	in.out = [2]printed{{call: c, level: 0, rest: in.out[0].rest[:0]}, {call: c, level: 1, rest: in.out[1].rest[:0]}}
}

// printedAll logs the lines that have no end.
func (in *instance) printedAll() {
	in.out[0].end()
	in.out[1].end()
}

// withOutputs returns the configuration of an instance whose outputs are its log.
func (in *instance) withOutputs(cfg wazero.ModuleConfig) wazero.ModuleConfig {
	return cfg.WithStdout(&in.out[0]).WithStderr(&in.out[1])
}
