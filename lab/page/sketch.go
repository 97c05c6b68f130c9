package page

import (
	"bytes"
	_ "embed"
	"fmt"
	"html"
	"strings"

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

// Sketch draws on a map of the world. Coordinates are degrees. The projection is
// equirectangular, which is good enough to compare distances roughly.
type Sketch struct{ bytes.Buffer }

// NewSketch returns a map without marks.
func NewSketch(title string) *Sketch {
	s := new(Sketch)
	fmt.Fprintf(s, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="%d %d %d %d" role="img" aria-label="%s" font-family="system-ui,sans-serif">`,
		mapWest, -mapNorth, mapWidth, mapDepth, html.EscapeString(title))
	s.WriteString(`<style>.sea{fill:#eef3f6}.land{fill:#d8d5c8}.pop{fill:#9a4a1c}.vantage{fill:#2b5f75}.other{fill:#666}.way{fill:none;stroke:#2b5f75;stroke-opacity:.55;stroke-width:.5}.far{stroke:#b3261e;stroke-opacity:.9;stroke-width:.8}text{fill:#1d2528;font-size:3.4px}.number{fill:#fff;font-weight:700;text-anchor:middle;font-size:3px}` +
		`@media (prefers-color-scheme:dark){.sea{fill:#12181b}.land{fill:#2c3331}text{fill:#ece7db}.pop{fill:#e9a06f}.vantage{fill:#7fb8cf}.way{stroke:#7fb8cf}.far{stroke:#ff8a80}}</style>`)
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

// Way draws an arc between two places. With different values of bend, several arcs
// between the same places stay distinct.
func (s *Sketch) Way(class string, a, b perto.Place, bend float64, title string) (midLon, midLat float64) {
	dx, dy := b.Lon-a.Lon, b.Lat-a.Lat
	cx, cy := (a.Lon+b.Lon)/2-dy*bend, (a.Lat+b.Lat)/2+dx*bend
	fmt.Fprintf(s, `<path class="%s" d="M%.2f %.2fQ%.2f %.2f %.2f %.2f"><title>%s</title></path>`, class, a.Lon, -a.Lat, cx, -cy, b.Lon, -b.Lat, html.EscapeString(title))
	return (a.Lon+b.Lon)/4 + cx/2, (a.Lat+b.Lat)/4 + cy/2
}

// Done ends the map and returns it as SVG.
func (s *Sketch) Done() []byte {
	s.WriteString("</svg>\n")
	return s.Bytes()
}
