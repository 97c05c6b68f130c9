// Package api is the API of a running perto for people and programs. [Handler] is
// the read-only part, over the snapshots of a Node or of all Nodes in a lab:
//
//	GET /api/status    the state of all roles
//	GET /api/explain   one decision, step by step: name=, or url=
//	GET /metrics       OpenMetrics
//
// [AdminHandler] is the part that changes a Node, and [Call] is the client. Handlers are
// safe for concurrent use. By default the API listens on loopback. [Guard] rejects
// requests from web pages of other origins.
package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"perto"
	"perto/mapping"
)

// Source provides the values that the API shows.
type Source interface {
	// Status returns the status, which is shown as JSON.
	Status() any
	// Explain returns how a query would be answered now, and why.
	Explain(name string, resolver netip.Addr, ecs mapping.Subnet, family mapping.Family) (*mapping.Explanation, error)
	// ExplainURL returns how a request for a URL would be handled. The value is shown as
	// JSON.
	ExplainURL(u *url.URL, resolver netip.Addr, ecs mapping.Subnet, family mapping.Family) (any, error)
	// Metrics serves the metrics.
	Metrics() http.Handler
}

// Handler returns the API of a source.
func Handler(s Source) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/status", func(w http.ResponseWriter, r *http.Request) { WriteJSON(w, s.Status()) })
	mux.HandleFunc("GET /api/explain", func(w http.ResponseWriter, r *http.Request) {
		x, err := explain(s, r)
		if err != nil {
			WriteError(w, err)
			return
		}
		WriteJSON(w, x)
	})
	mux.Handle("GET /metrics", s.Metrics())
	return mux
}

// explain reads the parameters: name or url, client, resolver and type.
func explain(s Source, r *http.Request) (any, error) {
	q, err := ParseQuestion(r.FormValue("client"), r.FormValue("resolver"), r.FormValue("type"))
	if err != nil {
		return nil, err
	}
	if raw := r.FormValue("url"); raw != "" {
		u, err := ParseURL(raw)
		if err != nil {
			return nil, err
		}
		return s.ExplainURL(u, q.Resolver, q.ECS, q.Family)
	}
	if r.FormValue("name") == "" {
		return nil, invalid("", "name or url is missing")
	}
	return s.Explain(r.FormValue("name"), q.Resolver, q.ECS, q.Family)
}

func invalid(what, format string, args ...any) error {
	return &perto.Error{Op: "explain", Path: what, Kind: perto.KindInvalid, Err: fmt.Errorf(format, args...)}
}

// Question is the client and resolver of a query, on which its answer depends.
type Question struct {
	Resolver netip.Addr
	ECS      mapping.Subnet // zero when the query has no client subnet
	Family   mapping.Family
}

// ParseQuestion reads the client (an address or a subnet), the resolver, or both. qtype is
// A (the default) or AAAA.
func ParseQuestion(client, resolver, qtype string) (q Question, err error) {
	if client != "" {
		p, err := parseSubnet(client)
		if err != nil {
			return q, invalid("", "client is %q; it takes an address or a subnet such as 200.144.248.0/24", client)
		}
		q.ECS = mapping.Subnet{Addr: p.Masked().Addr(), Bits: uint8(p.Bits())}
	}
	if resolver != "" {
		if q.Resolver, err = netip.ParseAddr(resolver); err != nil {
			return q, invalid("", "resolver is %q; it takes an address", resolver)
		}
	}
	switch {
	case !q.Resolver.IsValid() && !q.ECS.Addr.IsValid():
		return q, invalid("", "client or resolver is missing")
	case !q.Resolver.IsValid():
		q.Resolver = q.ECS.Addr
	}
	switch t := strings.ToUpper(qtype); t {
	case "", "A":
		q.Family = mapping.IPv4
	case "AAAA":
		q.Family = mapping.IPv6
	default:
		return q, invalid("", "type is %q; it takes A or AAAA", t)
	}
	return q, nil
}

// ParseURL reads a URL of a kind that edges serve.
func ParseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, invalid(raw, `no URL; it takes "http://host/path"`)
	}
	return u, nil
}

// parseSubnet reads a prefix, or an address as its /24 or /56, which resolvers commonly
// send.
func parseSubnet(text string) (netip.Prefix, error) {
	if strings.Contains(text, "/") {
		return netip.ParsePrefix(text)
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, err
	}
	if a.Is4() {
		return a.Prefix(mapping.MaxScopeIPv4)
	}
	return a.Prefix(mapping.MaxScopeIPv6)
}

// Failure is the body of an error response.
type Failure struct {
	Error string `json:"error"`
	Kind  string `json:"kind"`
}

// WriteJSON writes a value as the response.
func WriteJSON(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.Encode(value)
}

// WriteError writes an error response. The error's kind decides the status.
func WriteError(w http.ResponseWriter, err error) {
	kind := perto.KindInternal
	if e, ok := errors.AsType[*perto.Error](err); ok {
		kind = e.Kind
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(kind.HTTPStatus())
	json.NewEncoder(w).Encode(Failure{Error: err.Error(), Kind: kind.String()})
}
