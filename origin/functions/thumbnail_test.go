package shopcode

import (
	"bytes"
	"compress/flate"
	"compress/zlib"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/adler32"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"iter"
	"math"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"perto/functions"
	"perto/internal/fields"
)

func thumbnail(t testing.TB) *functions.Module { return load(t, "thumbnail", nil) }

func request(uri string) *functions.Request {
	return &functions.Request{Method: "GET", URI: uri, Protocol: "HTTP/1.1", Source: netip.MustParseAddrPort("192.0.2.7:1234")}
}

// shrink requests a thumbnail of a body.
func shrink(t testing.TB, m *functions.Module, width int, body []byte) (*functions.Response, error) {
	return m.Handle(t.Context(), request(fmt.Sprintf("/thumb/%d/a.png", width)), func(q *functions.Request) (*functions.Response, error) {
		if q.URI != "/a.png" {
			t.Errorf("the next one was asked for %s", q.URI)
		}
		return &functions.Response{Status: 200, Header: fields.Of("Content-Type", "image/x-png", "ETag", `"1"`), Body: body}, nil
	})
}

func field(r *functions.Response, name string) string {
	v, _ := r.Header.Get(name)
	return string(v)
}

func encoded(t testing.TB, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// photo draws a picture with slow and quick changes and some noise, like a camera's.
func photo(w, h int) image.Image {
	rnd := rand.New(rand.NewPCG(1, 2))
	m := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			fx, fy := float64(x)/float64(w), float64(y)/float64(h)
			wave := 40*math.Sin(9*fx+5*fy*fy) + 25*math.Sin(31*fx*fy) + 12*math.Sin(120*fx)*math.Cos(90*fy)
			grain := rnd.NormFloat64() * 4
			at := func(base float64) uint8 { return uint8(min(max(base+wave+grain, 0), 255)) }
			m.SetRGBA(x, y, color.RGBA{at(90 + 100*fx), at(120 + 60*fy), at(170 - 90*fx*fy), 255})
		}
	}
	return m
}

// drawn draws a picture from a function of the pixel's position.
func drawn(w, h int, f func(x, y int) color.NRGBA) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			m.SetNRGBA(x, y, f(x, y))
		}
	}
	return m
}

// pictures returns one picture of each kind, in one size.
func pictures(w, h int) map[string]image.Image {
	rnd := rand.New(rand.NewPCG(uint64(w), uint64(h)))
	r := image.Rect(0, 0, w, h)
	b := func() uint8 { return uint8(rnd.Uint32()) }
	grey := image.NewGray(r)
	for i := range grey.Pix {
		grey.Pix[i] = uint8(i/7 + i%w)
	}
	paletted := func(n int) image.Image {
		var p color.Palette
		for i := range n {
			p = append(p, color.NRGBA{b(), b(), b(), uint8(255 - 255*(i%3)/2)})
		}
		m := image.NewPaletted(r, p)
		for i := range m.Pix {
			m.Pix[i] = uint8((i/3 + i/w) % n)
		}
		return m
	}
	return map[string]image.Image{
		"gradient":     drawn(w, h, func(x, y int) color.NRGBA { return color.NRGBA{uint8(255 * x / w), uint8(255 * y / h), 80, 255} }),
		"noise":        drawn(w, h, func(x, y int) color.NRGBA { return color.NRGBA{b(), b(), b(), 255} }),
		"ghost":        drawn(w, h, func(x, y int) color.NRGBA { return color.NRGBA{uint8(x), uint8(y), 200, uint8(255 * y / h)} }),
		"ghost noise":  drawn(w, h, func(x, y int) color.NRGBA { return color.NRGBA{b(), b(), b(), b()} }),
		"nothing":      image.NewNRGBA(r),
		"grey":         grey,
		"photo":        photo(w, h),
		"palette 2":    paletted(2),
		"palette 4":    paletted(4),
		"palette 16":   paletted(16),
		"palette 200":  paletted(200),
		"one colour":   drawn(w, h, func(int, int) color.NRGBA { return color.NRGBA{9, 8, 7, 255} }),
		"stripes":      drawn(w, h, func(x, y int) color.NRGBA { return color.NRGBA{uint8(x % 2 * 255), 0, uint8(y % 2 * 255), 255} }),
		"half visible": drawn(w, h, func(x, y int) color.NRGBA { return color.NRGBA{250, uint8(x), 3, uint8(x % 2 * 255)} }),
	}
}

