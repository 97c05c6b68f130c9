// Package origin is the demo shop: the origin server from which edges fetch. It is small
// but complete: pages with images, a catalogue as JSON, and a fragment that differs for
// each person. It also has a large download with ranges, entity tags, surrogate keys, and
// a health check.
// Every response has a Cache-Control field. Start with [New]. A Shop is safe for
// concurrent use.
//
//	/                   the home page
//	/product/ID         a page for each product
//	/img/ID.svg         its picture
//	/photo/ID.png       its photo, large
//	/catalogue.json     all products
//	/greeting           for one person (cookie name=...): not shared
//	/download/book.txt  a large file, also in ranges
//	/healthz            the health check
package origin

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"perto"
	"perto/internal/netx"
)

//go:embed pages
var pages embed.FS

// Product is a product of the shop.
type Product struct {
	ID    int    `json:"id"`
	Name  string `json:"name"`
	About string `json:"about"`
	Cents int    `json:"price_cents"`
	Hue   int    `json:"-"` // colour of its picture, in degrees
}

// Price returns the price in dollars, for example "8.20".
func (p Product) Price() string { return fmt.Sprintf("%d.%02d", p.Cents/100, p.Cents%100) }

//go:embed catalogue.tsv
var catalogue string

// Products returns the shop's products. Their ids count from 1.
func Products() ([]Product, error) {
	var out []Product
	for n, line := range strings.Split(strings.TrimSpace(catalogue), "\n") {
		if line[0] == '#' {
			continue
		}
		f := strings.Split(line, "\t")
		if len(f) != 5 || f[0] != strconv.Itoa(len(out)+1) {
			return nil, fmt.Errorf("catalogue.tsv:%d: a line must have the next id, name, about, cents and hue", n+1)
		}
		cents, err := strconv.Atoi(f[3])
		if err != nil {
			return nil, fmt.Errorf("catalogue.tsv:%d: %w", n+1, err)
		}
		hue, err := strconv.Atoi(f[4])
		if err != nil {
			return nil, fmt.Errorf("catalogue.tsv:%d: %w", n+1, err)
		}
		out = append(out, Product{len(out) + 1, f[1], f[2], cents, hue})
	}
	return out, nil
}

// Config configures a Shop.
type Config struct {
	Network netx.Network
	Listen  []string // "host:port" each
	Logger  *slog.Logger
	// Wrap returns the handler to serve, given the shop's own; nil: the shop's own.
	Wrap func(http.Handler) http.Handler
}

// Shop is the running origin.
type Shop struct {
	cfg       Config
	server    *http.Server
	listeners []net.Listener
	running   sync.WaitGroup

	template *template.Template
	list     []Product
	book     []byte
	changed  time.Time

	photosMu sync.Mutex
	photos   map[int][]byte // PNG, by product
}

// New returns a shop that does not listen yet.
func New(cfg Config) (*Shop, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	t, err := template.ParseFS(pages, "pages/*.html")
	if err != nil {
		return nil, err
	}
	list, err := Products()
	if err != nil {
		return nil, err
	}
	s := &Shop{cfg: cfg, template: t, list: list, photos: make(map[int][]byte), book: makeBook(), changed: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)}
	handler := s.Handler()
	if cfg.Wrap != nil {
		handler = cfg.Wrap(handler)
	}
	s.server = &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug)}
	return s, nil
}

// Start opens the listeners and serves until Close.
func (s *Shop) Start(ctx context.Context) error {
	for _, address := range s.cfg.Listen {
		l, err := s.cfg.Network.Listen(ctx, "tcp", address)
		if err != nil {
			s.Close()
			return &perto.Error{Op: "serve the shop on", Path: address, Kind: perto.KindUnavailable, Err: err}
		}
		s.listeners = append(s.listeners, l)
		s.running.Go(func() { s.server.Serve(l) })
	}
	return nil
}

// Close stops serving.
func (s *Shop) Close() error {
	err := s.server.Close()
	for _, l := range s.listeners {
		l.Close()
	}
	s.running.Wait()
	return err
}

// Handler returns the shop's handler.
func (s *Shop) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.home)
	mux.HandleFunc("GET /product/{id}", s.product)
	mux.HandleFunc("GET /img/{file}", s.image)
	mux.HandleFunc("GET /photo/{file}", s.photo)
	mux.HandleFunc("GET /catalogue.json", s.catalogue)
	mux.HandleFunc("GET /greeting", s.greeting)
	mux.HandleFunc("GET /style.css", s.style)
	mux.HandleFunc("GET /download/book.txt", func(w http.ResponseWriter, r *http.Request) {
		s.serve(w, r, "text/plain; charset=utf-8", "public, max-age=3600, s-maxage=86400", "book", s.book)
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Write([]byte("ok\n"))
	})
	return mux
}

