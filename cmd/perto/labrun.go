package main

import (
	"fmt"
	"io"
	"os"

	"perto"
	"perto/lab"
	"perto/lab/report"
	"perto/node"
)

type labRunCmd struct {
	Report string `arg:"" enum:"moved-code" help:"The experiment: moved-code (the same page with its code at the origin and at the edges)." placeholder:"REPORT"`
	Rounds int    `default:"3" help:"Number of fetches by every vantage." placeholder:"N"`
	Seed   uint64 `help:"Seed of the paths' delays." default:"1"`
	HTML   string `name:"html" help:"Also write the report as a page with plots." placeholder:"FILE"`
}

// Run starts worlds of its own, measures, and stops them.
func (c *labRunCmd) Run(e *env) error {
	if c.Rounds < 1 {
		return &perto.Error{Op: "run report", Path: c.Report, Kind: perto.KindInvalid, Err: fmt.Errorf("--rounds must be 1 or more")}
	}
	place, err := places()
	if err != nil {
		return err
	}
	cfg := lab.Config{Place: place, Seed: c.Seed, Logger: logger(e, false)}
	if cfg.Geo, err = node.OpenMap(""); err != nil {
		return err
	}
	fmt.Fprintln(e.err, "two worlds, one after the other: about a minute")
	m, err := report.MovedCode(e.ctx, cfg, c.Rounds)
	if err != nil {
		return err
	}
	if c.HTML != "" {
		f, err := os.Create(c.HTML)
		if err == nil {
			err = m.WriteHTML(f)
			if cerr := f.Close(); err == nil {
				err = cerr
			}
		}
		if err != nil {
			return &perto.Error{Op: "write", Path: c.HTML, Kind: perto.KindUnavailable, Err: err}
		}
		fmt.Fprintln(e.err, "wrote", c.HTML)
	}
	return e.print(m, func(w io.Writer) { m.WriteText(w) })
}
