package main

import (
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"unicode/utf8"

	"perto"
	"perto/internal/printable"
	"perto/lab"
	"perto/lab/access"
)

type labTraceCmd struct {
	URL  webURL `arg:"" help:"URL to fetch; http:// may be left out." placeholder:"URL"`
	From string `required:"" help:"Vantage that fetches." placeholder:"CITY" complete:"vantage"`
	SVG  string `help:"Draw the steps on a map, to this file." placeholder:"FILE"`
}

// Run prints the numbered steps of a request, as in the common picture of Akamai's
// network.
func (c *labTraceCmd) Run(e *env) error {
	var tr lab.Trace
	if err := e.get("/api/lab/trace", url.Values{"from": {c.From}, "url": {string(c.URL)}}, &tr); err != nil {
		return err
	}
	if c.SVG != "" {
		if err := os.WriteFile(c.SVG, tr.SVG(), 0o644); err != nil {
			return &perto.Error{Op: "write", Path: c.SVG, Kind: perto.KindInvalid, Err: err}
		}
	}
	return e.print(tr, func(w io.Writer) { printTrace(w, &tr) })
}

// printTrace prints the steps, each below the step that caused it, their sum, and the PoP
// that is nearest to the client.
func printTrace(w io.Writer, tr *lab.Trace) {
	type row struct{ indent, head, result, took string }
	var rows []row
	width := 0
	for i := range tr.Steps {
		s := &tr.Steps[i]
		indent := "  " + strings.Repeat("   ", tr.Depth(s))
		head := fmt.Sprintf("%s%d  %s -> %s: %s", indent, s.Number, s.From, printable.Text(s.To), printable.Text(s.What))
		width = max(width, utf8.RuneCountInString(head))
		rows = append(rows, row{indent, head, printable.Text(s.Result), ms(s.Took)})
	}
	const total = "  total"
	for _, r := range rows {
		fmt.Fprintf(w, "%-*s  %9s\n%s   = %s\n", width, r.head, r.took, r.indent, r.result)
	}
	fmt.Fprintf(w, "%-*s  %9s\n", width, total, ms(tr.Total))
	if tr.Proximity != nil {
		fmt.Fprintf(w, "\n%s\n", proximityText(tr.Vantage, tr.Proximity))
	}
}

// proximityText compares the PoP that served with the nearest one.
func proximityText(vantage string, p *access.Proximity) string {
	way := func(km float64, rtt perto.Millis) string {
		if rtt == 0 { // not known, for example between containers
			return fmt.Sprintf("%.0f km", km)
		}
		return fmt.Sprintf("%.0f km, %s for a round trip", km, ms(rtt))
	}
	if p.PoP == p.Nearest {
		return fmt.Sprintf("%s is the nearest PoP to %s: %s.", p.PoP, vantage, way(p.DistanceKm, p.RTT))
	}
	text := fmt.Sprintf("The nearest PoP to %s is %s in %s: %s.\n%s served it instead: %s.", vantage, p.Nearest, p.NearestPlace, way(p.NearestDistanceKm, p.NearestRTT),
		p.PoP, way(p.DistanceKm, p.RTT))
	if p.Lost > 0 {
		text += fmt.Sprintf(" Each round trip loses %s.", ms(p.Lost))
	}
	return text
}
