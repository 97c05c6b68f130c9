package console

import (
	"bytes"
	_ "embed"
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"perto"
)

// landPath is the outline of the land as an SVG path, in degrees: x is the longitude, y
// is the negative latitude.
//
//go:embed land.path
var landPath string

// The part of the world that maps show, in degrees.
const (
	mapWest, mapWidth  = -170, 350
	mapNorth, mapDepth = 78, 135
)

// FileStyle is the style of a map that is a file of its own. The pages have theirs.
const FileStyle = `.sea{fill:#eef3f6}.land{fill:#d8d5c8}.vantage{fill:#2b5f75}.other{fill:#666}.way{fill:none;stroke:#2b5f75;stroke-opacity:.55;stroke-width:.5}text{fill:#1d2528;font-size:3.4px}.number{fill:#fff;font-weight:700;text-anchor:middle;font-size:3px}` +
	`@media (prefers-color-scheme:dark){.sea{fill:#12181b}.land{fill:#2c3331}text{fill:#ece7db}.vantage{fill:#7fb8cf}.way{stroke:#7fb8cf}.number{fill:#12181b}}`

// Sketch draws on a map of the world. Coordinates are degrees. The projection is
// equirectangular, which is good enough to compare distances roughly.
type Sketch struct{ bytes.Buffer }

