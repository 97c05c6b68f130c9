package functions

import (
	"bytes"

	"github.com/tetratelabs/wazero"
)

// printed logs a guest's standard output or standard error, line by line. Language
// runtimes print there why they end.
type printed struct {
	call  *call // the current call
	level int32 // log level in the ABI's numbers
	rest  []byte
}

// Write takes output in pieces and logs each complete line.
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

// keep appends to the current line, within the log limit of the call.
func (p *printed) keep(b []byte) {
	p.rest = append(p.rest, b[:min(len(b), max(0, p.call.module.limits.Log-len(p.rest)))]...)
}

// end logs the current line.
func (p *printed) end() {
	p.call.log(p.level, bytes.TrimSuffix(p.rest, []byte("\r")))
	p.rest = p.rest[:0]
}

// printsTo sends the outputs of an http-wasm instance to the log of a call.
func (in *instance) printsTo(c *call) {
	in.out = [2]printed{{call: c, level: 0, rest: in.out[0].rest[:0]}, {call: c, level: 1, rest: in.out[1].rest[:0]}}
}

// printedAll logs the incomplete last lines.
func (in *instance) printedAll() {
	in.out[0].end()
	in.out[1].end()
}

// withOutputs connects the outputs of an instance in its configuration.
func (in *instance) withOutputs(cfg wazero.ModuleConfig) wazero.ModuleConfig {
	return cfg.WithStdout(&in.out[0]).WithStderr(&in.out[1])
}
