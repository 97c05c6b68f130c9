package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"

	"perto"
	"perto/config"
	"perto/geodata"
	"perto/internal/atomicfile"
	"perto/node"
)

type configCmd struct {
	Check configCheckCmd `cmd:"" help:"Check a configuration and its zone files. Report every mistake and every risk."`
	Fmt   configFmtCmd   `cmd:"" help:"Format a configuration."`
	Show  configShowCmd  `cmd:"" help:"Print a configuration with all values, including defaults."`
}

type configCheckCmd struct {
	File string `arg:"" help:"The configuration." placeholder:"FILE"`
	Node string `help:"Also check the part of this machine: key file, data folder, ports." placeholder:"NAME"`
}

// Run checks a file.
func (c *configCheckCmd) Run(e *env) error {
	cfg, names, err := check(c.File)
	if err != nil {
		return err
	}
	warnings := node.Warnings(cfg)
	if c.Node != "" {
		local, err := cfg.Find(c.Node)
		if err != nil {
			return err
		}
		more, err := node.Preflight(e.ctx, local)
		if err != nil {
			return err
		}
		warnings = append(warnings, more...)
	}
	edges := 0
	for _, p := range cfg.World.PoPs {
		edges += len(p.Edges)
	}
	result := checkedConfig{c.File, len(cfg.World.PoPs), edges, len(cfg.Nodes), len(cfg.World.Services), names, warnings}
	return e.print(result, func(w io.Writer) {
		printWarnings(e, result.Warnings)
		fmt.Fprintf(w, "%s is good: %d PoPs with %d edges, %d nodes, %d services, %d zones\n", c.File, result.PoPs, edges, result.Nodes, result.Services, len(names))
	})
}

func printWarnings(e *env, list []string) {
	for _, text := range list {
		fmt.Fprintln(e.err, "warning:", text)
	}
}

// checkedConfig is the result of a check.
type checkedConfig struct {
	File     string         `json:"file"`
	PoPs     int            `json:"pops"`
	Edges    int            `json:"edges"`
	Nodes    int            `json:"nodes"`
	Services int            `json:"services"`
	Zones    map[string]int `json:"zones"` // names in each
	Warnings []string       `json:"warnings,omitempty"`
}

// check reads a configuration with its zones.
func check(file string) (*config.Config, map[string]int, error) {
	place, err := places()
	if err != nil {
		return nil, nil, err
	}
	cfg, err := config.Load(file, place)
	if err != nil {
		return nil, nil, err
	}
	names, err := node.CheckZones(&cfg.World)
	if err != nil {
		return nil, nil, &perto.Error{Op: "check zones of", Path: file, Kind: perto.KindInvalid, Err: err}
	}
	return cfg, names, nil
}

type configShowCmd struct {
	File string `arg:"" help:"The configuration." placeholder:"FILE"`
	Node string `help:"Show the part of one machine." placeholder:"NAME"`
}

// Run prints a configuration with its defaults. It prints names of keys, not the keys.
func (c *configShowCmd) Run(e *env) error {
	cfg, _, err := check(c.File)
	if err != nil {
		return err
	}
	if c.Node != "" {
		local, err := cfg.Find(c.Node)
		if err != nil {
			return err
		}
		cfg.Nodes = []config.Local{*local}
	}
	return e.print(configJSON(cfg), func(w io.Writer) { w.Write(config.Show(cfg)) })
}

type configFmtCmd struct {
	File  string `arg:"" help:"The configuration." placeholder:"FILE"`
	Check bool   `help:"Change nothing; fail when the file is not formatted."`
}

// Run formats a file in place.
func (c *configFmtCmd) Run(*env) error {
	src, err := os.ReadFile(c.File)
	if err != nil {
		return &perto.Error{Op: "format", Path: c.File, Kind: perto.KindInvalid, Err: err}
	}
	formatted := config.Format(src)
	switch {
	case bytes.Equal(src, formatted):
		return nil
	case c.Check:
		return &perto.Error{Op: "check format of", Path: c.File, Kind: perto.KindConflict, Err: errors.New("it is not formatted"), Hint: fmt.Sprintf("run \"perto config fmt %s\"", c.File)}
	}
	return writeFile(c.File, formatted)
}

