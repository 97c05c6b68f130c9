package lab

import (
	"errors"
	"net/http"

	"perto"
	"perto/internal/api"
	"perto/node"
)

// FunctionNode is a node of the lab that runs functions.
type FunctionNode struct {
	Name      string `json:"name"`
	Placement string `json:"placement"` // "edge" or "origin"
}

// registerFunctions adds the API of functions:
//
//	GET /api/lab/functions    the nodes that run functions
//	GET /api/lab/key          the key for signing releases, which only this lab accepts
//	/api/nodes/NAME/api/...   the API of a node's functions
//	GET /api/functions...     the API of the first node's functions
func (l *Lab) registerFunctions(mux *http.ServeMux) {
	mux.HandleFunc("GET /api/lab/functions", func(w http.ResponseWriter, r *http.Request) {
		var out []FunctionNode
		l.functionNodes(func(name, placement string, _ *node.Node) { out = append(out, FunctionNode{name, placement}) })
		api.WriteJSON(w, out)
	})
	mux.HandleFunc("GET /api/lab/key", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Write([]byte(l.signing.File()))
	})
	mux.HandleFunc("/api/nodes/{name}/", func(w http.ResponseWriter, r *http.Request) {
		l.serveFunctions(w, r, r.PathValue("name"), "/api/nodes/"+r.PathValue("name"))
	})
	first := func(w http.ResponseWriter, r *http.Request) { l.serveFunctions(w, r, "", "") }
	mux.HandleFunc("GET /api/functions", first)
	mux.HandleFunc("GET /api/functions/", first)
}

// functionNodes calls f for every running node that runs functions.
func (l *Lab) functionNodes(f func(name, placement string, n *node.Node)) {
	for _, m := range l.machines {
		if n := m.node.Load(); n != nil && n.Edge() != nil {
			f(m.local.Name, "edge", n)
		}
	}
	if n := l.origin.node.Load(); n != nil {
		f(l.origin.host.Name, "origin", n)
	}
}

// serveFunctions passes the request to the node with a name, or to the first for "".
func (l *Lab) serveFunctions(w http.ResponseWriter, r *http.Request, name, prefix string) {
	var found *node.Node
	l.functionNodes(func(n, _ string, at *node.Node) {
		if found == nil && (name == "" || n == name) {
			found = at
		}
	})
	if found == nil {
		api.WriteError(w, &perto.Error{Op: "find node", Path: name, Kind: perto.KindNotFound, Err: errors.New("no node of that name runs functions in this lab"),
			Hint: "GET /api/lab/functions lists them"})
		return
	}
	http.StripPrefix(prefix, found.FunctionAPI(api.WriteError)).ServeHTTP(w, r)
}
