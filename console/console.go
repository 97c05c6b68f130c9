package console

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"

	"perto"
	"perto/geodata"
)

//go:embed static templates
var files embed.FS

// Config has the functions of a world. They may be called concurrently.
type Config struct {
	// State returns the current state, which does not change afterwards.
	State func(ctx context.Context) *State
	// Fresh is how long all viewers see the same state; 0 means 100 ms.
	Fresh time.Duration
	// Totals returns the counters of each node that replies, by its name.
	Totals func(ctx context.Context) map[string]Counters
	// Visit fetches a URL from a vantage. With remember, the client uses the addresses of
	// its last visit, like a browser. It is nil for a world without vantages.
	Visit func(ctx context.Context, vantage, url string, remember bool) (*Visit, error)
	// Trace fetches a URL from a vantage and records every step. It may be nil.
	Trace func(ctx context.Context, vantage, url string) (*Trace, error)
	// Act does something to a host, or to the world. When it is nil, the console is
	// read-only.
	Act func(ctx context.Context, host, action string) error
	// Visits has the waits of the vantages. New sets it when it is nil.
	Visits *Visits
}

// Trace has the steps of one request.
type Trace struct {
	URL   string  `json:"url"`
	Steps []Step  `json:"steps"`
	Total float64 `json:"total_ms"`
	Lost  string  `json:"lost,omitempty"` // a sentence about the delay to a PoP that is not the nearest
	Error string  `json:"error,omitempty"`
}

// Step is one message and its reply.
type Step struct {
	Number int     `json:"number"`
	Depth  int     `json:"depth"` // 0; steps that another step caused are one deeper
	From   string  `json:"from"`
	To     string  `json:"to"`
	What   string  `json:"what"`
	Result string  `json:"result"`
	Took   float64 `json:"took_ms"`

	FromPlace perto.Place `json:"from_place"`
	ToPlace   perto.Place `json:"to_place"`
}

// Console serves the pages of one world.
type Console struct {
	cfg    Config
	pages  *template.Template
	series series

	asking sync.Mutex // held while the world is asked for its state
	last   *State
	lastAt time.Time

	done    chan struct{}
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// New starts a console, which samples its world until Close.
func New(cfg Config) (*Console, error) {
	if cfg.Visits == nil {
		cfg.Visits = new(Visits)
	}
	if cfg.Fresh == 0 {
		cfg.Fresh = 100 * time.Millisecond
	}
	pages, err := template.New("").Funcs(pageFuncs()).ParseFS(files, "templates/*.html")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &Console{cfg: cfg, pages: pages, done: make(chan struct{}), cancel: cancel}
	c.running.Go(func() { c.sample(ctx) })
	return c, nil
}

// Close ends the sampling and the streams of viewers.
func (c *Console) Close() {
	c.cancel()
	close(c.done)
	c.running.Wait()
}

// Register adds the console to a mux:
//
//	GET /                  the map, the series and the tables
//	GET /pop/NAME          a PoP
//	GET /vantage/NAME      a vantage; trace=URL traces a request
//	GET /service/NAME      a service
//	GET /visit             a URL from several cities: url=, from=, again=
//	GET /events            the state and the series as server-sent events
//	POST /act              host=, do=: an action, when the world allows actions
//	GET /static/FILE       scripts and styles
//
// With fragment=1 a page has only its main part, which scripts insert into another page.
func (c *Console) Register(mux *http.ServeMux) {
	mux.HandleFunc("GET /{$}", c.serveOverview)
	mux.HandleFunc("GET /pop/{name}", c.servePoP)
	mux.HandleFunc("GET /vantage/{name}", c.serveVantage)
	mux.HandleFunc("GET /service/{name}", c.serveService)
	mux.HandleFunc("GET /visit", c.serveVisit)
	mux.HandleFunc("GET /events", c.serveEvents)
	mux.HandleFunc("POST /act", c.serveAct)
	mux.HandleFunc("GET /static/{name}", func(w http.ResponseWriter, r *http.Request) { serveFile(w, r, r.PathValue("name")) })
	mux.HandleFunc("GET /favicon.ico", func(w http.ResponseWriter, r *http.Request) { serveFile(w, r, "favicon.svg") })
}

// policy is the Content-Security-Policy of the pages. It allows their own scripts, the
// WebAssembly that these compile, images made by scripts, and frames with the site on
// its own origin.
const policy = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; img-src 'self' blob:; frame-src http://127.0.0.1:* http://*.localhost:*; base-uri 'none'; form-action 'self'; frame-ancestors 'self'"

// contentTypes are fixed, because the machine's configuration may have other types.
var contentTypes = map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}

