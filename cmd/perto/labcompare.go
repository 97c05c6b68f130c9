package main

import (
	"cmp"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"

	"perto"
	"perto/internal/printable"
	"perto/lab"
	"perto/lab/access"
)

type labCompareCmd struct {
	URL  webURL `arg:"" help:"URL to fetch; http:// may be left out." placeholder:"URL"`
	Sort string `enum:"vantage,edge,km,nearest,lost,dns,connect,first-byte,total,cache" default:"total" help:"Column to sort by: ${enum}." placeholder:"COLUMN"`
}

// Help explains the columns.
func (c *labCompareCmd) Help() string {
	return `KM is the distance to the edge that served. NEAREST is the PoP with the shortest round
trip, which may be farther away in km. LOST is the additional time of each round trip to the
PoP that served. CACHE is "hit", or the reason why the edge forwarded the request.`
}

// Run fetches from every vantage at once.
func (c *labCompareCmd) Run(e *env) error {
	var list []lab.Fetched
	if err := e.get("/api/lab/compare", url.Values{"url": {string(c.URL)}}, &list); err != nil {
		return err
	}
	c.sort(list)
	failed := 0
	for _, f := range list {
		if f.Error != "" {
			failed++
		}
	}
	if failed == len(list) && failed > 0 {
		return &perto.Error{Op: "compare", Path: string(c.URL), Kind: perto.KindUnavailable, Err: fmt.Errorf("all %d fetches failed; the first: %s", failed, list[0].Error)}
	}
	if err := e.print(list, func(w io.Writer) { printCompare(w, list) }); err != nil {
		return err
	}
	if failed > 0 {
		return &perto.Error{Op: "compare", Path: string(c.URL), Kind: perto.KindUnavailable, Err: fmt.Errorf("%d of %d fetches failed", failed, len(list))}
	}
	return nil
}

// sort sorts by a column, with failed fetches at the end.
func (c *labCompareCmd) sort(list []lab.Fetched) {
	text := func(of func(*lab.Fetched) string) func(a, b *lab.Fetched) int {
		return func(a, b *lab.Fetched) int { return strings.Compare(of(a), of(b)) }
	}
	number := func(of func(*lab.Fetched) float64) func(a, b *lab.Fetched) int {
		return func(a, b *lab.Fetched) int { return cmp.Compare(of(a), of(b)) }
	}
	by := map[string]func(a, b *lab.Fetched) int{
		"vantage":    text(func(f *lab.Fetched) string { return f.Vantage }),
		"edge":       text(func(f *lab.Fetched) string { return f.Server }),
		"nearest":    text(func(f *lab.Fetched) string { return proximity(f).Nearest }),
		"cache":      text(outcome),
		"km":         number(func(f *lab.Fetched) float64 { return proximity(f).DistanceKm }),
		"lost":       number(func(f *lab.Fetched) float64 { return float64(proximity(f).Lost) }),
		"dns":        number(func(f *lab.Fetched) float64 { return float64(f.DNS) }),
		"connect":    number(func(f *lab.Fetched) float64 { return float64(f.Connect) }),
		"first-byte": number(func(f *lab.Fetched) float64 { return float64(f.FirstByte) }),
		"total":      number(func(f *lab.Fetched) float64 { return float64(f.Total) }),
	}[c.Sort]
	failed := func(f *lab.Fetched) int { return min(1, len(f.Error)) }
	slices.SortStableFunc(list, func(a, b lab.Fetched) int {
		return cmp.Or(cmp.Compare(failed(&a), failed(&b)), by(&a, &b))
	})
}

// proximity returns the proximity of a fetch, or zeros when its server is no edge.
func proximity(f *lab.Fetched) access.Proximity {
	if f.Proximity == nil {
		return access.Proximity{}
	}
	return *f.Proximity
}

// outcome returns the edge's own part of Cache-Status: "hit", or the reason for a forward
// such as "uri-miss".
func outcome(f *lab.Fetched) string {
	values := f.Header.Values("Cache-Status")
	if len(values) == 0 {
		return "-"
	}
	members := strings.Split(values[len(values)-1], ",")
	for p := range strings.SplitSeq(members[len(members)-1], ";") {
		p = strings.TrimSpace(p)
		if p == "hit" {
			return p
		}
		if reason, ok := strings.CutPrefix(p, "fwd="); ok {
			return reason
		}
	}
	return "-"
}

// printCompare prints a table of fetches and its summary.
func printCompare(w io.Writer, list []lab.Fetched) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "VANTAGE\tEDGE\t    KM\tNEAREST\t  LOST\t    DNS\tCONNECT\tFIRST BYTE\t  TOTAL\tCACHE")
	for i := range list {
		f := &list[i]
		if f.Error != "" {
			fmt.Fprintf(t, "%s\tfailed: %s\n", f.Vantage, printable.Text(f.Error))
			continue
		}
		km, nearest, lost := "-", "-", "-"
		if p := f.Proximity; p != nil {
			km, nearest = fmt.Sprintf("%.0f", p.DistanceKm), p.Nearest
			if p.Lost > 0 {
				lost = ms(p.Lost)
			}
		}
		fmt.Fprintf(t, "%s\t%s\t%6s\t%s\t%6s\t%7s\t%7s\t%10s\t%7s\t%s\n", f.Vantage, printable.Text(cmp.Or(f.Server, f.Address.String())), km, nearest, lost,
			ms(f.DNS), ms(f.Connect), ms(f.FirstByte), ms(f.Total), printable.Text(outcome(f)))
	}
	t.Flush()
	fmt.Fprintf(w, "\n%s\n", compareSummary(list))
}

// compareSummary returns quantiles of the fetches that succeeded, and numbers of hits and of
// fetches from the nearest PoP.
func compareSummary(list []lab.Fetched) string {
	var first, total []perto.Millis
	hits, nearest := 0, 0
	for i := range list {
		f := &list[i]
		if f.Error != "" {
			continue
		}
		first, total = append(first, f.FirstByte), append(total, f.Total)
		if outcome(f) == "hit" {
			hits++
		}
		if p := f.Proximity; p != nil && p.PoP == p.Nearest {
			nearest++
		}
	}
	return fmt.Sprintf("first byte: median %s, p90 %s; total: median %s, p90 %s\n%d of %d hits; %d of %d from the nearest PoP",
		ms(quantile(first, 50)), ms(quantile(first, 90)), ms(quantile(total, 50)), ms(quantile(total, 90)), hits, len(total), nearest, len(total))
}

// quantile returns the smallest value that percent of the values do not exceed.
func quantile(values []perto.Millis, percent int) perto.Millis {
	s := slices.Sorted(slices.Values(values))
	if len(s) == 0 {
		return 0
	}
	return s[(len(s)*percent+99)/100-1]
}
