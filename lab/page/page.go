// Package page shows a world that runs: who is served by whom on a map, the site
// side by side from six cities, and the API by which "perto dig", "perto lab fetch"
// and their like are somebody in a city. The world may run in this process
// (package lab) or as containers that are asked over HTTP ([Remote]).
package page

import (
	"bytes"
	"context"
	"embed"
	"html/template"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"perto"
	"perto/config"
	"perto/console"
	"perto/geodata"
	"perto/lab/access"
	"perto/node"
	"perto/replicas"
)

//go:embed lab.html lab.css *.js favicon.svg
var files embed.FS

// Vantage is a client somewhere, as the API shows it.
type Vantage struct {
	Name     string       `json:"name"`
	Place    string       `json:"place"`
	Kind     string       `json:"resolver_kind"`
	Resolver string       `json:"resolver"` // the host that answers it
	At       string       `json:"resolver_place"`
	Door     string       `json:"door"` // "127.0.0.1:5320", its resolver's
	SOCKS    string       `json:"socks"`
	Addrs    []netip.Addr `json:"addresses"`
	LastMile string       `json:"last_mile"`

	Where perto.Place `json:"where"`
}

// World is what is shown.
type World interface {
	// Vantages returns the vantages in their fixed order.
	Vantages() []Vantage
	// Dig asks a vantage's resolver.
	Dig(ctx context.Context, from, name, qtype string) (*access.DigReply, error)
	// Fetch gets a URL from a vantage.
	Fetch(ctx context.Context, from, url string) (*access.Fetched, error)
	// Status returns what a name server knows; nil when none answers.
	Status(ctx context.Context) *node.Status
}

// Page serves a World.
type Page struct {
	World  World
	Config *config.World // PoPs and services
	// Site is the host that people would open.
	Site string
}

// SiteOf returns the name that people would open: the first alias that there is,
// else the first service; "" for a World without services.
func SiteOf(w *config.World) string {
	for _, s := range w.Services {
		if len(s.Aliases) > 0 {
			return s.Aliases[0]
		}
	}
	if len(w.Services) > 0 {
		return string(w.Services[0].Name)
	}
	return ""
}

// Register adds the page and its API to a mux:
//
//	GET /                     the page
//	GET /from/VANTAGE/PATH    the site as a vantage gets it
//	GET /api/lab/vantages     the vantages
//	GET /api/lab/dig          one question from a vantage: from, name, type
//	GET /api/lab/fetch        one fetch from a vantage: from, url; body=1 for the body too
//	GET /api/lab/compare      the same from every vantage: url
//
// Where the mux has GET /api/functions and GET /api/functions/modules/DIGEST too, as
// package mobility has them, the page runs functions at the origin, at an edge and in
// the browser itself.
func (p *Page) Register(mux *http.ServeMux) error {
	t, err := template.ParseFS(files, "*.html")
	if err != nil {
		return err
	}
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { p.overview(w, r, t) })
	for _, name := range []string{"lab.css", "functions.js", "functionworker.js", "guest.js"} {
		mux.HandleFunc("GET /"+name, func(w http.ResponseWriter, r *http.Request) { serveFile(w, r, name) })
	}
	mux.HandleFunc("GET /favicon.ico", func(w http.ResponseWriter, r *http.Request) { serveFile(w, r, "favicon.svg") })
	mux.HandleFunc("GET /from/{vantage}/{path...}", p.serveFrom)
	mux.HandleFunc("GET /api/lab/vantages", func(w http.ResponseWriter, r *http.Request) { console.WriteJSON(w, p.World.Vantages()) })
	mux.HandleFunc("GET /api/lab/dig", func(w http.ResponseWriter, r *http.Request) {
		Answer(w)(p.World.Dig(r.Context(), r.FormValue("from"), r.FormValue("name"), r.FormValue("type")))
	})
	mux.HandleFunc("GET /api/lab/fetch", func(w http.ResponseWriter, r *http.Request) {
		f, err := p.World.Fetch(r.Context(), r.FormValue("from"), r.FormValue("url"))
		if err == nil && r.FormValue("body") != "" {
			console.WriteJSON(w, fetchedWithBody{*f, f.Body})
			return
		}
		Answer(w)(f, err)
	})
	mux.HandleFunc("GET /api/lab/compare", func(w http.ResponseWriter, r *http.Request) {
		console.WriteJSON(w, p.fetchAll(r.Context(), r.FormValue("url")))
	})
	return nil
}

// policy is what the page's own files may do: run our scripts and the WebAssembly
// that they compile, and show images that scripts have made.
const policy = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; img-src 'self' blob:; style-src 'self' 'unsafe-inline'"

