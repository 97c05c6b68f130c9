package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"perto"
	"perto/geodata"
	"perto/lab"
	"perto/lab/report"
	"perto/node"
)

type labRunCmd struct {
	Report string        `arg:"" enum:"moved-code,resolver-distance,end-user-mapping" help:"The experiment: moved-code (the same page with its code at the origin and at the edges), resolver-distance (clients of distant resolvers before and after the name servers have learned, over real packets) or end-user-mapping (the SIGCOMM paper of 2015 and cures without client subnets, in a model)." placeholder:"REPORT"`
	Rounds int           `default:"3" help:"Number of fetches by every vantage (moved-code)." placeholder:"N"`
	Orders int           `default:"100" help:"Number of random orders of the sites (end-user-mapping)." placeholder:"N"`
	Visits time.Duration `default:"1m" help:"Time in which the name servers learn (resolver-distance)." placeholder:"DURATION"`
	Seed   uint64        `help:"Seed of the random draws." default:"1"`
	HTML   string        `name:"html" help:"Also write the report as a page with plots." placeholder:"FILE"`
}

// labReport is a report in the three forms that the command writes. The fourth, JSON, is
// the value itself.
type labReport interface {
	WriteText(w io.Writer) error
	WriteHTML(w io.Writer) error
}

// Run runs the experiment and writes its report.
func (c *labRunCmd) Run(e *env) error {
	for flag, n := range map[string]int{"--rounds": c.Rounds, "--orders": c.Orders} {
		if n < 1 {
			return &perto.Error{Op: "run report", Path: c.Report, Kind: perto.KindInvalid, Err: fmt.Errorf("%s must be 1 or more", flag)}
		}
	}
	if c.Visits <= 0 {
		return &perto.Error{Op: "run report", Path: c.Report, Kind: perto.KindInvalid, Err: fmt.Errorf("--visits must be positive")}
	}
	r, err := map[string]func(*env) (labReport, error){"moved-code": c.movedCode, "resolver-distance": c.distance, "end-user-mapping": c.endUser}[c.Report](e)
	if err != nil {
		return err
	}
	if c.HTML != "" {
		f, err := os.Create(c.HTML)
		if err == nil {
			err = r.WriteHTML(f)
			if cerr := f.Close(); err == nil {
				err = cerr
			}
		}
		if err != nil {
			return &perto.Error{Op: "write", Path: c.HTML, Kind: perto.KindUnavailable, Err: err}
		}
		fmt.Fprintln(e.err, "wrote", c.HTML)
	}
	return e.print(r, func(w io.Writer) { r.WriteText(w) })
}

// world is the configuration of the worlds of a report.
func (c *labRunCmd) world(e *env) (cfg lab.Config, err error) {
	if cfg.Place, err = places(); err != nil {
		return cfg, err
	}
	cfg.Seed, cfg.Logger = c.Seed, logger(e, false)
	cfg.Geo, err = node.OpenMap("")
	return cfg, err
}

// distance starts two worlds, one after the other.
func (c *labRunCmd) distance(e *env) (labReport, error) {
	cfg, err := c.world(e)
	if err != nil {
		return nil, err
	}
	return report.RunDistance(e.ctx, cfg, c.Visits, func(text string) { fmt.Fprintln(e.err, text) })
}

// movedCode starts worlds of its own, measures, and stops them.
func (c *labRunCmd) movedCode(e *env) (labReport, error) {
	cfg, err := c.world(e)
	if err != nil {
		return nil, err
	}
	fmt.Fprintln(e.err, "two worlds, one after the other: about a minute")
	return report.MovedCode(e.ctx, cfg, c.Rounds)
}

// endUser computes the model.
func (c *labRunCmd) endUser(e *env) (labReport, error) {
	cities, err := geodata.LoadCities()
	if err != nil {
		return nil, err
	}
	return report.RunEndUser(e.ctx, report.EndUserConfig{Cities: cities, Seed: c.Seed, Orders: c.Orders})
}
