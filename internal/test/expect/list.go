package expect

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/hcl/v2/hclsimple"

	"perto"
)

// List holds the expectations of a world. Every block is one expectation, and its label
// describes it in words.
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

// Nearest expects addresses of the nearest PoP for every vantage that queries its own
// resolver. Nearest is by great circle from the vantage's place in the view of DNS.
type Nearest struct {
	About string   `hcl:"about,label"`
	Name  string   `hcl:"name"`
	Types []string `hcl:"types"` // record types; types of a family that the world does not have are left out
}

// Connections expects that a share of connections (not of answers) reaches the nearest
// PoP. It counts vantages with a near resolver.
type Connections struct {
	About string  `hcl:"about,label"`
	URL   string  `hcl:"url"`
	Each  int     `hcl:"each"`  // connections of each vantage
	Share float64 `hcl:"share"` // of all, 0 to 1
}

// Delays expects that the time to connect is the configured round-trip time. It
// measures from every vantage to an edge of some PoPs, by the edges' own names.
type Delays struct {
	About  string  `hcl:"about,label"`
	URL    string  `hcl:"url"`    // %s stands for the edge
	Within float64 `hcl:"within"` // tolerance as a share of the configured time, 0 to 1
	Floor  string  `hcl:"floor"`  // smallest tolerance: the time that the machine itself takes

	floor time.Duration
}

// Stored expects a miss and then a hit, from the same edge and with the same content.
type Stored struct {
	About string `hcl:"about,label"`
	URL   string `hcl:"url"` // %s stands for the vantage
}

// Private expects that no client receives a response for another client.
type Private struct {
	About string `hcl:"about,label"`
	URL   string `hcl:"url"`
}

// Death expects that, after a time, no authoritative server names a dead edge. Clients
// that try the next address must never fail meanwhile. The edge must come back.
type Death struct {
	About string `hcl:"about,label"`
	Fault Fault  `hcl:"fault"`
	Name  string `hcl:"name"`
	URL   string `hcl:"url"` // fetched without a pause while it is dead; %d is a number
	Gone  string `hcl:"gone"`
	// GoneSilent replaces Gone where a kill takes the host with it (see
	// World.KillsAreSilent). "" means Gone.
	GoneSilent string `hcl:"gone_silent,optional"`

	gone, goneSilent time.Duration
}

// PoPLost expects that clients of an unreachable PoP are sent to another one after a
// time. They must come back when it is reachable again.
type PoPLost struct {
	About string `hcl:"about,label"`
	Name  string `hcl:"name"`
	Gone  string `hcl:"gone"`

	gone time.Duration
}

// OriginDown expects that stored objects are served without an origin. Other requests
// get an error with the reason.
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