// serveFile serves a file of the page. Its type does not depend on what the machine
// takes ".js" for; the policy is for what runs as a worker.
func serveFile(w http.ResponseWriter, r *http.Request, name string) {
	kind := "text/css; charset=utf-8"
	switch {
	case strings.HasSuffix(name, ".js"):
		kind = "text/javascript; charset=utf-8"
	case strings.HasSuffix(name, ".svg"):
		kind = "image/svg+xml"
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Security-Policy", policy)
	http.ServeFileFS(w, r, files, name)
}

// Answer writes a result or its error.
func Answer(w http.ResponseWriter) func(value any, err error) {
	return func(value any, err error) {
		if err != nil {
			console.WriteError(w, err)
			return
		}
		console.WriteJSON(w, value)
	}
}

// fetchAll fetches a URL from all vantages at once; a failure is in its result.
func (p *Page) fetchAll(ctx context.Context, target string) []access.Fetched {
	list := p.World.Vantages()
	out := make([]access.Fetched, len(list))
	var wg sync.WaitGroup
	for i, v := range list {
		wg.Go(func() {
			f, err := p.World.Fetch(ctx, v.Name, target)
			if err != nil {
				out[i] = access.Fetched{Vantage: v.Name, Place: v.Place, URL: target, Error: err.Error()}
				return
			}
			out[i] = *f
		})
	}
	wg.Wait()
	return out
}

// askWait is how long vantages have to say who they are.
const askWait = 3 * time.Second

// sideBySide is in how many cities the page shows the site at once.
const sideBySide = 6

// cities returns vantages from all over the world: those that are farthest from
// each other, begun with the first.
func cities(list []Vantage) []string {
	if len(list) == 0 {
		return nil
	}
	names := []string{list[0].Name}
	near := make([]float64, len(list)) // from each to the nearest that is chosen, in km
	for i, v := range list {
		near[i] = v.Where.DistanceKm(list[0].Where)
	}
	for len(names) < min(sideBySide, len(list)) {
		best := -1
		for i, v := range list {
			if !slices.Contains(names, v.Name) && (best < 0 || near[i] > near[best]) {
				best = i
			}
		}
		names = append(names, list[best].Name)
		for i, v := range list {
			near[i] = min(near[i], v.Where.DistanceKm(list[best].Where))
		}
	}
	return names
}

// served says who serves a vantage at the moment.
type served struct {
	Vantage
	By    string
	To    perto.Place
	Km    float64
	Error string
}

// whoServes asks for the first service from every vantage.
func (p *Page) whoServes(ctx context.Context) []served {
	list := p.World.Vantages()
	out := make([]served, len(list))
	name := ""
	if s := p.Config.Services; len(s) > 0 {
		name = string(s[0].Name)
	}
	var wg sync.WaitGroup
	for i, v := range list {
		wg.Go(func() {
			out[i] = served{Vantage: v}
			reply, err := p.World.Dig(ctx, v.Name, name, "A")
			if err != nil {
				out[i].Error = err.Error()
				return
			}
			for _, rr := range reply.Answer {
				if edge, at, ok := p.edgeAt(rr.Data); ok {
					out[i].By, out[i].To, out[i].Km = edge, at, v.Where.DistanceKm(at)
					return
				}
			}
			out[i].Error = "no address"
		})
	}
	wg.Wait()
	return out
}

// edgeAt returns the edge that has an address, and its place.
func (p *Page) edgeAt(address string) (name string, at perto.Place, ok bool) {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return "", at, false
	}
	for _, pop := range p.Config.PoPs {
		for _, e := range pop.Edges {
			for _, own := range e.Addresses {
				if own == a {
					return string(e.Name), pop.Place, true
				}
			}
		}
	}
	return "", at, false
}

// farKm is when a vantage's edge is drawn as far away.
const farKm = 6000

// worldMap draws PoPs, vantages and who is served by whom.
func (p *Page) worldMap(list []served) []byte {
	s := NewSketch("PoPs, vantages and who serves whom")
	for _, v := range list {
		if v.By != "" {
			class := "way"
			if v.Km > farKm {
				class = "way far"
			}
			s.Way(class, v.Where, v.To, .15, v.Name+" is served by "+v.By)
		}
	}
	for _, v := range list {
		s.Dot("vantage", v.Where, .9, "", v.Name+", "+v.Place)
	}
	for _, pop := range p.Config.PoPs {
		s.Dot("pop", pop.Place, 1.6, string(pop.Name), string(pop.Name)+", "+pop.Place.String())
	}
	return s.Done()
}

func (p *Page) overview(w http.ResponseWriter, r *http.Request, t *template.Template) {
	list := p.whoServes(r.Context())
	data := struct {
		Map         template.HTML
		Served      []served
		Replicas    []node.ReplicaStatus
		Events      []replicas.Event
		Cities      []string
		Attribution string
		Link        string
	}{Map: template.HTML(p.worldMap(list)), Served: list, Cities: cities(p.World.Vantages()), Attribution: geodata.Attribution, Link: geodata.AttributionURL}
	if st := p.World.Status(r.Context()); st != nil {
		data.Replicas, data.Events = st.Replicas, st.Events
	}
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, "lab.html", data); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", policy)
	w.Write(b.Bytes())
}

// serveFrom shows a path of the site as a vantage gets it, in the time that it
// takes there. What it shows is somebody's site: it is shown in a sandbox, so
// that it cannot speak to the API.
func (p *Page) serveFrom(w http.ResponseWriter, r *http.Request) {
	vantage := r.PathValue("vantage")
	u := url.URL{Scheme: "http", Host: p.Site, Path: "/" + r.PathValue("path"), RawQuery: r.URL.RawQuery}
	f, err := p.World.Fetch(r.Context(), vantage, u.String())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	h := w.Header()
	h.Set("Content-Security-Policy", "sandbox")
	h.Set("Content-Type", f.Header.Get("Content-Type"))
	h.Set("Cache-Control", "no-store")
	h.Set("Server-Timing", "total;dur="+msText(f.Total))
	w.WriteHeader(f.Status)
	body := f.Body
	if strings.HasPrefix(f.Header.Get("Content-Type"), "text/html") {
		prefix := []byte(`="/from/` + vantage + `/`)
		body = bytes.ReplaceAll(body, []byte(`="/`), prefix)
	}
	io.Copy(w, bytes.NewReader(body))
}

func msText(d time.Duration) string {
	return strings.TrimSuffix(d.Round(time.Millisecond).String(), "ms")
}