// boxed is the reference: the mean of each area, in floating point.
func boxed(m image.Image, width int) *image.NRGBA {
	w, h := m.Bounds().Dx(), m.Bounds().Dy()
	height := max((h*width+w/2)/w, 1)
	src := make([]color.NRGBA, w*h)
	for i := range src {
		src[i] = color.NRGBAModel.Convert(m.At(i%w, i/w)).(color.NRGBA)
	}
	return drawn(width, height, func(x, y int) color.NRGBA {
		x0, x1 := float64(x)*float64(w)/float64(width), float64(x+1)*float64(w)/float64(width)
		y0, y1 := float64(y)*float64(h)/float64(height), float64(y+1)*float64(h)/float64(height)
		var r, g, b, a, all float64
		for sy := int(y0); sy < h && float64(sy) < y1; sy++ {
			for sx := int(x0); sx < w && float64(sx) < x1; sx++ {
				part := (min(x1, float64(sx+1)) - max(x0, float64(sx))) * (min(y1, float64(sy+1)) - max(y0, float64(sy)))
				c := src[sy*w+sx]
				alpha := part * float64(c.A)
				all, a = all+part, a+alpha
				r, g, b = r+alpha*float64(c.R), g+alpha*float64(c.G), b+alpha*float64(c.B)
			}
		}
		if a == 0 {
			return color.NRGBA{}
		}
		return color.NRGBA{uint8(r/a + 0.5), uint8(g/a + 0.5), uint8(b/a + 0.5), uint8(a/all + 0.5)}
	})
}

// differ returns where two pictures differ by more than one in a channel. It ignores the
// colour of transparent pixels.
func differ(got image.Image, want *image.NRGBA) string {
	if got.Bounds().Size() != want.Bounds().Size() {
		return fmt.Sprintf("size %v, want %v", got.Bounds().Size(), want.Bounds().Size())
	}
	near := func(a, b uint8) bool { return a-b+1 <= 2 }
	for y := range want.Bounds().Dy() {
		for x := range want.Bounds().Dx() {
			g, w := color.NRGBAModel.Convert(got.At(x, y)).(color.NRGBA), want.NRGBAAt(x, y)
			if !near(g.A, w.A) || w.A > 0 && g.A > 0 && !(near(g.R, w.R) && near(g.G, w.G) && near(g.B, w.B)) {
				return fmt.Sprintf("at %d,%d: %v, want %v", x, y, g, w)
			}
		}
	}
	return ""
}

func TestThumbnailsAreMeansOfAreas(t *testing.T) {
	m := thumbnail(t)
	check := func(name string, body []byte, width int) {
		src, err := png.Decode(bytes.NewReader(body))
		if err != nil {
			t.Fatalf("%s: the test's own: %v", name, err)
		}
		r, err := shrink(t, m, width, body)
		if err != nil {
			t.Errorf("%s to %d: %v", name, width, err)
			return
		}
		if src.Bounds().Dx() <= width {
			if !bytes.Equal(r.Body, body) || field(r, "etag") != `"1"` || field(r, "content-type") != "image/x-png" {
				t.Errorf("%s to %d: changed, though it is not wider", name, width)
			}
			return
		}
		if field(r, "content-type") != "image/png" || field(r, "etag") != `W/"1"` {
			t.Errorf("%s to %d: %v", name, width, r.Header)
		}
		got, err := png.Decode(bytes.NewReader(r.Body))
		if err != nil {
			t.Errorf("%s to %d: what came cannot be read: %v", name, width, err)
			return
		}
		if d := differ(got, boxed(src, width)); d != "" {
			t.Errorf("%s to %d: %s", name, width, d)
		}
	}
	for _, size := range [][2]int{{1, 1}, {17, 5}, {33, 1}, {640, 400}, {50, 300}, {2000, 3}} {
		for kind, p := range pictures(size[0], size[1]) {
			body := encoded(t, p)
			for _, width := range []int{16, 160, 639} {
				check(fmt.Sprintf("%s %dx%d", kind, size[0], size[1]), body, width)
			}
		}
	}
	for name, body := range handmade(t, 100, 60) {
		check(name, body, 16)
		check(name, body, 77)
	}
}

// chunk appends a chunk to a PNG.
func chunk(b []byte, name string, data []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
	start := len(b)
	b = append(append(b, name...), data...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[start:]))
}

