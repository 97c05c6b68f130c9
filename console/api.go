// Package console is what people and programs read a running perto by: a
// read-only API over the snapshots of a Node (or of a lab full of them).
//
//	GET /api/status    what serves, and what is known of it
//	GET /api/explain   one decision, step by step
//	GET /metrics       OpenMetrics
//
// It changes nothing and listens on loopback unless told otherwise; requests
// from pages of other origins are refused.
package console

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"perto"
	"perto/mapping"
)

// Source is what the API shows.
type Source interface {
	// Status returns a value that is shown as JSON.
	Status() any
	// Explain answers as a query would be answered now.
	Explain(name string, resolver netip.Addr, ecs mapping.Subnet, family mapping.Family) (*mapping.Explanation, error)
	// Metrics serves the metrics.
	Metrics() http.Handler
}

// Handler returns the API of a source.
func Handler(s Source) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/status", func(w http.ResponseWriter, r *http.Request) { WriteJSON(w, s.Status()) })
	mux.HandleFunc("GET /api/explain", func(w http.ResponseWriter, r *http.Request) {
		e, err := explain(s, r)
		if err != nil {
			WriteError(w, err)
			return
		}
		WriteJSON(w, e)
	})
	mux.Handle("GET /metrics", s.Metrics())
	return mux
}

// explain reads the parameters: name, and client (an address or a subnet),
// resolver or both; type is A (the default) or AAAA.
func explain(s Source, r *http.Request) (*mapping.Explanation, error) {
	fail := func(format string, args ...any) (*mapping.Explanation, error) {
		return nil, &perto.Error{Op: "explain", Path: r.FormValue("name"), Kind: perto.KindInvalid, Err: fmt.Errorf(format, args...)}
	}
	name := r.FormValue("name")
	if name == "" {
		return fail("name is missing")
	}
	var ecs mapping.Subnet
	var resolver netip.Addr
	if text := r.FormValue("client"); text != "" {
		p, err := parseSubnet(text)
		if err != nil {
			return fail("client is %q; it takes an address or a subnet such as 200.144.248.0/24", text)
		}
		ecs = mapping.Subnet{Addr: p.Masked().Addr(), Bits: uint8(p.Bits())}
	}
	if text := r.FormValue("resolver"); text != "" {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return fail("resolver is %q; it takes an address", text)
		}
		resolver = a
	}
	switch {
	case !resolver.IsValid() && !ecs.Addr.IsValid():
		return fail("client or resolver is missing")
	case !resolver.IsValid():
		resolver = ecs.Addr
	}
	family := mapping.IPv4
	switch t := strings.ToUpper(r.FormValue("type")); t {
	case "", "A":
	case "AAAA":
		family = mapping.IPv6
	default:
		return fail("type is %q; it takes A or AAAA", t)
	}
	return s.Explain(name, resolver, ecs, family)
}

// parseSubnet reads an address (as its /24 or /56, what resolvers tell) or a
// prefix.
func parseSubnet(text string) (netip.Prefix, error) {
	if strings.Contains(text, "/") {
		return netip.ParsePrefix(text)
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, err
	}
	if a.Is4() {
		return a.Prefix(24)
	}
	return a.Prefix(56)
}

// Failure is the body of an answer that reports an error.
type Failure struct {
	Error string `json:"error"`
	Kind  string `json:"kind"`
}

// WriteJSON answers with a value.
func WriteJSON(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.Encode(value)
}

// WriteError answers with an error; its kind decides the status.
func WriteError(w http.ResponseWriter, err error) {
	kind := perto.KindInternal
	if e, ok := errors.AsType[*perto.Error](err); ok {
		kind = e.Kind
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(kind.HTTPStatus())
	json.NewEncoder(w).Encode(Failure{Error: err.Error(), Kind: kind.String()})
}

// Guard refuses requests that a page of another origin could make a browser
// send: those whose Host is no address and not localhost (DNS rebinding), and
// cross-origin ones that could change something.
func Guard(next http.Handler) http.Handler {
	protection := http.NewCrossOriginProtection()
	return protection.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		host = strings.Trim(host, "[]")
		if _, err := netip.ParseAddr(host); err != nil && host != "localhost" {
			http.Error(w, "ask by address or as localhost", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	}))
}
