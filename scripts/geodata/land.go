package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
)

// topology is the used part of a TopoJSON file: quantised arcs that the polygons of its
// land share.
type topology struct {
	Transform struct {
		Scale, Translate [2]float64
	} `json:"transform"`
	Arcs    [][][2]int `json:"arcs"`
	Objects struct {
		Land struct {
			Geometries []struct {
				Arcs [][][]int `json:"arcs"` // of a MultiPolygon: polygons, rings, arcs
			} `json:"geometries"`
		} `json:"land"`
	} `json:"objects"`
}

// buildLand writes the outlines of the land as one SVG path in degrees. x is the
// longitude, y the negated latitude, each with one decimal.
func buildLand(in, out string) error {
	data, err := os.ReadFile(in)
	if err != nil {
		return err
	}
	var t topology
	if err := json.Unmarshal(data, &t); err != nil {
		return fmt.Errorf("%s: %w", in, err)
	}
	var b bytes.Buffer
	rings := 0
	for _, g := range t.Objects.Land.Geometries {
		for _, polygon := range g.Arcs {
			for _, ring := range polygon {
				rings++
				op, last := byte('M'), 0.0
				for _, arc := range ring {
					for _, p := range t.points(arc) {
						if op == 'L' && math.Abs(p[0]-last) > 180 {
							op = 'M' // across the date line: no straight line over the map
						}
						last = p[0]
						fmt.Fprintf(&b, "%c%.1f %.1f", op, p[0], -p[1])
						op = 'L'
					}
				}
				b.WriteByte('Z')
			}
		}
	}
	fmt.Printf("%d rings, %d bytes\n", rings, b.Len())
	return os.WriteFile(out, append(b.Bytes(), '\n'), 0o644)
}

// points returns an arc's points in degrees. A negative number is the arc of its
// complement, in reverse (TopoJSON, section 2.1.4).
func (t *topology) points(arc int) [][2]float64 {
	backwards := arc < 0
	if backwards {
		arc = ^arc
	}
	var out [][2]float64
	var x, y int
	for _, d := range t.Arcs[arc] {
		x, y = x+d[0], y+d[1]
		out = append(out, [2]float64{float64(x)*t.Transform.Scale[0] + t.Transform.Translate[0], float64(y)*t.Transform.Scale[1] + t.Transform.Translate[1]})
	}
	if backwards {
		for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
			out[i], out[j] = out[j], out[i]
		}
	}
	return out
}
