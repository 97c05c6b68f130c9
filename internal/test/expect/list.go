package expect

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/hcl/v2/hclsimple"

	"perto"
)

// List is what must hold of a world. Every block is one expectation; its label
// says in words what is expected.
type List struct {
	Nearest     []Nearest     `hcl:"nearest,block"`
	Connections []Connections `hcl:"connections,block"`
	Delays      []Delays      `hcl:"delays,block"`
	Stored      []Stored      `hcl:"stored,block"`
	Private     []Private     `hcl:"private,block"`
	Deaths      []Death       `hcl:"death,block"`
	PoPsLost    []PoPLost     `hcl:"pop_lost,block"`
	OriginsDown []OriginDown  `hcl:"origin_down,block"`
}

// Nearest expects that every vantage, asking its own resolver, is given addresses
// of the PoP that is nearest by great circle to where DNS sees it.
type Nearest struct {
	About string   `hcl:"about,label"`
	Name  string   `hcl:"name"`
	Types []string `hcl:"types"` // of records; a family that the world does not have is left out
}

// Connections expects that of the connections (not of the answers) which vantages
// with a near resolver make, a share reaches the nearest PoP.
type Connections struct {
	About string  `hcl:"about,label"`
	URL   string  `hcl:"url"`
	Each  int     `hcl:"each"`  // connections of each vantage
	Share float64 `hcl:"share"` // of all, 0 to 1
}

// Delays expects that a connection is set up in the round-trip time that the
// world was asked to give: from every vantage to an edge of some PoPs, by the
// edges' own names.
type Delays struct {
	About  string  `hcl:"about,label"`
	URL    string  `hcl:"url"`    // %s stands for the edge
	Within float64 `hcl:"within"` // of the time asked for, 0 to 1
	Floor  string  `hcl:"floor"`  // and never closer than this: what the machine itself takes

	floor time.Duration
}

// Stored expects a miss and then a hit, of the same edge and the same content.
type Stored struct {
	About string `hcl:"about,label"`
	URL   string `hcl:"url"` // %s stands for the vantage
}

// Private expects that nobody is given what was made for another.
type Private struct {
	About string `hcl:"about,label"`
	URL   string `hcl:"url"`
}

// Death expects that an edge which dies is no longer named by any authoritative
// server after a time, that clients which try the next address never fail
// meanwhile, and that it comes back.
type Death struct {
	About string `hcl:"about,label"`
	Fault Fault  `hcl:"fault"`
	Name  string `hcl:"name"`
	URL   string `hcl:"url"` // fetched without a pause while it is dead; %d is a number
	Gone  string `hcl:"gone"`
	// GoneSilent is Gone where a kill takes the host with it (see
	// World.KillsAreSilent); "" is Gone.
	GoneSilent string `hcl:"gone_silent,optional"`

	gone, goneSilent time.Duration
}

// PoPLost expects that clients of a PoP which is off the network are sent to
// another one after a time, and back when it is there again.
type PoPLost struct {
	About string `hcl:"about,label"`
	Name  string `hcl:"name"`
	Gone  string `hcl:"gone"`

	gone time.Duration
}

// OriginDown expects that without an origin, what is stored goes on being served
// and the rest is an error that says so.
type OriginDown struct {
	About   string `hcl:"about,label"`
	Stored  string `hcl:"stored"`  // URL
	Missing string `hcl:"missing"` // URL
}

// Load reads a list.
func Load(file string) (*List, error) {
	var l List
	if err := hclsimple.DecodeFile(file, nil, &l); err != nil {
		return nil, &perto.Error{Op: "read expectations", Path: file, Kind: perto.KindInvalid, Err: err}
	}
	var errs []error
	span := func(about, text string) time.Duration {
		d, err := time.ParseDuration(text)
		if err != nil || d < 0 {
			errs = append(errs, fmt.Errorf("%q: %q is no length of time", about, text))
		}
		return d
	}
	for i := range l.Delays {
		l.Delays[i].floor = span(l.Delays[i].About, l.Delays[i].Floor)
	}
	for i := range l.Deaths {
		d := &l.Deaths[i]
		d.gone = span(d.About, d.Gone)
		d.goneSilent = span(d.About, cmp.Or(d.GoneSilent, d.Gone))
		if d.Fault != Kill && d.Fault != Freeze && d.Fault != Cut {
			errs = append(errs, fmt.Errorf("%q: an edge does not die of %q", d.About, d.Fault))
		}
	}
	for i := range l.PoPsLost {
		l.PoPsLost[i].gone = span(l.PoPsLost[i].About, l.PoPsLost[i].Gone)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, &perto.Error{Op: "read expectations", Path: file, Kind: perto.KindInvalid, Err: err}
	}
	return &l, nil
}
