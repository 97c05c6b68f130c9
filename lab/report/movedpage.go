package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"
)

//go:embed moved.html
var movedHTML string

// WriteHTML writes the report as one page without further files.
func (m *Moved) WriteHTML(w io.Writer) error {
	t, err := template.New("moved").Funcs(template.FuncMap{"ms": ms, "slowest": slowest, "saved": func(v MovedVantage) string { return ms(slowest(v.AtOrigin) - slowest(v.AtEdge)) }}).Parse(movedHTML)
	if err != nil {
		return err
	}
	return t.Execute(w, struct {
		*Moved
		Summary      MovedSummary
		Fragmented   string
		Plot, Bytes  template.HTML
		OriginBytes  string
		EdgeBytes    string
		VantageCount int
	}{m, m.Summary(), strings.Join(m.Fragments, ", "), m.plot(), m.bytesPlot(), m.perView("origin"), m.perView("edge"), len(m.Vantages)})
}

// plot draws a row for each vantage. It has one dot for the time with the code at the
// edge, one for the time with the code at the origin, and a line between them.
func (m *Moved) plot() template.HTML {
	const left, row, width, right = 130.0, 16.0, 720.0, 30.0
	most := m.Summary().AtOrigin.Most
	for _, v := range m.Vantages {
		most = max(most, slowest(v.AtEdge))
	}
	step := 50 * time.Millisecond
	for most/step > 10 {
		step *= 2
	}
	end := (most/step + 1) * step
	x := func(d time.Duration) float64 { return left + (width-left-right)*float64(d)/float64(end) }
	height := row*float64(len(m.Vantages)) + 40
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %g %g" role="img" aria-label="Time to the first byte of the fragments for each vantage, with the code at the edge and at the origin">`, width, height)
	for at := time.Duration(0); at <= end; at += step {
		fmt.Fprintf(&b, `<line class="grid" x1="%.1f" x2="%.1f" y1="18" y2="%.1f"/><text class="tick" x="%.1f" y="12" text-anchor="middle">%d</text>`, x(at), x(at), height-20, x(at), at.Milliseconds())
	}
	fmt.Fprintf(&b, `<text class="tick" x="%.1f" y="%.1f" text-anchor="middle">ms to the first byte of the slowest fragment</text>`, (left+width)/2, height-6)
	for i, v := range m.Vantages {
		y := 28 + row*float64(i)
		o, e := slowest(v.AtOrigin), slowest(v.AtEdge)
		fmt.Fprintf(&b, `<g><title>%s: %s ms at the edge %s, %s ms at the origin</title><text class="name" x="%g" y="%.1f" text-anchor="end">%s</text>`,
			template.HTMLEscapeString(v.Place), ms(e), template.HTMLEscapeString(v.Edge), ms(o), left-10, y+3.5, template.HTMLEscapeString(v.Name))
		fmt.Fprintf(&b, `<line class="way" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/><circle class="origin" cx="%.1f" cy="%.1f" r="4"/><circle class="edge" cx="%.1f" cy="%.1f" r="4"/></g>`,
			x(e), x(o), y, y, x(o), y, x(e), y)
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}

// bytesPlot draws the bytes over the WAN for one page view.
func (m *Moved) bytesPlot() template.HTML {
	const left, width, row = 130.0, 720.0, 26.0
	most := float64(max(m.WAN["origin"], m.WAN["edge"], 1))
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %g %g" role="img" aria-label="Bytes between edges and origin for a page view">`, width, row*2+4)
	for i, placement := range placements {
		y := row * float64(i)
		w := (width - left - 110) * float64(m.WAN[placement]) / most
		fmt.Fprintf(&b, `<text class="name" x="%g" y="%.1f" text-anchor="end">code at the %s</text><rect class="%s" x="%g" y="%.1f" width="%.1f" height="16" rx="2"/><text class="tick" x="%.1f" y="%.1f">%s</text>`,
			left-10, y+14, placement, placement, left, y+2, max(w, 1), left+w+8, y+14, m.perView(placement))
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}
