package geodata

import (
	"math"

	"perto"
)

// vec is a point on the unit sphere. Weighted sums of vectors allow the compiler to
// price a joined network in constant time.
type vec [3]float64

func vecOf(lat, lon float64) vec {
	a, b := lat*math.Pi/180, lon*math.Pi/180
	return vec{math.Cos(a) * math.Cos(b), math.Cos(a) * math.Sin(b), math.Sin(a)}
}

func (v vec) dot(w vec) float64 { return v[0]*w[0] + v[1]*w[1] + v[2]*w[2] }

// km returns the great-circle distance in kilometres, computed from the chord. Unlike
// the angle's cosine, the chord is exact for near points.
func (v vec) km(w vec) float64 {
	x, y, z := v[0]-w[0], v[1]-w[1], v[2]-w[2]
	chord := math.Sqrt(x*x + y*y + z*z)
	return 2 * perto.EarthRadiusKm * math.Asin(min(1, chord/2))
}

// grid finds points of the same country near a point. Its boxes are as wide as the
// search radius, so that 27 boxes contain every candidate.
type grid struct {
	width float64 // of a box, on the unit sphere
	boxes map[gridBox][]int32
}

type gridBox struct {
	country uint16
	x, y, z int16
}

func newGrid(radiusKm float64) *grid {
	// Box coordinates are int16, so a box must be at least 1/32000 of the radius wide.
	return &grid{width: max(radiusKm/perto.EarthRadiusKm, 1.0/32000), boxes: make(map[gridBox][]int32)}
}

func (g *grid) box(country uint16, v vec) gridBox {
	return gridBox{country, int16(math.Floor(v[0] / g.width)), int16(math.Floor(v[1] / g.width)), int16(math.Floor(v[2] / g.width))}
}

func (g *grid) add(country uint16, v vec, id int32) {
	b := g.box(country, v)
	g.boxes[b] = append(g.boxes[b], id)
}

// near returns the nearest id to v within maxKm, or -1. maxKm must not be more than the
// grid's radius.
func (g *grid) near(country uint16, v vec, maxKm float64, at func(id int32) vec) int32 {
	id, km := int32(-1), maxKm
	b := g.box(country, v)
	for dx := int16(-1); dx <= 1; dx++ {
		for dy := int16(-1); dy <= 1; dy++ {
			for dz := int16(-1); dz <= 1; dz++ {
				for _, i := range g.boxes[gridBox{country, b.x + dx, b.y + dy, b.z + dz}] {
					if d := v.km(at(i)); d < km || d == km && id < 0 {
						id, km = i, d
					}
				}
			}
		}
	}
	return id
}
