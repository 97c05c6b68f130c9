package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"perto"
	"perto/config"
	"perto/geodata"
	"perto/lab/model"
	"perto/node"
	"perto/replicas"
)

type planCmd struct {
	Config string      `short:"c" required:"" help:"Configuration with the present PoPs." placeholder:"FILE"`
	Add    int         `default:"3" help:"Number of cities to add." placeholder:"N"`
	Drop   []perto.PoP `help:"Plan without this PoP. The flag may be repeated." placeholder:"POP"`
	Log    string      `help:"Access log with the client's address in the first field of each line, instead of the cities of the world." placeholder:"FILE"`
}

// plan is the result of the command.
type plan struct {
	Sites    int `json:"sites"`    // present PoPs that count
	Lines    int `json:"lines"`    // of the log with a client that has a place
	Unplaced int `json:"unplaced"` // other lines
	model.Plan
}

// Run prints the cities where new machines save most.
func (c *planCmd) Run(e *env) error {
	if c.Add < 1 {
		return &perto.Error{Op: "plan", Kind: perto.KindInvalid, Err: errors.New("--add must be 1 or more")}
	}
	cities, err := geodata.LoadCities()
	if err != nil {
		return err
	}
	cfg, err := config.Load(c.Config, cities.FindCity)
	if err != nil {
		return err
	}
	sites, err := c.sites(cfg.World.PoPs)
	if err != nil {
		return err
	}
	p := plan{Sites: len(sites)}
	users := model.DemandOf(cities)
	if c.Log != "" {
		geo, err := node.OpenMap(cfg.World.Geodata.Database)
		if err == nil {
			geo, err = node.WithOverrides(geo, &cfg.World.Geodata)
		}
		if err != nil {
			return err
		}
		if users, err = p.readLog(c.Log, geo); err != nil {
			return err
		}
	}
	p.Plan = *model.NewPlan(users, sites, cities, c.Add)
	return e.print(p, func(w io.Writer) { p.write(w) })
}

// sites returns the PoPs that are not dropped.
func (c *planCmd) sites(pops []config.PoP) ([]replicas.Site, error) {
	var out []replicas.Site
	for _, name := range c.Drop {
		if !slices.ContainsFunc(pops, func(p config.PoP) bool { return p.Name == name }) {
			return nil, &perto.Error{Op: "drop", Path: string(name), Kind: perto.KindNotFound, Err: errors.New("the configuration has no such PoP")}
		}
	}
	for _, p := range pops {
		if !slices.Contains(c.Drop, p.Name) {
			out = append(out, replicas.Site{Name: p.Name, Place: p.Place})
		}
	}
	if len(out) == 0 {
		return nil, &perto.Error{Op: "plan", Path: c.Config, Kind: perto.KindInvalid, Err: errors.New("no PoP is left")}
	}
	return out, nil
}

// readLog counts the lines of a log by the cell of their client.
func (p *plan) readLog(name string, geo *geodata.Map) ([]model.Users, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, &perto.Error{Op: "read", Path: name, Kind: perto.KindInvalid, Err: errors.Unwrap(err)}
	}
	defer f.Close()
	counts := make([]float64, geo.NumCells())
	lines := bufio.NewReader(f)
	for {
		line, err := lines.ReadString('\n')
		first, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if first != "" {
			addr, perr := netip.ParseAddr(first)
			cell := geodata.Cell(0)
			if perr == nil {
				cell = geo.Lookup(addr.Unmap().WithZone(""))
			}
			if cell == 0 {
				p.Unplaced++
			} else {
				p.Lines++
				counts[cell]++
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, &perto.Error{Op: "read", Path: name, Kind: perto.KindUnavailable, Err: err}
		}
	}
	if p.Lines == 0 {
		return nil, &perto.Error{Op: "read", Path: name, Kind: perto.KindInvalid, Err: errors.New("no line begins with an address that has a place")}
	}
	var users []model.Users
	for cell, n := range counts {
		if n > 0 {
			users = append(users, model.Users{Place: geo.Place(geodata.Cell(cell)), Weight: n})
		}
	}
	return users, nil
}

func (p *plan) write(w io.Writer) {
	fmt.Fprintf(w, "RTT to the nearest of %d PoPs, estimated from distances: mean %.1f ms, p95 %.1f ms", p.Sites, p.Mean.Float(), p.P95.Float())
	if p.Lines > 0 {
		fmt.Fprintf(w, " (%d lines of the log, %d without a place)", p.Lines, p.Unplaced)
	}
	fmt.Fprint(w, "\n\n")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ADD\tMEAN\tSAVED\tP95\tSAVED\tUSERS\tMOST OF THEM IN")
	for _, a := range p.Additions {
		fmt.Fprintf(t, "%s\t%.1f ms\t%.1f ms\t%.1f ms\t%.1f ms\t%.1f %%\t%s\n", a.Place, a.Mean.Float(), a.SavedMean.Float(), a.P95.Float(), a.SavedP95.Float(), 100*a.Share, strings.Join(a.Countries, ", "))
	}
	t.Flush()
	if len(p.Additions) == 0 {
		fmt.Fprintln(w, "No city saves anything.")
	}
}
