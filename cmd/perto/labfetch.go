package main

import (
	"fmt"
	"io"
	"net/url"
	"slices"
	"text/tabwriter"
	"time"

	"perto"
	"perto/internal/printable"
	"perto/lab"
)

func ms(d perto.Millis) string { return fmt.Sprintf("%.0f ms", float64(d)/float64(time.Millisecond)) }

type labFetchCmd struct {
	URL     webURL `arg:"" help:"URL to fetch; http:// may be left out." placeholder:"URL"`
	From    string `required:"" help:"Vantage that fetches." placeholder:"CITY" complete:"vantage"`
	Headers bool   `short:"i" help:"Show the response's header fields."`
}

// Run fetches once and shows the time of each step.
func (c *labFetchCmd) Run(e *env) error {
	var f lab.Fetched
	if err := e.get("/api/lab/fetch", url.Values{"from": {c.From}, "url": {string(c.URL)}}, &f); err != nil {
		return err
	}
	return e.print(f, func(w io.Writer) {
		fmt.Fprintf(w, "%d, %d bytes, from %s (%s)\n", f.Status, f.Bytes, printable.Text(f.Server), f.Address)
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintf(t, "  DNS\t%s\n  connect\t%s\n  first byte\t%s\n  total\t%s\n", ms(f.DNS), ms(f.Connect), ms(f.FirstByte), ms(f.Total))
		t.Flush()
		fmt.Fprintf(w, "  %s\n", printable.Text(f.Header.Get("Cache-Status")))
		if f.Proximity != nil {
			fmt.Fprintln(w, proximityText(f.Vantage, f.Proximity))
		}
		if !c.Headers {
			return
		}
		var names []string
		for name := range f.Header {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			for _, v := range f.Header[name] {
				fmt.Fprintf(w, "%s: %s\n", printable.Text(name), printable.Text(v))
			}
		}
	})
}
