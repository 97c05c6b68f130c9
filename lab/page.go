package lab

import (
	"bytes"
	"context"
	"embed"
	"html/template"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"perto"
	"perto/geodata"
	"perto/lab/access"
	"perto/node"
	"perto/replicas"
)

//go:embed page/*.html page/*.css
var pageFiles embed.FS

// sideBySide are the cities whose loading the page shows beside each other, as
// far as the world has them.
var sideBySide = []string{"sao-paulo", "new-york", "london", "cape-town", "tokyo", "sydney"}

// served says who serves a vantage at the moment.
type served struct {
	Vantage string
	Place   perto.Place
	Kind    ResolverKind
	By      string
	At      perto.Place
	Km      float64
	Error   string
}

// whoServes asks for the first service from every vantage.
func (l *Lab) whoServes(ctx context.Context) []served {
	out := make([]served, len(l.vantages))
	name := ""
	if s := l.World.World.Services; len(s) > 0 {
		name = string(s[0].Name)
	}
	var wg sync.WaitGroup
	for i, v := range l.vantages {
		wg.Go(func() {
			out[i] = served{Vantage: v.Name, Place: v.Place, Kind: v.Kind}
			reply, err := v.Client.Ask(ctx, name, dns.TypeA)
			if err != nil {
				out[i].Error = err.Error()
				return
			}
			for _, a := range access.Addresses(reply.Message) {
				if h := l.Internet.HostAt(a, v.Host); h != nil {
					out[i].By, out[i].At = h.Name, h.End.Place
					out[i].Km = v.Place.DistanceKm(h.End.Place)
					return
				}
			}
			out[i].Error = "no address"
		})
	}
	wg.Wait()
	return out
}

// farKm is when a vantage's edge is drawn as far away.
const farKm = 6000

// worldMap draws PoPs, vantages and who is served by whom.
func (l *Lab) worldMap(list []served) []byte {
	s := newSketch("PoPs, vantages and who serves whom")
	for _, v := range list {
		if v.By != "" {
			class := "way"
			if v.Km > farKm {
				class = "way far"
			}
			s.way(class, v.Place, v.At, .15, v.Vantage+" is served by "+v.By)
		}
	}
	for _, v := range list {
		s.dot("vantage", v.Place, .9, "", v.Vantage+", "+v.Place.String())
	}
	for _, p := range l.World.World.PoPs {
		s.dot("pop", p.Place, 1.6, string(p.Name), string(p.Name)+", "+p.Place.String())
	}
	return s.done()
}

// servePages adds the lab's page to its API.
func (l *Lab) servePages(mux *http.ServeMux) error {
	t, err := template.ParseFS(pageFiles, "page/*.html")
	if err != nil {
		return err
	}
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		list := l.whoServes(r.Context())
		data := struct {
			Map         template.HTML
			Served      []served
			Replicas    []node.ReplicaStatus
			Events      []replicas.Event
			Cities      []string
			Attribution string
			Link        string
		}{Map: template.HTML(l.worldMap(list)), Served: list, Attribution: geodata.Attribution, Link: geodata.AttributionURL}
		if n := l.nameServer(); n != nil {
			st := n.Status().(*node.Status)
			data.Replicas, data.Events = st.Replicas, st.Events
		}
		for _, name := range sideBySide {
			if _, err := l.Vantage(name); err == nil {
				data.Cities = append(data.Cities, name)
			}
		}
		var b bytes.Buffer
		if err := t.ExecuteTemplate(&b, "lab.html", data); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'self'; style-src 'self' 'unsafe-inline'")
		w.Write(b.Bytes())
	})
	mux.HandleFunc("GET /lab.css", func(w http.ResponseWriter, r *http.Request) { http.ServeFileFS(w, r, pageFiles, "page/lab.css") })
	mux.HandleFunc("GET /from/{vantage}/{path...}", l.serveFrom)
	return nil
}

// serveFrom shows a path of the shop as a vantage gets it, in the time that it
// takes there. What it shows is somebody's site: it is shown in a sandbox, so
// that it cannot speak to the lab's API.
func (l *Lab) serveFrom(w http.ResponseWriter, r *http.Request) {
	v, err := l.Vantage(r.PathValue("vantage"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	u := url.URL{Scheme: "http", Host: l.siteName(), Path: "/" + r.PathValue("path"), RawQuery: r.URL.RawQuery}
	f, err := v.Fetch(r.Context(), u.String())
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
		prefix := []byte(`="/from/` + v.Name + `/`)
		body = bytes.ReplaceAll(body, []byte(`="/`), prefix)
	}
	io.Copy(w, bytes.NewReader(body))
}

func msText(d time.Duration) string {
	return strings.TrimSuffix(d.Round(time.Millisecond).String(), "ms")
}

// Named returns names to try a world with: its first service, the name that
// people would open, and its first edge; "" for what it has not.
func (l *Lab) Named() (service, site, edge string) {
	w := &l.World.World
	if len(w.Services) > 0 {
		service = string(w.Services[0].Name)
	}
	if len(w.PoPs) > 0 && len(w.PoPs[0].Edges) > 0 {
		edge = string(w.PoPs[0].Edges[0].Name)
	}
	return service, l.siteName(), edge
}

// siteName is the name that people would open: the first alias that there is,
// else the first service.
func (l *Lab) siteName() string {
	services := l.World.World.Services
	for _, s := range services {
		if len(s.Aliases) > 0 {
			return s.Aliases[0]
		}
	}
	if len(services) > 0 {
		return string(services[0].Name)
	}
	return ""
}
