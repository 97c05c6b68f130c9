// Package report runs experiments in the lab and returns their results as text, as JSON
// and as a page with plots. "perto lab run" calls it. Start with [MovedCode].
package report

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"perto"
	"perto/config"
	"perto/lab"
)

// Moved is the report "moved-code". It compares one page in two worlds: the modules
// that make its fragments run at the origin, or at the edges.
type Moved struct {
	Site      string           `json:"site"`
	Origin    string           `json:"origin"`    // place of the origin
	Fragments []string         `json:"fragments"` // paths
	Rounds    int              `json:"rounds"`    // page views of each vantage
	Vantages  []MovedVantage   `json:"vantages"`  // sorted by the time with the code at the origin
	WAN       map[string]int64 `json:"wan_bytes"` // by placement: between edges and origin, for all measured page views
	Views     int              `json:"views"`     // number of these page views, for each placement
}

// MovedVantage has the times of one city.
type MovedVantage struct {
	Name  string `json:"name"`
	Place string `json:"place"`
	Edge  string `json:"edge"`
	// Page is the time to the first byte of the page. In both worlds it comes from the
	// cache of the edge.
	Page perto.Millis `json:"page_ms"`
	// Origin and Edge are the times to the first byte of the fragments, medians of
	// the rounds, in their order.
	AtOrigin []perto.Millis `json:"at_origin_ms"`
	AtEdge   []perto.Millis `json:"at_edge_ms"`
}

// slowest is the time to the first byte of the slowest fragment. Fragments are fetched
// concurrently.
func slowest(d []perto.Millis) time.Duration { return slices.Max(d).Duration() }

// movedSite is the measured site: the demo world's shop.
const movedSite = "http://www.shop.example"

var movedFragments = []string{"/greeting", "/prices", "/search?q=coffee"}

// placements are the places of the code, with one world for each.
var placements = []string{"origin", "edge"}

