package edge

import (
	"strings"
	"testing"
	"testing/synctest"

	"perto/internal/simnet"
)

func TestHashedNames(t *testing.T) {
	for path, want := range map[string]bool{
		"/assets/app-BxD4a9f2.js": true, "/assets/index-DiwrgTda.css": true, "/a/app.3f9c1b2a.css": true, "/static/main.0123456789abcdef0123.js": true,
		"/assets/app-Bx-4a9f2.js?v=1": true, "/assets/about-_Zx81a-Q.js": true, "/fonts/inter-latin-400-C38fXH4l.woff2": true,
		"/app.js": false, "/jquery-migrate.min.js": false, "/bootstrap-datepicker.js": false, "/report-20261125.pdf": false, "/a-3f9c1b2a/": false,
		"/": false, "": false, "/photo-DSC0": false, "/lib-1.2.3.js": false, "/deadbeef": false, "/3f9c1b2a.js": false, "/photo-DSC01234.jpg": false,
	} {
		if got := hasHashedName([]byte(path)); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
}

// TestExplainAdvises: a stored file with a hashed name and without "immutable" gets
// advice.
func TestExplainAdvises(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &dialogue{t: t, net: simnet.New(0, simnet.Link{})}
		d.start()
		for _, c := range parseDialogue(t, `
origin /app-BxD4a9f2.js
	200
	Last-Modified: Sat, 01 Jan 2000 00:00:00 GMT
	body: x
origin /kept-BxD4a9f2.js
	200
	Cache-Control: max-age=100, immutable
	body: x
client GET /app-BxD4a9f2.js
expect 200
client GET /kept-BxD4a9f2.js
expect 200
`) {
			d.play(c)
		}
		if got := d.edge.Explain("www.shop.example", "/app-BxD4a9f2.js").Advice; !strings.Contains(got, "immutable") {
			t.Errorf("advice %q", got)
		}
		for _, path := range []string{"/kept-BxD4a9f2.js", "/missing-BxD4a9f2.js"} {
			if got := d.edge.Explain("www.shop.example", path).Advice; got != "" {
				t.Errorf("%s: advice %q", path, got)
			}
		}
		d.stop()
	})
}
