// Package vantage is the API of clients at places on the globe: "perto dig", "perto lab
// fetch" and other commands act at a vantage through it. The world runs in this process
// (package lab), or in containers that are asked over HTTP ([Remote]).
//
// Start with [API.Register]. The handlers may run concurrently.
package vantage

import (
	"context"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"perto"
	"perto/console"
	"perto/internal/api"
	"perto/lab/access"
	"perto/node"
)

// Info is a client at a place, in the API.
type Info struct {
	Name     string       `json:"name"`
	Region   string       `json:"region,omitempty"` // a part of the world, for lists
	Place    string       `json:"place"`
	Kind     string       `json:"resolver_kind"`
	Resolver string       `json:"resolver"` // name of its resolver's host
	At       string       `json:"resolver_place"`
	Door     string       `json:"door"` // of its resolver: "127.0.0.1:5320"
	SOCKS    string       `json:"socks"`
	Web      string       `json:"web"` // of the site as it sees it: "http://127.0.0.1:8100"
	Addrs    []netip.Addr `json:"addresses"`
	LastMile perto.Millis `json:"last_mile_ms"` // delay of its access line, for a round trip

	Where perto.Place `json:"where"`
}

// World is a running world.
type World interface {
	// Vantages returns the vantages in their fixed order.
	Vantages() []Info
	// Dig asks a vantage's resolver.
	Dig(ctx context.Context, from, name, qtype string) (*access.DigReply, error)
	// Fetch fetches a URL from a vantage. With remember, the client uses the addresses
	// of its last fetch, like a browser that stays open.
	Fetch(ctx context.Context, from, url string, remember bool) (*access.Fetched, error)
	// Status returns the status of a name server, or nil when none replies.
	Status(ctx context.Context) *node.Status
}

// API serves a World.
type API struct{ World World }

// Register adds the API to a mux:
//
//	GET /api/lab/vantages     the vantages
//	GET /api/lab/dig          one DNS query from a vantage: from, name, type
//	GET /api/lab/fetch        one fetch from a vantage: from, url, body=1, remember=1
//	GET /api/lab/compare      the same from every vantage: url
func (a *API) Register(mux *http.ServeMux) {
	mux.HandleFunc("GET /api/lab/vantages", func(w http.ResponseWriter, r *http.Request) { api.WriteJSON(w, a.World.Vantages()) })
	mux.HandleFunc("GET /api/lab/dig", func(w http.ResponseWriter, r *http.Request) {
		WriteResult(w)(a.World.Dig(r.Context(), r.FormValue("from"), r.FormValue("name"), r.FormValue("type")))
	})
	mux.HandleFunc("GET /api/lab/fetch", func(w http.ResponseWriter, r *http.Request) {
		f, err := a.World.Fetch(r.Context(), r.FormValue("from"), r.FormValue("url"), r.FormValue("remember") != "")
		if err == nil && r.FormValue("body") != "" {
			api.WriteJSON(w, fetchedWithBody{*f, f.Body})
			return
		}
		WriteResult(w)(f, err)
	})
	mux.HandleFunc("GET /api/lab/compare", func(w http.ResponseWriter, r *http.Request) {
		api.WriteJSON(w, a.fetchAll(r.Context(), r.FormValue("url")))
	})
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
func (a *API) fetchAll(ctx context.Context, target string) []access.Fetched {
	list := a.World.Vantages()
	out := make([]access.Fetched, len(list))
	var wg sync.WaitGroup
	for i, v := range list {
		wg.Go(func() {
			f, err := a.World.Fetch(ctx, v.Name, target, false)
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

// VisitOf returns a fetch as the web console shows it.
func VisitOf(f *access.Fetched) *console.Visit {
	v := &console.Visit{Vantage: f.Vantage, URL: f.URL, Edge: f.Server, Status: f.Status, Bytes: f.Bytes, Cache: f.Header.Get("Cache-Status"),
		DNS: f.DNS.Float(), Connect: f.Connect.Float(), FirstByte: f.FirstByte.Float(), Total: f.Total.Float(), Error: f.Error}
	if v.Edge == "" {
		v.Edge = f.Address.String()
	}
	return v
}
