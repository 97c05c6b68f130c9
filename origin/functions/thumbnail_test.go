package shopcode

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"math/rand/v2"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"perto/functions"
	"perto/internal/fields"
	"perto/origin"
)

// thumb asks for a thumbnail of an image.
func thumb(t testing.TB, m *functions.Module, uri string, picture []byte, header ...string) *functions.Response {
	t.Helper()
	r, err := m.Handle(t.Context(), &functions.Request{Method: "GET", URI: uri, Protocol: "HTTP/1.1", Source: netip.MustParseAddrPort("192.0.2.1:1"), Header: fields.Of("Range", "bytes=0-99", "If-Range", `"abc"`)},
		func(q *functions.Request) (*functions.Response, error) {
			if q.URI != "/photo/1.png?v=2" {
				t.Errorf("the origin was asked for %q", q.URI)
			}
			if q.Header.Has("range") || q.Header.Has("if-range") {
				t.Errorf("the origin was asked for a part: %v", q.Header)
			}
			return &functions.Response{Status: 200, Header: fields.Of(header...), Body: picture}, nil
		})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// pictures are of every kind that is read.
func pictures() map[string]image.Image {
	rng := rand.New(rand.NewPCG(15, 16))
	noise := func(img interface {
		image.Image
		Set(x, y int, c color.Color)
	}) image.Image {
		b := img.Bounds()
		for y := range b.Dy() {
			for x := range b.Dx() {
				img.Set(x, y, color.NRGBA{uint8(x * 3), uint8(y*2 + rng.IntN(9)), uint8(rng.IntN(256)), uint8(x ^ y)})
			}
		}
		return img
	}
	opaque := func(img image.Image) image.Image {
		n := img.(*image.NRGBA)
		for i := 3; i < len(n.Pix); i += 4 {
			n.Pix[i] = 255
		}
		return n
	}
	var solid, clear color.Palette // of more than 16 colours: fewer take less than 8 bits
	for i := range 40 {
		c := color.NRGBA{uint8(i * 6), uint8(255 - i*5), uint8(i * i), 255}
		solid = append(solid, c)
		if c.A = uint8(i * 5); i == 0 {
			c = color.NRGBA{}
		}
		clear = append(clear, c)
	}
	return map[string]image.Image{
		"RGB":              opaque(noise(image.NewNRGBA(image.Rect(0, 0, 333, 211)))),
		"RGBA":             noise(image.NewNRGBA(image.Rect(0, 0, 200, 90))),
		"grey":             noise(image.NewGray(image.Rect(0, 0, 97, 300))),
		"palette":          noise(image.NewPaletted(image.Rect(0, 0, 120, 40), solid)),
		"palette of glass": noise(image.NewPaletted(image.Rect(0, 0, 64, 64), clear)),
		"one row":          noise(image.NewNRGBA(image.Rect(0, 0, 640, 1))),
	}
}

func encode(t testing.TB, img image.Image, level png.CompressionLevel) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: level}).Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// box is the mean of a box of pixels, as the guest defines it.
func box(img image.Image, x0, x1, y0, y1 int) color.NRGBA {
	var sum [4]uint64
	for y := y0; y < y1; y++ {
		for x := x0; x < x1; x++ {
			c := color.NRGBAModel.Convert(img.At(x, y)).(color.NRGBA)
			a := uint64(c.A)
			sum[0], sum[1], sum[2], sum[3] = sum[0]+uint64(c.R)*a, sum[1]+uint64(c.G)*a, sum[2]+uint64(c.B)*a, sum[3]+a
		}
	}
	if sum[3] == 0 {
		return color.NRGBA{}
	}
	n := uint64((x1 - x0) * (y1 - y0))
	return color.NRGBA{uint8((sum[0] + sum[3]/2) / sum[3]), uint8((sum[1] + sum[3]/2) / sum[3]), uint8((sum[2] + sum[3]/2) / sum[3]), uint8((sum[3] + n/2) / n)}
}

// TestThumbnails: of every kind of image, packed in every way, pixel for pixel what
// the same filter in Go makes.
func TestThumbnails(t *testing.T) {
	m := load(t, "thumbnail", nil)
	for name, img := range pictures() {
		for _, level := range []png.CompressionLevel{png.DefaultCompression, png.NoCompression, png.BestSpeed} {
			for _, width := range []string{"16", "50", "63"} {
				r := thumb(t, m, "/thumb/"+width+"/photo/1.png?v=2", encode(t, img, level), "Content-Type", "image/png", "ETag", `"abc"`, "Cache-Control", "max-age=9")
				small, err := png.Decode(bytes.NewReader(r.Body))
				if err != nil {
					t.Fatalf("%s, %s: %v", name, width, err)
				}
				w, h := small.Bounds().Dx(), small.Bounds().Dy()
				iw, ih := img.Bounds().Dx(), img.Bounds().Dy()
				if want := max(1, ih*w/iw); width != strconv.Itoa(w) || h != want {
					t.Errorf("%s, %s: it is %d x %d, want a height of %d", name, width, w, h, want)
				}
				for y := range h {
					for x := range w {
						want := box(img, x*iw/w, max(x*iw/w+1, (x+1)*iw/w), y*ih/h, max(y*ih/h+1, (y+1)*ih/h))
						if got := color.NRGBAModel.Convert(small.At(x, y)).(color.NRGBA); got != want {
							t.Fatalf("%s, %s: pixel %d, %d is %v, want %v", name, width, x, y, got, want)
						}
					}
				}
				if etag, _ := r.Header.Get("etag"); string(etag) != `W/"abc"` {
					t.Errorf("%s: ETag is %s", name, etag)
				}
			}
		}
	}
}

