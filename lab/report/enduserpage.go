package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"perto"
)

//go:embed enduser.html
var endUserHTML string

// titledPlot is a plot with its heading.
type titledPlot struct {
	Title string
	Plot  template.HTML
}

// WriteHTML writes the report as one page without further files.
func (e *EndUser) WriteHTML(w io.Writer) error {
	t, err := template.New("enduser").Funcs(template.FuncMap{"num": number, "size": size,
		"percent": func(x float64) string { return fmt.Sprintf("%.1f %%", 100*x) },
		"ms0":     func(d perto.Millis) string { return fmt.Sprintf("%.0f", d.Float()) }}).Parse(endUserHTML)
	if err != nil {
		return err
	}
	return t.Execute(w, struct {
		*EndUser
		P99Plot, MeanPlot, LearnedPlot, EscalationPlot template.HTML
		RollOutPlots                                   []titledPlot
		RollOutSites, CureSites                        int
		Gain                                           string
	}{e, e.sitesPlot("p99", func(s *Spread) float64 { return s.P99.Float() }), e.sitesPlot("mean", func(s *Spread) float64 { return s.Mean.Float() }),
		e.learnedPlot(), e.escalationPlot(), e.rollOutPlots(), rollOutSites, cureSites, fmt.Sprintf("%d ms", redirectGain.Milliseconds())})
}

// The size of a plot, in units of its viewBox. It is small, so that its text is readable
// on a phone.
const (
	plotWidth, plotHeight = 420.0, 260.0
	plotLeft, plotRight   = 40.0, 62.0
	plotTop, plotBottom   = 10.0, 40.0
)

// labelHeight is the height of a line's name.
const labelHeight = 15

// series is a line of a plot.
type series struct {
	class, name string
	y           []float64
}

// linePlot draws lines over evenly spaced names.
func linePlot(label, below string, x []string, lines []series) template.HTML {
	most := 0.0
	for _, l := range lines {
		for _, y := range l.y {
			most = max(most, y)
		}
	}
	step := niceStep(most / 4)
	end := math.Ceil(most/step) * step
	at := func(i int) float64 {
		return plotLeft + (plotWidth-plotLeft-plotRight)*float64(i)/float64(max(1, len(x)-1))
	}
	up := func(y float64) float64 { return plotHeight - plotBottom - (plotHeight-plotTop-plotBottom)*y/end }
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %g %g" role="img" aria-label="%s">`, plotWidth, plotHeight, template.HTMLEscapeString(label))
	for y := 0.0; y <= end; y += step {
		fmt.Fprintf(&b, `<line class="grid" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/><text class="tick" x="%.1f" y="%.1f" text-anchor="end">%s</text>`,
			plotLeft, plotWidth-plotRight, up(y), up(y), plotLeft-6, up(y)+4, number(y))
	}
	for i, name := range x {
		fmt.Fprintf(&b, `<text class="tick" x="%.1f" y="%.1f" text-anchor="middle">%s</text>`, at(i), plotHeight-plotBottom+16, template.HTMLEscapeString(name))
	}
	fmt.Fprintf(&b, `<text class="tick" x="%.1f" y="%.1f" text-anchor="middle">%s</text>`, (plotLeft+plotWidth-plotRight)/2, plotHeight-6, template.HTMLEscapeString(below))
	var labels []float64 // y of the names, which must not cover each other
	for _, l := range lines {
		fmt.Fprintf(&b, `<polyline class="series %s" points="`, l.class)
		for i, y := range l.y {
			fmt.Fprintf(&b, "%.1f,%.1f ", at(i), up(y))
		}
		b.WriteString(`"/>`)
		for i, y := range l.y {
			fmt.Fprintf(&b, `<circle class="dot %s" cx="%.1f" cy="%.1f" r="3.5"><title>%s, %s: %s</title></circle>`, l.class, at(i), up(y), l.name, template.HTMLEscapeString(x[i]), number(y))
		}
		y := up(l.y[len(l.y)-1]) + 4
		for slices.ContainsFunc(labels, func(other float64) bool { return math.Abs(other-y) < labelHeight }) {
			y += labelHeight
		}
		labels = append(labels, y)
		fmt.Fprintf(&b, `<text class="label text %s" x="%.1f" y="%.1f">%s</text>`, l.class, plotWidth-plotRight+8, y, l.name)
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}

// niceStep returns 1, 2 or 5 times a power of ten that is at least x.
func niceStep(x float64) float64 {
	if x <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(x)))
	for _, m := range []float64{1, 2, 5} {
		if m*power >= x {
			return m * power
		}
	}
	return 10 * power
}