// writeFile replaces a file as a whole and keeps its permissions.
func writeFile(name string, data []byte) error {
	name, err := filepath.EvalSymlinks(name) // a link stays one
	if err != nil {
		return err
	}
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	return atomicfile.Write(name, data, info.Mode().Perm())
}

type zoneCmd struct {
	Check zoneCheckCmd `cmd:"" help:"Check the zone files that a configuration names."`
}

type zoneCheckCmd struct {
	File string `arg:"" help:"The configuration." placeholder:"FILE"`
}

// Run checks zones.
func (c *zoneCheckCmd) Run(e *env) error {
	_, names, err := check(c.File)
	if err != nil {
		return err
	}
	return e.print(names, func(w io.Writer) {
		for zone, n := range names {
			fmt.Fprintf(w, "zone %s is good: %d names\n", zone, n)
		}
	})
}

type geodataCmd struct {
	Lookup geodataLookupCmd `cmd:"" help:"Look up the place of an address."`
	Build  geodataBuildCmd  `cmd:"" help:"Compile a map from MMDB files."`
	Export geodataExportCmd `cmd:"" help:"Write a map as an MMDB for other programs."`
}

type geodataLookupCmd struct {
	Address  []string `arg:"" help:"IP addresses."`
	Database string   `short:"d" help:"A map or MMDB file (default: the embedded world map)." placeholder:"FILE"`
}

// located is an address with its place.
type located struct {
	Address netip.Addr   `json:"address"`
	Network netip.Prefix `json:"network"` // all its addresses have the same cell
	Cell    geodata.Cell `json:"cell"`
	Place   perto.Place  `json:"place"`
	Anycast bool         `json:"anycast,omitempty"`
	IPv4    string       `json:"ipv4,omitempty"` // the address inside a 6to4, Teredo or NAT64 address
}

// Run looks addresses up.
func (c *geodataLookupCmd) Run(e *env) error {
	m, err := node.OpenMap(c.Database)
	if err != nil {
		return err
	}
	var results []located
	for _, s := range c.Address {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return &perto.Error{Op: "look up", Path: s, Kind: perto.KindInvalid, Err: fmt.Errorf("no IP address")}
		}
		cell := m.Lookup(a)
		l := located{Address: a, Network: m.Prefix(a), Cell: cell, Place: m.Place(cell)}
		l.Anycast = m.Anycast(a)
		if inner, form := geodata.Embedded(a); form != geodata.Native {
			l.IPv4 = fmt.Sprintf("%s in %s", inner, form)
		}
		results = append(results, l)
	}
	return e.print(results, func(w io.Writer) {
		for _, r := range results {
			inside := ""
			if r.IPv4 != "" {
				inside = "; " + r.IPv4
			}
			if r.Anycast {
				inside += "; anycast"
			}
			if r.Cell == 0 {
				fmt.Fprintf(w, "%s\tunknown (%s%s)\n", r.Address, r.Network, inside)
				continue
			}
			fmt.Fprintf(w, "%s\t%s (%.2f, %.2f; cell %d, %s%s)\n", r.Address, r.Place, r.Place.Lat, r.Place.Lon, r.Cell, r.Network, inside)
		}
	})
}

type geodataBuildCmd struct {
	Source []string `arg:"" help:"MMDB files with cities, for example of DB-IP or GeoLite2. IPv4 and IPv6 may be in separate files."`
	Out    string   `short:"o" required:"" help:"File to write the map to." placeholder:"FILE"`
}

// Run compiles a map.
func (c *geodataBuildCmd) Run(e *env) error {
	cities, err := geodata.LoadCities()
	if err != nil {
		return err
	}
	report, err := geodata.Build(c.Source, c.Out, geodata.Options{Cities: cities})
	if err != nil {
		return err
	}
	return e.print(report, func(w io.Writer) { fmt.Fprint(w, report) })
}

type geodataExportCmd struct {
	Out      string `short:"o" required:"" help:"File to write the MMDB to." placeholder:"FILE"`
	Database string `short:"d" help:"A map file (default: the embedded world map)." placeholder:"FILE"`
}

// Run exports a map.
func (c *geodataExportCmd) Run(*env) error {
	m, err := node.OpenMap(c.Database)
	if err != nil {
		return err
	}
	return geodata.Export(m, c.Out)
}