// MovedCode starts two worlds, one after the other, and measures the page in each.
// cfg.World must be nil, which means the demo world.
func MovedCode(ctx context.Context, cfg lab.Config, rounds int) (*Moved, error) {
	m := &Moved{Site: movedSite, Fragments: movedFragments, Rounds: rounds, WAN: make(map[string]int64)}
	for _, placement := range placements {
		if err := m.run(ctx, cfg, placement); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(m.Vantages, func(a, b MovedVantage) int { return int(slowest(a.AtOrigin) - slowest(b.AtOrigin)) })
	return m, nil
}

// run measures with the code at one place.
func (m *Moved) run(ctx context.Context, cfg lab.Config, placement string) error {
	world, err := lab.DemoWorld(cfg.Place)
	if err != nil {
		return err
	}
	place(world, placement)
	cfg.World = world
	l, err := lab.Up(ctx, cfg)
	if err != nil {
		return err
	}
	defer l.Close()
	origin := l.Internet.Host("origin")
	m.Origin = origin.End.Place.String()
	// The first view fills caches and opens connections. It is not measured.
	if _, err := m.view(ctx, l, placement, 1); err != nil {
		return err
	}
	sentBefore, receivedBefore := origin.Traffic()
	views, err := m.view(ctx, l, placement, m.Rounds)
	if err != nil {
		return err
	}
	sent, received := origin.Traffic()
	m.WAN[placement] = int64(sent - sentBefore + received - receivedBefore)
	m.Views = len(views) * m.Rounds
	m.add(placement, views)
	return nil
}

// place sets the placement of all functions of a world.
func place(w *config.Config, placement string) {
	for i := range w.World.Services {
		for k := range w.World.Services[i].Functions {
			w.World.Services[i].Functions[k].Placement = placement
		}
	}
}

// seen has the times of all rounds of a vantage: to the first bytes of the page and of
// each fragment.
type seen struct {
	vantage   *lab.Vantage
	edge      string
	page      []time.Duration
	fragments [][]time.Duration
}

// atATime is the number of vantages that load the page concurrently. With more, the
// machine that runs the lab would be the slowest part.
const atATime = 16

// view loads the page from every vantage, rounds times.
func (m *Moved) view(ctx context.Context, l *lab.Lab, placement string, rounds int) ([]seen, error) {
	vantages := l.Vantages()
	out, errs := make([]seen, len(vantages)), make([]error, len(vantages))
	turns := make(chan struct{}, atATime)
	var wg sync.WaitGroup
	for i, v := range vantages {
		turns <- struct{}{}
		wg.Go(func() {
			defer func() { <-turns }()
			out[i], errs[i] = m.look(ctx, v, placement, rounds)
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// look fetches the page and its fragments from one vantage, and checks that the code
// ran at the placement.
func (m *Moved) look(ctx context.Context, v *lab.Vantage, placement string, rounds int) (seen, error) {
	s := seen{vantage: v, fragments: make([][]time.Duration, len(m.Fragments))}
	for range rounds {
		page, err := fetch(ctx, v, m.Site+"/")
		if err != nil {
			return s, err
		}
		s.edge, s.page = page.Server, append(s.page, page.FirstByte.Duration())
		for k, path := range m.Fragments {
			f, err := fetch(ctx, v, m.Site+path)
			if err != nil {
				return s, err
			}
			if ran := f.Header.Get("X-Ran-At"); (len(ran) >= 6 && ran[:6] == "origin") != (placement == "origin") {
				return s, fmt.Errorf("%s from %s ran at %q, not at the %s", path, v.Name, ran, placement)
			}
			s.fragments[k] = append(s.fragments[k], f.FirstByte.Duration())
		}
	}
	return s, nil
}

func fetch(ctx context.Context, v *lab.Vantage, url string) (*lab.Fetched, error) {
	f, err := v.Fetch(ctx, url)
	if err == nil && (f.Error != "" || f.Status != 200) {
		err = &perto.Error{Op: "fetch", Path: url, Kind: perto.KindUnavailable, Err: fmt.Errorf("from %s: status %d %s", v.Name, f.Status, f.Error)}
	}
	return f, err
}

func median(d []time.Duration) time.Duration {
	s := slices.Sorted(slices.Values(d))
	if len(s) == 0 {
		return 0
	}
	return s[len(s)/2]
}

// add adds the times with the code at one placement.
func (m *Moved) add(placement string, views []seen) {
	for _, s := range views {
		i := slices.IndexFunc(m.Vantages, func(v MovedVantage) bool { return v.Name == s.vantage.Name })
		if i < 0 {
			i = len(m.Vantages)
			m.Vantages = append(m.Vantages, MovedVantage{Name: s.vantage.Name, Place: s.vantage.Place.String()})
		}
		v := &m.Vantages[i]
		v.Edge, v.Page = s.edge, perto.Millis(median(s.page))
		var times []perto.Millis
		for _, f := range s.fragments {
			times = append(times, perto.Millis(median(f)))
		}
		if placement == "edge" {
			v.AtEdge = times
		} else {
			v.AtOrigin = times
		}
	}
}

// MovedSummary has the main numbers of the report.
type MovedSummary struct {
	Page, AtOrigin, AtEdge Quantiles
	Nearer                 int // vantages for which the fragments come sooner from the edge
}

// Quantiles are quantiles over the vantages.
type Quantiles struct{ P50, P90, Most time.Duration }

func quantiles(d []time.Duration) Quantiles {
	s := slices.Sorted(slices.Values(d))
	return Quantiles{s[len(s)/2], s[len(s)*9/10], s[len(s)-1]}
}

// Summary computes the summary. The time of the fragments is that of the slowest one.
func (m *Moved) Summary() MovedSummary {
	var s MovedSummary
	var page, origin, edge []time.Duration
	for _, v := range m.Vantages {
		page, origin, edge = append(page, v.Page.Duration()), append(origin, slowest(v.AtOrigin)), append(edge, slowest(v.AtEdge))
		if slowest(v.AtEdge) < slowest(v.AtOrigin) {
			s.Nearer++
		}
	}
	s.Page, s.AtOrigin, s.AtEdge = quantiles(page), quantiles(origin), quantiles(edge)
	return s
}

// WriteText writes the report for a terminal.
func (m *Moved) WriteText(w io.Writer) error {
	s := m.Summary()
	fmt.Fprintf(w, "Page %s with fragments (%s) made by the same modules: at the origin (%s) or at the edges.\n", m.Site, strings.Join(m.Fragments, ", "), m.Origin)
	fmt.Fprintf(w, "Time to the first byte in ms, %d vantages, median of %d views each. Fragments are fetched concurrently, so the slowest one counts.\n\n", len(m.Vantages), m.Rounds)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\tmedian\tp90\tworst\tover the WAN, a view\t")
	for _, row := range []struct {
		name string
		q    Quantiles
		wan  string
	}{
		{"page (cached at the edge)", s.Page, ""},
		{"fragments, code at the origin", s.AtOrigin, m.perView("origin")},
		{"fragments, code at the edge", s.AtEdge, m.perView("edge")},
	} {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t\n", row.name, ms(row.q.P50), ms(row.q.P90), ms(row.q.Most), row.wan)
	}
	t.Flush()
	fmt.Fprintf(w, "\n%d of %d vantages get the fragments sooner from the edge.\n\n", s.Nearer, len(m.Vantages))
	t = tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "vantage\tedge\tpage\tat the origin\tat the edge\tsaved\t")
	for _, v := range m.Vantages {
		o, e := slowest(v.AtOrigin), slowest(v.AtEdge)
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t\n", v.Name, v.Edge, ms(v.Page.Duration()), ms(o), ms(e), ms(o-e))
	}
	return t.Flush()
}

func (m *Moved) perView(placement string) string {
	if m.Views == 0 {
		return ""
	}
	return fmt.Sprintf("%.1f KiB", float64(m.WAN[placement])/float64(m.Views)/1024)
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d.Microseconds())/1000) }