func (e *EndUser) sitesPlot(name string, of func(s *Spread) float64) template.HTML {
	lines := []series{{"ns", "NS", nil}, {"cans", "CANS", nil}, {"eu", "EU", nil}}
	var x []string
	for i := range e.Deployment {
		d := &e.Deployment[i]
		x = append(x, strconv.Itoa(d.Sites))
		for k, s := range []*Spread{&d.NS, &d.CANS, &d.EU} {
			lines[k].y = append(lines[k].y, of(s))
		}
	}
	return linePlot("Round trip to the serving site by number of sites, "+name+", for NS, CANS and EU", "sites", x, lines)
}

func (e *EndUser) learnedPlot() template.HTML {
	line := series{"cans", "CANS", nil}
	var x []string
	for _, l := range e.Learned {
		x, line.y = append(x, strconv.Itoa(l.Clients)), append(line.y, l.Spread.P99.Float())
	}
	return linePlot("99th percentile of the round trip by sampled clients of each resolver", "sampled clients of each resolver", x, []series{line})
}

// bar is a row of a bar plot.
type bar struct {
	class, name, text string
	value, paper      float64 // paper 0: none
}

// barPlot draws horizontal bars, with a line at the paper's figure.
func barPlot(label string, bars []bar) template.HTML {
	const left, row, right = 118.0, 26.0, 104.0
	most := 0.0
	for _, x := range bars {
		most = max(most, x.value, x.paper)
	}
	height := row*float64(len(bars)) + 4
	wide := func(v float64) float64 { return (plotWidth - left - right) * v / max(most, 1e-9) }
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %g %g" role="img" aria-label="%s">`, plotWidth, height, template.HTMLEscapeString(label))
	for i, x := range bars {
		y := row * float64(i)
		fmt.Fprintf(&b, `<text class="tick" x="%.1f" y="%.1f" text-anchor="end">%s</text><rect class="bar %s" x="%.1f" y="%.1f" width="%.1f" height="18" rx="2"/>`,
			left-8, y+17, template.HTMLEscapeString(x.name), x.class, left, y+3, max(1, wide(x.value)))
		if x.paper > 0 {
			fmt.Fprintf(&b, `<line class="mark" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"><title>paper: %s</title></line>`, left+wide(x.paper), left+wide(x.paper), y+1, y+23, number(x.paper))
		}
		fmt.Fprintf(&b, `<text class="tick" x="%.1f" y="%.1f" text-anchor="end">%s</text>`, plotWidth-4, y+17, template.HTMLEscapeString(x.text))
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}

func (e *EndUser) escalationPlot() template.HTML {
	var bars []bar
	for _, x := range e.Escalation {
		y := bar{name: x.Method, value: x.Spread.P99.Float()}
		y.text = number(y.value)
		switch x.Method {
		case methodNS:
			y.class = "ns"
		case methodCANS:
			y.class = "cans"
		case methodEndUser:
			y.class = "eu"
		default:
			y.class, y.name = "cure", fmt.Sprintf("theta %.0f ms", x.Theta.Float())
			y.text += fmt.Sprintf(" (%.1f %%)", 100*x.Redirected)
		}
		bars = append(bars, y)
	}
	return barPlot("99th percentile of the round trip by method; in brackets the demand that is redirected", bars)
}

// rollOutPlots draws the quantities that the paper prints, one plot for a group and unit.
func (e *EndUser) rollOutPlots() []titledPlot {
	var out []titledPlot
	for i := range e.RollOut {
		for _, unit := range []string{"mi", "ms"} {
			var bars []bar
			for _, m := range e.RollOut[i].compared() {
				if m.unit != unit || m.paperBefore == 0 {
					continue
				}
				text := func(model, paper float64) string { return fmt.Sprintf("%.0f [%.0f]", model, paper) }
				bars = append(bars, bar{"ns", strings.TrimPrefix(m.name, "mapping "), text(m.before, m.paperBefore), m.before, m.paperBefore},
					bar{"eu", "", text(m.after, m.paperAfter), m.after, m.paperAfter})
			}
			title := e.RollOut[i].Group + " expectation, " + map[string]string{"mi": "miles", "ms": "ms"}[unit]
			out = append(out, titledPlot{title, barPlot(title, bars)})
		}
	}
	return out
}
