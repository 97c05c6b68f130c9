package origin

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"math/rand/v2"
	"net/http"
	"strings"
)

// Size of a photo in pixels.
const (
	photoWidth  = 640
	photoHeight = 400
)

// photo serves a large picture of a product, some hundred kilobytes like a camera's. It
// is drawn at the first request.
func (s *Shop) photo(w http.ResponseWriter, r *http.Request) {
	id, ok := strings.CutSuffix(r.PathValue("file"), ".png")
	p := s.find(id)
	if !ok || p == nil {
		s.notFound(w)
		return
	}
	s.serve(w, r, "image/png", cacheImage, fmt.Sprintf("shop photo product-%d", p.ID), s.photoOf(p))
}

func (s *Shop) photoOf(p *Product) []byte {
	s.photosMu.Lock()
	defer s.photosMu.Unlock()
	if b := s.photos[p.ID]; b != nil {
		return b
	}
	var b bytes.Buffer
	if err := png.Encode(&b, drawPhoto(p)); err != nil {
		panic(err) // writing to memory does not fail, and the picture has a legal size
	}
	s.photos[p.ID] = b.Bytes()
	return b.Bytes()
}

// drawPhoto draws light from a window on some round things, with the noise of a sensor.
// All depends only on the product's number.
func drawPhoto(p *Product) image.Image {
	img := image.NewRGBA(image.Rect(0, 0, photoWidth, photoHeight))
	rng := rand.New(rand.NewPCG(uint64(p.ID), 7))
	type ball struct{ x, y, r, hue float64 }
	var balls []ball
	for range 5 + p.ID%4 {
		balls = append(balls, ball{rng.Float64() * photoWidth, 120 + rng.Float64()*220, 30 + rng.Float64()*70, float64(p.Hue) + rng.Float64()*40 - 20})
	}
	for y := range photoHeight {
		for x := range photoWidth {
			fx, fy := float64(x), float64(y)
			light := 0.35 + 0.55*math.Exp(-((fx-180)*(fx-180)+(fy-60)*(fy-60))/90000)
			hue, depth := float64(p.Hue)+180, light
			for _, b := range balls {
				dx, dy := (fx-b.x)/b.r, (fy-b.y)/b.r
				if d := dx*dx + dy*dy; d < 1 {
					z := math.Sqrt(1 - d)
					hue, depth = b.hue, math.Max(0.08, light*(0.25+0.9*math.Max(0, (-0.5*dx-0.6*dy+0.62*z))))
				}
			}
			grain := (rng.Float64() - 0.5) * 0.012
			img.SetRGBA(x, y, shade(hue, depth+grain))
		}
	}
	return img
}

// shade returns the colour of a hue in degrees at a lightness of 0 to 1.
func shade(hue, light float64) color.RGBA {
	channel := func(offset float64) uint8 {
		k := math.Mod(offset+hue/30+120, 12)
		a := 0.45 * math.Min(light, 1-light)
		v := light - a*math.Max(-1, math.Min(math.Min(k-3, 9-k), 1))
		return uint8(255 * math.Max(0, math.Min(1, v)))
	}
	return color.RGBA{channel(0), channel(8), channel(4), 255}
}
