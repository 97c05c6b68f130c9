// Package page serves the web page and the API of a running world. The page has a map
// with the edge of each vantage, and shows the site from six cities. "perto dig",
// "perto lab fetch" and other commands act at a vantage through the API. The world runs
// in this process (package lab), or in containers that are asked over HTTP ([Remote]).
//
// Start with [Page.Register]. The handlers may run concurrently.
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
	"perto/geodata"
	"perto/internal/api"
	"perto/lab/access"
	"perto/node"
	"perto/replicas"
)

//go:embed lab.html lab.css *.js favicon.svg
var files embed.FS

// Vantage is a client at a place, in the API.
type Vantage struct {
	Name     string       `json:"name"`
	Place    string       `json:"place"`
	Kind     string       `json:"resolver_kind"`
	Resolver string       `json:"resolver"` // name of its resolver's host
	At       string       `json:"resolver_place"`
	Door     string       `json:"door"` // of its resolver: "127.0.0.1:5320"
	SOCKS    string       `json:"socks"`
	Addrs    []netip.Addr `json:"addresses"`
	LastMile string       `json:"last_mile"`

	Where perto.Place `json:"where"`
}

// World is a running world.
type World interface {
	// Vantages returns the vantages in their fixed order.
	Vantages() []Vantage
	// Dig asks a vantage's resolver.
	Dig(ctx context.Context, from, name, qtype string) (*access.DigReply, error)
	// Fetch fetches a URL from a vantage.
	Fetch(ctx context.Context, from, url string) (*access.Fetched, error)
	// Status returns the status of a name server, or nil when none replies.
	Status(ctx context.Context) *node.Status
}

// Page serves a World.
type Page struct {
	World  World
	Config *config.World // PoPs and services
	// Site is the host name of the site.
	Site string
}

// SiteOf returns the host name of a World's site: the first alias, or else the name of
// the first service. It returns "" for a World without services.
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
//	GET /from/VANTAGE/PATH    a path of the site, fetched from a vantage
//	GET /api/lab/vantages     the vantages
//	GET /api/lab/dig          one DNS query from a vantage: from, name, type
//	GET /api/lab/fetch        one fetch from a vantage: from, url, body=1 for the body
//	GET /api/lab/compare      the same from every vantage: url
//
// If the mux also has GET /api/functions and GET /api/functions/modules/DIGEST of
// package mobility, the page can run functions at the origin, at an edge and in the
// browser.
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
	mux.HandleFunc("GET /api/lab/vantages", func(w http.ResponseWriter, r *http.Request) { api.WriteJSON(w, p.World.Vantages()) })
	mux.HandleFunc("GET /api/lab/dig", func(w http.ResponseWriter, r *http.Request) {
		WriteResult(w)(p.World.Dig(r.Context(), r.FormValue("from"), r.FormValue("name"), r.FormValue("type")))
	})
	mux.HandleFunc("GET /api/lab/fetch", func(w http.ResponseWriter, r *http.Request) {
		f, err := p.World.Fetch(r.Context(), r.FormValue("from"), r.FormValue("url"))
		if err == nil && r.FormValue("body") != "" {
			api.WriteJSON(w, fetchedWithBody{*f, f.Body})
			return
		}
		WriteResult(w)(f, err)
	})
	mux.HandleFunc("GET /api/lab/compare", func(w http.ResponseWriter, r *http.Request) {
		api.WriteJSON(w, p.fetchAll(r.Context(), r.FormValue("url")))
	})
	return nil
}

// policy is the Content-Security-Policy of the page's own files. It allows their
// scripts, the WebAssembly that they compile, and images made by scripts.
const policy = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; img-src 'self' blob:; style-src 'self' 'unsafe-inline'"

// serveFile serves a file of the page. The content type is fixed, because the machine's
// configuration may have another type for ".js". Workers need the policy too.
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

// WriteResult writes a result or its error.
func WriteResult(w http.ResponseWriter) func(value any, err error) {
	return func(value any, err error) {
		if err != nil {
			api.WriteError(w, err)
			return
		}
		api.WriteJSON(w, value)
	}
}

// fetchAll fetches a URL from all vantages concurrently. A failed fetch has its error
// in its result.
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

// askWait is the timeout for asking the vantages' APIs for their vantages.
const askWait = 3 * time.Second

// maxCities is the number of cities from which the page shows the site.
const maxCities = 6

// cities returns vantages that are far from each other. It starts with the first one,
// and then adds the vantage that is farthest from all chosen ones.
func cities(list []Vantage) []string {
	if len(list) == 0 {
		return nil
	}
	names := []string{list[0].Name}
	near := make([]float64, len(list)) // distance from each to the nearest chosen one, in km
	for i, v := range list {
		near[i] = v.Where.DistanceKm(list[0].Where)
	}
	for len(names) < min(maxCities, len(list)) {
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

// served is a vantage with the edge that serves it now.
type served struct {
	Vantage
	By    string
	To    perto.Place
	Km    float64
	Error string
}

// allServed looks up the first service from every vantage.
func (p *Page) allServed(ctx context.Context) []served {
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
			if slices.Contains(e.Addresses, a) {
				return string(e.Name), pop.Place, true
			}
		}
	}
	return "", at, false
}

// farKm is the distance in km beyond which a vantage's edge is drawn as far away.
const farKm = 6000

// worldMap draws PoPs, vantages and the edge of each vantage.
func (p *Page) worldMap(list []served) []byte {
	s := NewSketch("PoPs, vantages and the edge of each vantage")
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
	list := p.allServed(r.Context())
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

// serveFrom fetches a path of the site from a vantage and serves the reply after the
// time that the fetch takes there. The reply has a sandbox policy, because the site's
// scripts must not call the API.
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
