package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strconv"

	"perto"
	"perto/console"
)

//go:embed distance.html
var distanceHTML string

// WriteHTML writes the report as one page without further files.
func (d *Distance) WriteHTML(w io.Writer) error {
	t, err := template.New("distance").Funcs(template.FuncMap{"num": number,
		"seconds": func(d perto.Millis) string { return fmt.Sprintf("%.0f s", d.Duration().Seconds()) },
		"cities":  cities,
		"km":      func(x float64) string { return fmt.Sprintf("%.0f", x) },
		"ms1":     func(d perto.Millis) string { return fmt.Sprintf("%.1f", d.Float()) }}).Parse(distanceHTML)
	if err != nil {
		return err
	}
	return t.Execute(w, struct {
		*Distance
		BeforeMap, AfterMap template.HTML
		Plots               []titledPlot
	}{d, d.worldMap("before", func(h *DistanceHop) *DistanceEdge { return &h.Before }),
		d.worldMap("after", func(h *DistanceHop) *DistanceEdge { return &h.After }), d.plots()})
}

// awayKm is the distance in km from which a resolver is in another city.
const awayKm = 50

// worldMap draws the clients whose resolver is in another city.
func (d *Distance) worldMap(class string, edge func(*DistanceHop) *DistanceEdge) template.HTML {
	s := console.NewSketch("Clients, their resolvers and the edges that serve them", "")
	pops := make(map[perto.Place]string)
	for i := range d.Clients {
		h := &d.Clients[i]
		if h.Place.DistanceKm(h.Resolver) < awayKm {
			continue
		}
		e := edge(h)
		s.Way("ask", h.Place, h.Resolver, -.12, h.Name+" asks a resolver in "+h.Resolver.Name)
		s.Way("data "+class, h.Place, e.Place, .15, fmt.Sprintf("%s is served by %s, %.0f km away", h.Name, e.PoP, e.Km))
		s.Dot("client", h.Place, 1, "", h.Name+", "+h.Place.String())
		s.Dot("resolver", h.Resolver, 1.2, "", "resolver in "+h.Resolver.String())
		pops[e.Place] = e.PoP
	}
	for place, name := range pops {
		s.Dot("pop", place, 1.4, name, name+", "+place.String())
	}
	return template.HTML(s.Done())
}

// plots returns the distributions of the round trip of each class: ten quantiles.
func (d *Distance) plots() (out []titledPlot) {
	var x []string
	for q := 1; q <= 10; q++ {
		x = append(x, strconv.Itoa(10*q))
	}
	tenths := func(list []float64) (y []float64) {
		s := slices.Sorted(slices.Values(list))
		for q := 1; q <= 10 && len(s) > 0; q++ {
			y = append(y, s[max(0, q*len(s)/10-1)])
		}
		return y
	}
	for _, c := range d.Classes {
		var before, after []float64
		for _, h := range d.Clients {
			if h.Kind == c.Kind {
				before, after = append(before, h.Before.RTT.Float()), append(after, h.After.RTT.Float())
			}
		}
		if len(before) == 0 {
			continue
		}
		out = append(out, titledPlot{c.Kind, linePlot("RTT of the clients with "+c.Text, "percent of the clients", x,
			[]series{{"before", "resolver", tenths(before)}, {"after", "learned", tenths(after)}})})
	}
	return out
}