// How long browsers (max-age) and the CDN (s-maxage) may store responses.
const (
	cachePage  = "public, max-age=10, s-maxage=60, stale-while-revalidate=30, stale-if-error=86400"
	cacheImage = "public, max-age=3600, s-maxage=86400, stale-if-error=86400"
)

// serve responds with a body, an entity tag, conditional requests and ranges.
func (s *Shop) serve(w http.ResponseWriter, r *http.Request, contentType, cacheControl, tags string, body []byte) {
	sum := sha256.Sum256(body)
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", cacheControl)
	h.Set("Surrogate-Key", tags)
	h.Set("ETag", `"`+hex.EncodeToString(sum[:8])+`"`)
	http.ServeContent(w, r, "", s.changed, bytes.NewReader(body))
}

func (s *Shop) page(w http.ResponseWriter, r *http.Request, name, tags string, data any) {
	var b bytes.Buffer
	if err := s.template.ExecuteTemplate(&b, name, data); err != nil {
		s.cfg.Logger.Error("render", "page", name, "err", err)
		http.Error(w, "the shop has a problem", http.StatusInternalServerError)
		return
	}
	s.serve(w, r, "text/html; charset=utf-8", cachePage, tags, b.Bytes())
}

// shownAtHome is the number of products on the home page.
const shownAtHome = 8

func (s *Shop) home(w http.ResponseWriter, r *http.Request) {
	s.page(w, r, "home.html", "shop home", s.list[:shownAtHome])
}

func (s *Shop) product(w http.ResponseWriter, r *http.Request) {
	if p := s.find(r.PathValue("id")); p != nil {
		s.page(w, r, "product.html", fmt.Sprintf("shop product-%d", p.ID), p)
		return
	}
	s.notFound(w)
}

func (s *Shop) notFound(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "public, s-maxage=10")
	http.Error(w, "The shop does not have that.", http.StatusNotFound)
}

func (s *Shop) find(id string) *Product {
	n, err := strconv.Atoi(id)
	if err != nil || n < 1 || n > len(s.list) {
		return nil
	}
	return &s.list[n-1]
}

// image draws the picture of a product, a few kilobytes.
func (s *Shop) image(w http.ResponseWriter, r *http.Request) {
	id, ok := strings.CutSuffix(r.PathValue("file"), ".svg")
	p := s.find(id)
	if !ok || p == nil {
		s.notFound(w)
		return
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 320 200" role="img" aria-label="%s"><rect width="320" height="200" fill="hsl(%d 45%% 88%%)"/>`, p.Name, p.Hue)
	for i := range 60 { // a pattern that differs for each product
		x, y := (i*53+p.ID*37)%320, (i*97+p.ID*61)%200
		fmt.Fprintf(&b, `<circle cx="%d" cy="%d" r="%d" fill="hsl(%d 60%% %d%%)" fill-opacity=".35"/>`, x, y, 6+(i*p.ID)%26, (p.Hue+i*3)%360, 35+i%40)
	}
	fmt.Fprintf(&b, `<text x="20" y="180" font-family="system-ui,sans-serif" font-size="28" font-weight="700" fill="hsl(%d 60%% 18%%)">%s</text></svg>`, p.Hue, p.Name)
	s.serve(w, r, "image/svg+xml", cacheImage, fmt.Sprintf("shop image product-%d", p.ID), b.Bytes())
}

func (s *Shop) catalogue(w http.ResponseWriter, r *http.Request) {
	b, err := json.MarshalIndent(s.list, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	s.serve(w, r, "application/json", cachePage, "shop catalogue", append(b, '\n'))
}

// greeting responds for one person, so the response must not be shared.
func (s *Shop) greeting(w http.ResponseWriter, r *http.Request) {
	name := "you"
	if c, err := r.Cookie("name"); err == nil && c.Value != "" {
		name = c.Value
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "private, no-store")
	w.Header().Set("Vary", "Cookie")
	fmt.Fprintf(w, "<p>Good to see %s.</p>\n", template.HTMLEscapeString(name))
}

func (s *Shop) style(w http.ResponseWriter, r *http.Request) {
	b, err := pages.ReadFile("pages/style.css")
	if err != nil {
		s.notFound(w)
		return
	}
	s.serve(w, r, "text/css; charset=utf-8", cacheImage, "shop style", b)
}

// bookBytes is the size of the large download.
const bookBytes = 8 << 20

// makeBook returns a text of numbered lines, so that tests can check any range.
func makeBook() []byte {
	b := make([]byte, 0, bookBytes+64)
	for i := 0; len(b) < bookBytes; i++ {
		b = fmt.Appendf(b, "%08d  The nearer the better, said the edge to the client.\n", i)
	}
	return b[:bookBytes]
}