// serveFile serves a script, a style or a picture. Workers need the policy too.
func serveFile(w http.ResponseWriter, r *http.Request, name string) {
	kind := contentTypes[path.Ext(name)]
	if kind == "" {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Security-Policy", policy)
	http.ServeFileFS(w, r, files, "static/"+name)
}

// state returns the current state. Callers share it and must not change it.
func (c *Console) state(ctx context.Context) *State {
	c.asking.Lock()
	defer c.asking.Unlock()
	if c.last == nil || time.Since(c.lastAt) >= c.cfg.Fresh {
		s := c.cfg.State(context.WithoutCancel(ctx)) // other viewers wait for it too
		s.derive()
		c.last, c.lastAt = s, time.Now()
	}
	return c.last
}

// view is the data of all pages.
type view struct {
	*State
	Page     string // "overview", "pop", "vantage", "service", "visit"
	Heading  string
	Fragment bool
	Actions  bool // the world allows actions
	CanVisit bool
	CanTrace bool

	Map     template.HTML
	PoP     *PoP
	Vantage *Vantage
	Service *Service
	Trace   *Trace
	Waits   []float64 // of the vantage, in ms
	Asked   *visitForm
	Samples []Sample

	Attribution, AttributionURL string
}

// visitForm is a visit that the reader asked for.
type visitForm struct {
	URL   string
	Again bool
	From  []string // vantages; empty means six cities
	Rows  []Row
	Error string
}

// Link returns the path of the page that shows the visit again.
func (f *visitForm) Link() string {
	q := url.Values{"url": {f.URL}}
	if f.Again {
		q.Set("again", "1")
	}
	for _, name := range f.From {
		q.Add("from", name)
	}
	return "/visit?" + q.Encode()
}

// FramePath returns the path that frames load: that of the requested URL, when it is one
// of the site.
func (v *view) FramePath() string {
	target, err := v.target(v.Asked.URL)
	if err != nil {
		return "/"
	}
	u, err := url.Parse(target)
	if err != nil || u.Host != v.Site {
		return "/"
	}
	return u.RequestURI()
}

func (c *Console) view(r *http.Request, page string) *view {
	return &view{State: c.state(r.Context()), Page: page, Fragment: r.FormValue("fragment") != "", Actions: c.cfg.Act != nil, CanVisit: c.cfg.Visit != nil,
		CanTrace: c.cfg.Trace != nil, Attribution: geodata.Attribution, AttributionURL: geodata.AttributionURL}
}

// render writes a page, or its main part.
func (c *Console) render(w http.ResponseWriter, v *view, status int) {
	name := "page.html"
	if v.Fragment {
		name = v.Page + ".html"
	}
	var b bytes.Buffer
	if err := c.pages.ExecuteTemplate(&b, name, v); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", policy)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "same-origin")
	w.WriteHeader(status)
	w.Write(b.Bytes())
}

// notFound writes a page about a name that the world does not have.
func (c *Console) notFound(w http.ResponseWriter, v *view, kind, name string) {
	v.Page, v.Heading = "missing", fmt.Sprintf("There is no %s %q", kind, name)
	c.render(w, v, http.StatusNotFound)
}

func (c *Console) serveOverview(w http.ResponseWriter, r *http.Request) {
	v := c.view(r, "overview")
	v.Heading = v.Title
	v.Map = template.HTML(worldMap(v.State))
	v.Samples = c.series.after(0)
	v.Asked = &visitForm{URL: "/"}
	c.render(w, v, http.StatusOK)
}

func (c *Console) servePoP(w http.ResponseWriter, r *http.Request) {
	v, name := c.view(r, "pop"), r.PathValue("name")
	if v.PoP = find(v.PoPs, name, func(p *PoP) string { return p.Name }); v.PoP == nil {
		c.notFound(w, v, "PoP", name)
		return
	}
	v.Heading = "PoP " + name
	c.render(w, v, http.StatusOK)
}

func (c *Console) serveService(w http.ResponseWriter, r *http.Request) {
	v, name := c.view(r, "service"), r.PathValue("name")
	if v.Service = find(v.Services, name, func(s *Service) string { return s.Name }); v.Service == nil {
		c.notFound(w, v, "service", name)
		return
	}
	v.Heading = "Service " + name
	c.render(w, v, http.StatusOK)
}

func (c *Console) serveVantage(w http.ResponseWriter, r *http.Request) {
	v, name := c.view(r, "vantage"), r.PathValue("name")
	if v.Vantage = find(v.Vantages, name, func(x *Vantage) string { return x.Name }); v.Vantage == nil {
		c.notFound(w, v, "vantage", name)
		return
	}
	v.Heading, v.Waits = "Vantage "+name, c.cfg.Visits.of(name)
	if text := r.FormValue("trace"); text != "" && c.cfg.Trace != nil {
		target, err := v.target(text)
		if err == nil {
			v.Trace, err = c.cfg.Trace(r.Context(), name, target)
		}
		if v.Trace == nil {
			v.Trace = &Trace{URL: text}
		}
		if err != nil {
			v.Trace.Error = err.Error()
		}
	}
	c.render(w, v, http.StatusOK)
}

// target returns the URL that a reader typed: a URL, or a path of the site.
func (s *State) target(text string) (string, error) {
	text = strings.TrimSpace(text)
	if strings.HasPrefix(text, "/") && !strings.HasPrefix(text, "//") {
		text = "http://" + s.Site + text
	} else if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" || u.Host == "" {
		return "", &perto.Error{Op: "load", Path: text, Kind: perto.KindInvalid, Err: errors.New("not an http URL"), Hint: "type a path such as /, or http://host/path"}
	}
	return u.String(), nil
}

