package lab

import (
	"fmt"
	"slices"
	"strings"

	"perto"
	"perto/console"
)

// SVG draws the steps of a trace on a map of the world.
func (t *Trace) SVG() []byte {
	s := console.NewSketch("The way of a request for "+t.URL+" from "+t.Vantage, console.FileStyle)
	var places []perto.Place
	names := make(map[perto.Place][]string)
	for _, step := range t.Steps {
		for _, end := range []struct {
			name  string
			place perto.Place
		}{{step.From, step.FromPlace}, {step.To, step.ToPlace}} {
			if end.place == (perto.Place{}) || slices.Contains(names[end.place], end.name) {
				continue
			}
			if names[end.place] == nil {
				places = append(places, end.place)
			}
			names[end.place] = append(names[end.place], end.name)
		}
	}
	for _, p := range places {
		class := "other"
		if slices.Contains(names[p], t.Vantage) {
			class = "vantage"
		}
		label := strings.Join(names[p], ", ")
		s.Dot(class, p, 1.2, label, label+": "+p.String())
	}
	for i, step := range t.Steps {
		if step.FromPlace == (perto.Place{}) || step.ToPlace == (perto.Place{}) {
			continue
		}
		title := fmt.Sprintf("%d. %s asks %s: %s (%d ms)", step.Number, step.From, step.To, step.What, step.Took.Duration().Milliseconds())
		lon, lat := s.Way("way", step.FromPlace, step.ToPlace, .12+.06*float64(i), title)
		fmt.Fprintf(s, `<circle class="vantage" cx="%.2f" cy="%.2f" r="2.3"/><text class="number" x="%.2f" y="%.2f">%d</text>`, lon, -lat, lon, -lat+1, step.Number)
	}
	return s.Done()
}