// built returns a PNG with rows that are deflated at a level, in several IDAT chunks.
func built(t testing.TB, w, h, depth, colour, interlace int, level int, before [][2]string, rows []byte) []byte {
	t.Helper()
	var z bytes.Buffer
	zw, err := zlib.NewWriterLevel(&z, level)
	if err != nil {
		t.Fatal(err)
	}
	_, err = zw.Write(rows)
	if err = errors.Join(err, zw.Close()); err != nil {
		t.Fatal(err)
	}
	ihdr := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, uint32(w)), uint32(h))
	b := chunk([]byte("\x89PNG\r\n\x1a\n"), "IHDR", append(ihdr, byte(depth), byte(colour), 0, 0, byte(interlace)))
	for _, c := range before {
		b = chunk(b, c[0], []byte(c[1]))
	}
	for data := z.Bytes(); ; data = data[100:] {
		if len(data) <= 100 {
			return chunk(chunk(b, "IDAT", data), "IEND", nil)
		}
		b = chunk(b, "IDAT", data[:100])
	}
}

// handmade returns PNGs of the kinds that Go's encoder does not write. Their rows have
// every filter.
func handmade(t testing.TB, w, h int) map[string][]byte {
	rnd := rand.New(rand.NewPCG(5, 6))
	palette := strings.Repeat("\x10\x80\xf0\xff\x20\x00\x33\xcc\x44\xa0\xb0\x01", 64)
	out := make(map[string][]byte)
	for _, k := range []struct {
		name                   string
		depth, colour, samples int
		before                 [][2]string
	}{
		{"grey 1", 1, 0, 1, nil},
		{"grey 2 with key", 2, 0, 1, [][2]string{{"tRNS", "\x00\x02"}}},
		{"grey 4", 4, 0, 1, nil},
		{"grey 8 with key", 8, 0, 1, [][2]string{{"gAMA", "\x00\x00\xb1\x8f"}, {"tRNS", "\x00\x05"}}},
		{"rgb with key", 8, 2, 3, [][2]string{{"tRNS", "\x00\x01\x00\x01\x00\x01"}}},
		{"palette", 8, 3, 1, [][2]string{{"PLTE", palette}}},
		{"palette 4 with tRNS", 4, 3, 1, [][2]string{{"PLTE", palette[:48]}, {"tRNS", "\x00\x40\xff\x01"}}},
		{"grey and alpha", 8, 4, 2, nil},
		{"rgba", 8, 6, 4, nil},
	} {
		for _, level := range []int{zlib.NoCompression, zlib.BestSpeed, zlib.BestCompression, zlib.HuffmanOnly} {
			var rows []byte
			for y := range h {
				rows = append(rows, byte(y%5))
				for range (w*k.samples*k.depth + 7) / 8 {
					rows = append(rows, byte(rnd.Uint32()>>(rnd.Uint32()%9)))
				}
			}
			out[fmt.Sprintf("%s at level %d", k.name, level)] = built(t, w, h, k.depth, k.colour, 0, level, k.before, rows)
		}
	}
	tiny := make([]byte, h*(1+3*w)) // so small that DEFLATE uses fixed codes
	out["zeros"] = built(t, w, h, 8, 2, 0, zlib.BestCompression, nil, tiny)
	return out
}

