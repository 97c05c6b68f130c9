package api

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"perto"
)

// Admin changes a running Node, or all Nodes of a lab.
type Admin interface {
	// Drain changes the administrator's state of edges. It returns the changed edges.
	Drain(ctx context.Context, d Drain) ([]perto.Replica, error)
	// Purge removes stored responses. It returns the number of objects by edge.
	Purge(ctx context.Context, p Purge) (map[perto.Replica]int, error)
}

// Drain names edges and the state that an administrator gives them.
type Drain struct {
	Edge     perto.Replica // one edge, or
	Provider string        // all edges of the PoPs of a provider
	// State is "drain", "down" or "up". "" removes the administrator's state, so that
	// heartbeats and probes decide again.
	State string
	Until time.Time // zero: without a time limit
}

// Purge selects stored responses: those of a URL, those with a surrogate key, or all.
type Purge struct {
	URL *url.URL
	Tag string
	All bool
}

// DrainResult is the API's response to a drain.
type DrainResult struct {
	Edges []perto.Replica `json:"edges"`
	State string          `json:"state"`
}

// PurgeResult is the API's response to a purge.
type PurgeResult struct {
	Objects int                   `json:"objects"`
	Edges   map[perto.Replica]int `json:"edges"` // objects by edge
}

// AdminHandler returns the API that changes a:
//
//	POST /api/drain    edge= or provider=, state=, for=
//	POST /api/purge    url=, tag= or all=yes
//
// It does not authenticate callers. Serve it only where administrators have access.
func AdminHandler(a Admin) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/drain", func(w http.ResponseWriter, r *http.Request) {
		d, err := parseDrain(r.FormValue, time.Now())
		if err != nil {
			WriteError(w, err)
			return
		}
		edges, err := a.Drain(r.Context(), d)
		if err != nil {
			WriteError(w, err)
			return
		}
		WriteJSON(w, DrainResult{edges, d.State})
	})
	mux.HandleFunc("POST /api/purge", func(w http.ResponseWriter, r *http.Request) {
		p, err := parsePurge(r.FormValue)
		if err != nil {
			WriteError(w, err)
			return
		}
		edges, err := a.Purge(r.Context(), p)
		if err != nil {
			WriteError(w, err)
			return
		}
		result := PurgeResult{Edges: edges}
		for _, n := range edges {
			result.Objects += n
		}
		WriteJSON(w, result)
	})
	return mux
}

func parseDrain(value func(string) string, now time.Time) (Drain, error) {
	fail := func(format string, args ...any) (Drain, error) {
		return Drain{}, &perto.Error{Op: "drain", Kind: perto.KindInvalid, Err: fmt.Errorf(format, args...)}
	}
	d := Drain{Edge: perto.Replica(value("edge")), Provider: value("provider"), State: value("state")}
	if (d.Edge == "") == (d.Provider == "") {
		return fail("name one edge or one provider")
	}
	if text := value("for"); text != "" {
		lasts, err := time.ParseDuration(text)
		if err != nil || lasts <= 0 {
			return fail("for is %q; it takes a duration such as 10m", text)
		}
		d.Until = now.Add(lasts)
	}
	return d, nil
}

func parsePurge(value func(string) string) (p Purge, err error) {
	given := 0
	if text := value("url"); text != "" {
		if p.URL, err = ParseURL(text); err != nil {
			return p, err
		}
		given++
	}
	if p.Tag = value("tag"); p.Tag != "" {
		given++
	}
	if p.All = value("all") == "yes"; p.All {
		given++
	}
	if given != 1 {
		return p, &perto.Error{Op: "purge", Kind: perto.KindInvalid, Err: fmt.Errorf("name exactly one of url, tag and all")}
	}
	return p, nil
}

// RefuseAdmin rejects requests for [AdminHandler] where it is not served.
func RefuseAdmin(hint string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		WriteError(w, &perto.Error{Op: "ask", Path: r.URL.Path, Kind: perto.KindInvalid, Err: fmt.Errorf("this address is read-only"), Hint: hint})
	})
}