// TestWhatIsNoPNGPasses: as it came.
func TestWhatIsNoPNGPasses(t *testing.T) {
	m := load(t, "thumbnail", nil)
	rgb := pictures()["RGB"]
	var jpg bytes.Buffer
	if err := jpeg.Encode(&jpg, rgb, nil); err != nil {
		t.Fatal(err)
	}
	whole := encode(t, rgb, png.DefaultCompression)
	for i := 8; i < len(whole); i += 101 { // a bit that is wrong anywhere
		bad := bytes.Clone(whole)
		bad[i] ^= 1 << (i % 8)
		if r := thumb(t, m, "/thumb/50/photo/1.png?v=2", bad); !bytes.Equal(r.Body, bad) {
			t.Errorf("damaged at %d of %d, it became a thumbnail", i, len(bad))
		}
	}
	for name, picture := range map[string][]byte{
		"moves": slices.Insert(bytes.Clone(whole), 33, []byte("\x00\x00\x00\x08acTL\x00\x00\x00\x02\x00\x00\x00\x00\xf3\x8d\x93\x70")...),
		"JPEG":  jpg.Bytes(), "nothing": nil, "cut": whole[:len(whole)/2], "small already": encode(t, image.NewNRGBA(image.Rect(0, 0, 40, 40)), png.DefaultCompression),
		"16 bits": encode(t, image.NewNRGBA64(image.Rect(0, 0, 100, 100)), png.DefaultCompression), "text": []byte("not found"),
	} {
		if r := thumb(t, m, "/thumb/50/photo/1.png?v=2", picture, "X-A", "b"); !bytes.Equal(r.Body, picture) || len(r.Header) != 1 {
			t.Errorf("%s: it was changed: %d bytes of %d, %v", name, len(r.Body), len(picture), r.Header)
		}
	}
	for _, uri := range []string{"/thumb/", "/thumb/x/a", "/thumb/0/a", "/thumb/0160/a", "/thumb/9999/a", "/thumb/50", "/other"} {
		if r, body := ask(t, m, uri); r.Status != 404 || !strings.Contains(body, "WIDTH is 16 to 640") {
			t.Errorf("%s: %d %s", uri, r.Status, body)
		}
	}
}

// TestBrokenImages: bytes of an image changed at random do not break the guest, with
// the check sums that they should have, too: what is behind those is reached.
func TestBrokenImages(t *testing.T) {
	m := load(t, "thumbnail", nil)
	rng := rand.New(rand.NewPCG(17, 18))
	thumbnails := 0
	for _, img := range pictures() {
		whole := encode(t, img, png.DefaultCompression)
		for i := range 60 {
			bad := bytes.Clone(whole)
			for range 1 + rng.IntN(5) {
				bad[8+rng.IntN(len(bad)-8)] = byte(rng.Uint32())
			}
			if i%4 == 0 { // where most codes are
				bad[41+rng.IntN(60)%(len(bad)-41)] = byte(rng.Uint32())
			}
			if i%6 > 0 {
				sign(bad)
			}
			r := thumb(t, m, "/thumb/16/photo/1.png?v=2", bad)
			if r.Status != 200 {
				t.Fatal(r.Status)
			}
			if bytes.Equal(r.Body, bad) {
				continue
			}
			thumbnails++
			if small, err := png.Decode(bytes.NewReader(r.Body)); err != nil || small.Bounds().Dx() != 16 {
				t.Fatalf("of a broken image came a broken one: %v", err)
			}
		}
	}
	if thumbnails < 20 {
		t.Errorf("%d of the broken images became thumbnails: the test reaches nothing", thumbnails)
	}
}

// sign gives the chunks of a PNG their check sums, as far as there are chunks.
func sign(b []byte) {
	for at := 8; at+12 <= len(b); {
		n := int(binary.BigEndian.Uint32(b[at:]))
		if n > len(b)-at-12 {
			return
		}
		binary.BigEndian.PutUint32(b[at+8+n:], crc32.ChecksumIEEE(b[at+4:at+8+n]))
		at += n + 12
	}
}

// TestThumbnailOfAPhoto: one of the shop's, in bytes and time.
func TestThumbnailOfAPhoto(t *testing.T) {
	m := load(t, "thumbnail", nil)
	shop, err := origin.New(origin.Config{})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	shop.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/photo/3.png", nil))
	photo := w.Body.Bytes()
	begin := time.Now()
	r := thumb(t, m, "/thumb/160/photo/1.png?v=2", photo, "Content-Type", "image/png")
	t.Logf("a photo of %d bytes became one of %d in %s", len(photo), len(r.Body), time.Since(begin))
	if len(photo) < 100<<10 || len(r.Body) > len(photo)/5 || len(r.Body) < 2000 {
		t.Errorf("a photo of %d bytes became one of %d", len(photo), len(r.Body))
	}
}