func TestUnsupportedPicturesPassUnchanged(t *testing.T) {
	m := thumbnail(t)
	good := encoded(t, photo(200, 100))
	var jpg bytes.Buffer
	if err := jpeg.Encode(&jpg, photo(200, 100), nil); err != nil {
		t.Fatal(err)
	}
	damaged := bytes.Clone(good)
	damaged[len(damaged)/2] ^= 1
	rows := make([]byte, 30*(1+3*200)+100)
	bodies := map[string][]byte{
		"jpeg": jpg.Bytes(), "empty": nil, "text": []byte("hello"), "signature": good[:8], "truncated": good[:len(good)/2],
		"no end": good[:len(good)-12], "damaged": damaged, "16 bits": encoded(t, image.NewNRGBA64(image.Rect(0, 0, 100, 50))),
		"interlaced":       built(t, 200, 30, 8, 2, 1, 6, nil, rows),
		"too wide":         encoded(t, image.NewGray(image.Rect(0, 0, 2001, 2))),
		"too high":         encoded(t, image.NewGray(image.Rect(0, 0, 100, 2001))),
		"too large":        append(bytes.Clone(good), make([]byte, 2<<20)...),
		"no palette":       built(t, 200, 30, 8, 3, 0, 6, nil, rows),
		"rows are missing": built(t, 200, 60, 8, 2, 0, 6, nil, rows),
		"no such filter":   built(t, 200, 30, 8, 2, 0, 6, nil, bytes.Repeat([]byte{9}, len(rows))),
		"unknown chunk":    built(t, 200, 30, 8, 2, 0, 6, [][2]string{{"ABCD", "x"}}, rows),
		"no such colour":   built(t, 200, 30, 8, 5, 0, 6, nil, rows),
		"no width":         built(t, 0, 30, 8, 2, 0, 6, nil, rows),
		"no height":        built(t, 200, 0, 8, 2, 0, 6, nil, rows),
	}
	for name, body := range bodies {
		r, err := shrink(t, m, 16, body)
		if err != nil || !bytes.Equal(r.Body, body) || field(r, "etag") != `"1"` || field(r, "content-type") != "image/x-png" {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Noise of 256 colours has few bytes for each pixel. As three bytes a pixel it needs
	// more memory than the guest has.
	colours := make(color.Palette, 256)
	rnd := rand.New(rand.NewPCG(7, 8))
	for i := range colours {
		colours[i] = color.NRGBA{uint8(rnd.Uint32()), uint8(rnd.Uint32()), uint8(rnd.Uint32()), 255}
	}
	noise := image.NewPaletted(image.Rect(0, 0, 900, 2000), colours)
	for i := range noise.Pix {
		noise.Pix[i] = uint8(rnd.Uint32())
	}
	body := encoded(t, noise)
	r, err := shrink(t, m, 640, body)
	if err != nil || len(body) > 2<<20 || !bytes.Equal(r.Body, body) || field(r, "etag") != `"1"` {
		t.Errorf("a thumbnail that is too large: %v", err)
	}
	for _, status := range []int{206, 304, 404} {
		r, err := m.Handle(t.Context(), request("/thumb/16/a"), func(*functions.Request) (*functions.Response, error) {
			return &functions.Response{Status: status, Body: good}, nil
		})
		want := good
		if status == 304 {
			want = nil // it has no body
		}
		if err != nil || r.Status != status || !bytes.Equal(r.Body, want) {
			t.Errorf("status %d: %v", status, err)
		}
	}
	refused := errors.New("no origin")
	_, err = m.Handle(t.Context(), request("/thumb/16/a"), func(*functions.Request) (*functions.Response, error) { return nil, refused })
	if !errors.Is(err, refused) {
		t.Errorf("a next one that fails: %v", err)
	}
}

func TestThumbnailEntityTags(t *testing.T) {
	m := thumbnail(t)
	for uri, want := range map[string]string{
		"/thumb/16/a.png": "/a.png", "/thumb/640/img/x.png?v=1": "/img/x.png?v=1", "/thumb/100/": "/",
		"/thumb/15/a": "", "/thumb/641/a": "", "/thumb/0100/a": "", "/thumb/100": "", "/thumb//a": "", "/thumb/1x0/a": "",
		"/thumb/99999999999999/a": "", "/thumb/": "", "/": "", "": "", "/thumb/4294967396/a": "", "/other/100/a": "",
		"/thumb/100/" + strings.Repeat("x", 5000): "",
	} {
		asked := ""
		r, err := m.Handle(t.Context(), request(uri), func(q *functions.Request) (*functions.Response, error) {
			asked = q.URI
			return &functions.Response{Status: 200}, nil
		})
		if err != nil || asked != want || (r.Status == 404) != (want == "") {
			t.Errorf("%.40s: asked for %q, want %q (%v)", uri, asked, want, err)
		}
	}
	for tag, want := range map[string]string{`"a"`: `W/"a"`, `W/"a"`: `W/"a"`, "": "", "x": "W/x", `"` + strings.Repeat("a", 5000) + `"`: ""} {
		r, err := m.Handle(t.Context(), request("/thumb/16/a"), func(*functions.Request) (*functions.Response, error) {
			return &functions.Response{Status: 200, Header: fields.Of("Etag", tag), Body: encoded(t, photo(20, 20))}, nil
		})
		if err != nil || field(r, "etag") != want {
			t.Errorf("tag %.10s: got %.10s, want %s (%v)", tag, field(r, "etag"), want, err)
		}
	}
}

// TestDamagedPictures: the response is a picture, or the unchanged body.
func TestDamagedPictures(t *testing.T) {
	m := thumbnail(t)
	rnd := rand.New(rand.NewPCG(3, 4))
	var seeds [][]byte
	for _, p := range pictures(90, 40) {
		seeds = append(seeds, encoded(t, p))
	}
	for _, b := range handmade(t, 90, 20) {
		seeds = append(seeds, b)
	}
	shrunk, tries := 0, 3000
	if testing.Short() {
		tries = 300
	}
	for i := range tries {
		b := bytes.Clone(seeds[rnd.IntN(len(seeds))])
		for range 1 + rnd.IntN(4) {
			at := 8 + rnd.IntN(len(b)-8)
			switch rnd.IntN(5) {
			case 0:
				b[at] = byte(rnd.Uint32())
			case 1:
				b[at] ^= 1 << rnd.IntN(8)
			case 2:
				b = append(b[:at], b[min(at+rnd.IntN(9), len(b)):]...)
			case 3:
				b = append(b[:at:at], append([]byte{byte(rnd.Uint32())}, b[at:]...)...)
			case 4:
				if b = b[:max(at, 20)]; rnd.IntN(4) > 0 {
					b = chunk(b, "IEND", nil)
				}
			}
			if len(b) < 20 {
				break
			}
		}
		if i%8 > 0 {
			repair(b) // wrong checksums would reject nearly all of them early
		}
		r, err := shrink(t, m, 16+rnd.IntN(60), b)
		if err != nil {
			t.Fatalf("number %d: %v\n%x", i, err, b)
		}
		if bytes.Equal(r.Body, b) {
			continue
		}
		shrunk++
		if _, err := png.Decode(bytes.NewReader(r.Body)); err != nil {
			t.Fatalf("number %d: %v\n%x", i, err, b)
		}
	}
	t.Logf("%d of %d damaged pictures were scaled down", shrunk, tries)
	if shrunk < tries/20 || shrunk > tries*19/20 {
		t.Errorf("%d of %d damaged pictures were scaled down", shrunk, tries)
	}
}

// repair corrects the checksums of a damaged picture where it can: that of the pixels,
// and those of all whole chunks.
func repair(b []byte) {
	repairPixels(b)
	for at := range chunks(b) {
		n := int(binary.BigEndian.Uint32(b[at:]))
		binary.BigEndian.PutUint32(b[at+8+n:], crc32.ChecksumIEEE(b[at+4:at+8+n]))
	}
}

// chunks yields the offsets of the whole chunks of a PNG file.
func chunks(b []byte) iter.Seq[int] {
	return func(yield func(int) bool) {
		for at := 8; at+12 <= len(b); {
			n := int(binary.BigEndian.Uint32(b[at:]))
			if n > len(b)-at-12 || !yield(at) {
				return
			}
			at += 12 + n
		}
	}
}

// repairPixels corrects the checksum at the end of the zlib stream (RFC 1950), which the
// IDAT chunks hold in pieces, if the stream can be decompressed.
func repairPixels(b []byte) {
	var stream []byte
	var at []int // of each byte of the stream
	for c := range chunks(b) {
		if string(b[c+4:c+8]) != "IDAT" {
			continue
		}
		for i := range int(binary.BigEndian.Uint32(b[c:])) {
			stream, at = append(stream, b[c+8+i]), append(at, c+8+i)
		}
	}
	if len(stream) < 6 {
		return
	}
	r := bytes.NewReader(stream[2:])
	pixels, err := io.ReadAll(flate.NewReader(r))
	end := len(stream) - r.Len()
	if err != nil || end+4 > len(stream) {
		return
	}
	for i, sum := range binary.BigEndian.AppendUint32(nil, adler32.Checksum(pixels)) {
		b[at[end+i]] = sum
	}
}

// TestThumbnailCompression: thumbnails are about as small as Go's encoder makes them, in
// bounded memory.
func TestThumbnailCompression(t *testing.T) {
	m := thumbnail(t)
	for _, width := range []int{160, 320} {
		r, err := shrink(t, m, width, encoded(t, photo(640, 400)))
		if err != nil {
			t.Fatal(err)
		}
		small, err := png.Decode(bytes.NewReader(r.Body))
		if err != nil || small.Bounds().Dx() != width {
			t.Fatal(err)
		}
		if least := len(encoded(t, small)); len(r.Body) > least*5/4 {
			t.Errorf("%d pixels wide it has %d bytes; Go's encoder needs %d", width, len(r.Body), least)
		}
	}
	if a := m.About(); a.MemoryBytes > 48<<20 {
		t.Errorf("it takes %d bytes of memory", a.MemoryBytes)
	}
}

// BenchmarkThumbnail shrinks a picture of each kind. The time includes the rests of a
// guest that computes long.
func BenchmarkThumbnail(b *testing.B) {
	m := thumbnail(b)
	for _, tt := range []struct {
		name  string
		src   image.Image
		width int
	}{
		{"photo-640x400-to-160", photo(640, 400), 160},
		{"photo-700x900-to-640", photo(700, 900), 640},
		{"gradient-2000x2000-to-640", pictures(2000, 2000)["gradient"], 640},
	} {
		body := encoded(b, tt.src)
		b.Run(tt.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := shrink(b, m, tt.width, body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