func (c *Console) serveVisit(w http.ResponseWriter, r *http.Request) {
	v := c.view(r, "visit")
	v.Heading = "The site from several cities"
	if c.cfg.Visit == nil {
		c.notFound(w, v, "page", r.URL.Path)
		return
	}
	v.Asked = &visitForm{URL: "/", Again: r.FormValue("again") != ""}
	if text := r.FormValue("url"); text != "" {
		v.Asked.URL = text
	}
	list := cities(v.Vantages)
	if v.Asked.From = r.Form["from"]; len(v.Asked.From) > 0 {
		list = nil
		for _, name := range v.Asked.From {
			if x := find(v.Vantages, name, func(x *Vantage) string { return x.Name }); x != nil && len(list) < maxCities {
				list = append(list, x)
			}
		}
	}
	target, err := v.target(v.Asked.URL)
	if err != nil {
		v.Asked.Error = err.Error()
		c.render(w, v, http.StatusBadRequest)
		return
	}
	v.Asked.Rows = c.visitAll(r.Context(), list, target, v.Asked.Again)
	c.render(w, v, http.StatusOK)
}

// serveAct does an action and returns to the page that the reader came from. Requests
// from pages of other origins must be rejected before (internal/api.Guard).
func (c *Console) serveAct(w http.ResponseWriter, r *http.Request) {
	if c.cfg.Act == nil {
		http.Error(w, "this console is read-only", http.StatusForbidden)
		return
	}
	if err := c.cfg.Act(r.Context(), r.FormValue("host"), r.FormValue("do")); err != nil {
		status := http.StatusInternalServerError
		if e, ok := errors.AsType[*perto.Error](err); ok {
			status = e.Kind.HTTPStatus()
		}
		http.Error(w, err.Error(), status)
		return
	}
	back := "/"
	if from, err := url.Parse(r.Referer()); err == nil && from.Host == r.Host && strings.HasPrefix(from.Path, "/") && !strings.HasPrefix(from.Path, "//") {
		back = from.RequestURI()
	}
	http.Redirect(w, r, back, http.StatusSeeOther)
}