// NewSketch returns a map without marks. style is CSS, or "".
func NewSketch(title, style string) *Sketch {
	s := new(Sketch)
	fmt.Fprintf(s, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="%d %d %d %d" role="group" aria-label="%s" font-family="system-ui,sans-serif">`,
		mapWest, -mapNorth, mapWidth, mapDepth, html.EscapeString(title))
	if style != "" {
		s.WriteString("<style>" + style + "</style>")
	}
	fmt.Fprintf(s, `<rect class="sea" x="%d" y="%d" width="%d" height="%d"/><path class="land" d="%s"/>`, mapWest, -mapNorth, mapWidth, mapDepth, strings.TrimSpace(landPath))
	return s
}

// Dot marks a place. name may be empty.
func (s *Sketch) Dot(class string, p perto.Place, radius float64, name, title string) {
	fmt.Fprintf(s, `<circle class="%s" cx="%.2f" cy="%.2f" r="%g"><title>%s</title></circle>`, class, p.Lon, -p.Lat, radius, html.EscapeString(title))
	if name != "" {
		fmt.Fprintf(s, `<text x="%.2f" y="%.2f">%s</text>`, p.Lon+radius+.6, -p.Lat-.8, html.EscapeString(name))
	}
}

// Way draws an arc between two places and returns its middle. With different values of
// bend, several arcs between the same places stay distinct.
func (s *Sketch) Way(class string, a, b perto.Place, bend float64, title string) (midLon, midLat float64) {
	path, midLon, midLat := arc(a, b, bend)
	fmt.Fprintf(s, `<path class="%s" d="%s"><title>%s</title></path>`, class, path, html.EscapeString(title))
	return midLon, midLat
}

// arc returns an arc as SVG path data, and its middle. static/map.js draws the same arcs.
func arc(a, b perto.Place, bend float64) (path string, midLon, midLat float64) {
	dx, dy := b.Lon-a.Lon, b.Lat-a.Lat
	cx, cy := (a.Lon+b.Lon)/2-dy*bend, (a.Lat+b.Lat)/2+dx*bend
	return fmt.Sprintf("M%.2f %.2fQ%.2f %.2f %.2f %.2f", a.Lon, -a.Lat, cx, -cy, b.Lon, -b.Lat), (a.Lon+b.Lon)/4 + cx/2, (a.Lat+b.Lat)/4 + cy/2
}

// Done ends the map and returns it as SVG.
func (s *Sketch) Done() []byte {
	s.WriteString("</svg>\n")
	return s.Bytes()
}

// The bends of the arcs of a vantage.
const (
	dataBend = .15  // client to edge
	askBend  = -.12 // client to resolver, and resolver to edge
)

// The size of a PoP's label on the map, in degrees.
const labelWidth, labelHeight = 15, 6

// worldMap draws PoPs, vantages and the edge of each vantage. Each mark is a link to its
// page. Without scripts, the browser shows the legs to the resolver while the pointer or
// the focus is on a vantage.
func worldMap(st *State) []byte {
	s := NewSketch("Map of PoPs and vantages. Each links to its page.", "")
	pops := make(map[string]perto.Place)
	for _, p := range st.PoPs {
		pops[p.Name] = p.Place
	}
	for i := range st.Vantages {
		v := &st.Vantages[i]
		class := "vantage " + v.Kind
		if v.Far {
			class += " far"
		}
		var data, ask, guess string
		if to, ok := pops[v.PoP]; ok {
			data, _, _ = arc(v.Place, to, dataBend)
			guess, _, _ = arc(v.ResolverPlace, to, askBend)
		} else {
			class += " unserved"
		}
		ask, _, _ = arc(v.Place, v.ResolverPlace, askBend)
		fmt.Fprintf(s, `<a class="%s" href="/vantage/%s" data-vantage="%s" aria-label="%s"><title>%s</title><path class="data" d="%s"/><path class="guess" d="%s"/><path class="ask" d="%s"/>`+
			`<circle class="resolver" cx="%.2f" cy="%.2f" r="1.3"/><circle class="touch" cx="%.2f" cy="%.2f" r="3"/><circle class="city" cx="%.2f" cy="%.2f" r="1"/></a>`,
			class, html.EscapeString(v.Name), html.EscapeString(v.Name), html.EscapeString(v.Name), html.EscapeString(v.Text), data, guess, ask,
			v.ResolverPlace.Lon, -v.ResolverPlace.Lat, v.Place.Lon, -v.Place.Lat, v.Place.Lon, -v.Place.Lat)
	}
	var labels labels
	for _, p := range st.PoPs {
		x, y := p.Place.Lon, -p.Place.Lat
		leftFirst := slices.ContainsFunc(st.PoPs, func(o PoP) bool { // another PoP is on the right
			return o.Place.Lon > x && o.Place.Lon-x < labelWidth && math.Abs(-o.Place.Lat-y) < labelHeight
		})
		fmt.Fprintf(s, `<a class="pop %s" href="/pop/%s" data-pop="%s" aria-label="PoP %s"><title>%s</title><circle class="touch" cx="%.2f" cy="%.2f" r="4"/><circle class="dot" cx="%.2f" cy="%.2f" r="2"/>`+
			`<path class="cross" d="M%.2f %.2fl3 3m0 -3l-3 3"/>%s</a>`,
			p.State, html.EscapeString(p.Name), html.EscapeString(p.Name), html.EscapeString(p.Name), html.EscapeString(p.Name+", "+p.Place.String()),
			x, y, x, y, x-1.5, y-1.5, labels.add(x, y, p.Name, leftFirst))
	}
	for _, server := range st.Servers {
		if server.Role == "origin" {
			class, why := "origin", "well"
			if st.OriginFault != "" {
				class, why = "origin failing", st.OriginFault
			}
			fmt.Fprintf(s, `<g class="%s" data-origin><title>%s</title><rect x="%.2f" y="%.2f" width="3" height="3"/></g>`,
				class, html.EscapeString(server.Name+": "+why), server.Place.Lon-4.5, -server.Place.Lat-1.5) // beside a PoP at the same place
		}
	}
	s.WriteString(`<g id="trace" aria-hidden="true"></g>`)
	return s.Done()
}

// labels are the places of the names on a map, in its units.
type labels []struct{ left, right, y float64 }

// labelSize is the size of the font, and letterWidth the usual width of a letter.
const labelSize, letterWidth = 4, 2.6

// narrowLabels is the number of labels on a narrow screen, whose font is larger.
const narrowLabels = 12

// add returns the text beside a mark. It returns "" when another label or the edge of the
// map is on both sides: the mark's title has the name too.
func (l *labels) add(x, y float64, name string, leftFirst bool) string {
	width := letterWidth * float64(utf8.RuneCountInString(name))
	for side := range 2 {
		at, anchor, left := x+2.6, "start", x+2.6
		if (side == 0) == leftFirst {
			at, anchor, left = x-2.6, "end", x-2.6-width
		}
		if left < mapWest || left+width > mapWest+mapWidth {
			continue
		}
		if slices.ContainsFunc(*l, func(o struct{ left, right, y float64 }) bool {
			return left < o.right && o.left < left+width && math.Abs(o.y-y) < labelSize
		}) {
			continue
		}
		*l = append(*l, struct{ left, right, y float64 }{left, left + width, y})
		class := ""
		if len(*l) > narrowLabels {
			class = ` class="wide"`
		}
		return fmt.Sprintf(`<text%s x="%.2f" y="%.2f" text-anchor="%s">%s</text>`, class, at, y-1.2, anchor, html.EscapeString(name))
	}
	return ""
}

// sentence describes how the vantage is served, for readers of its mark.
func (v *Vantage) sentence() string {
	text := v.Name + ", " + v.Place.String()
	if v.PoP == "" {
		return text + ": no edge serves it"
	}
	text += fmt.Sprintf(": served by %s, %.0f km away", v.PoP, v.Km)
	if v.Far {
		text += fmt.Sprintf(", although %s is %.0f km away", v.Nearest, v.NearestKm)
	}
	if v.ResolverPlace != (perto.Place{}) && v.ResolverPlace.DistanceKm(v.Place) > 50 {
		text += fmt.Sprintf(". Its resolver is in %s", v.ResolverPlace.Name)
	}
	return text
}
