package node

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"perto"
	"perto/config"
	"perto/edge"
	"perto/functions"
	"perto/internal/fields"
	"perto/mobility"
	"perto/origin"
)

// newOrigin builds the origin of a node: the demo shop, the functions that run there, and
// the modules that edges pull.
func (n *Node) newOrigin() error {
	host, err := newFunctionHost(context.Background(), n, placeOrigin)
	if err != nil {
		return err
	}
	n.functions = host
	modules := mobility.ServeModules(host.store)
	n.origin, err = origin.New(origin.Config{Network: n.cfg().Network, Listen: n.cfg().Local.HTTP, Logger: n.cfg().Logger,
		Wrap: func(shop http.Handler) http.Handler {
			mux := http.NewServeMux()
			mux.Handle(mobility.ModulePath, modules)
			mux.Handle("/", host.wrap(shop))
			return mux
		}})
	return err
}

// Largest bodies that a function at the origin receives, in bytes, as at the edge: from
// the client, and from the next handler.
const (
	maxOriginRequest  = 1 << 20
	maxOriginResponse = 16 << 20
)

// wrap returns a handler that runs functions in front of another handler.
func (r *functionHost) wrap(shop http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		s := r.find(q)
		if s == nil {
			shop.ServeHTTP(w, q)
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, q.Body, maxOriginRequest))
		if err != nil {
			http.Error(w, "the body cannot be read", http.StatusRequestEntityTooLarge)
			return
		}
		ask := &functions.Request{Method: q.Method, URI: q.URL.RequestURI(), Protocol: q.Proto, Source: sourceOf(q), Header: headerFields(q.Header), Body: body}
		ask.Header = append(ask.Header, fields.Field{Name: []byte("Host"), Value: []byte(q.Host)})
		a, err := s.handle(q.Context(), ask, func(ask *functions.Request) (*functions.Response, error) {
			return serveTo(q, shop, ask)
		})
		if err != nil {
			status, detail := http.StatusBadGateway, "the function failed"
			if f, ok := errors.AsType[*edge.FunctionError](err); ok {
				status, detail = f.Status, f.Detail
			}
			w.Header().Set("Cache-Control", "no-store")
			http.Error(w, detail, status)
			return
		}
		h := w.Header()
		for _, f := range a.Header {
			if q.Method == http.MethodHead && len(a.Body) == 0 || !fields.Equal(f.Name, "content-length") {
				h.Add(string(f.Name), string(f.Value))
			}
		}
		if q.Method == http.MethodHead && len(a.Body) > 0 {
			h.Set("Content-Length", strconv.Itoa(len(a.Body)))
		}
		w.WriteHeader(a.Status)
		if q.Method != http.MethodHead {
			w.Write(a.Body)
		}
	})
}

// find returns the function for a request, or nil.
func (r *functionHost) find(q *http.Request) *deployment {
	host, _, err := net.SplitHostPort(q.Host)
	if err != nil {
		host = q.Host
	}
	service, ok := serviceOfHost(&r.node.cfg().World, perto.CanonicalName(host))
	if !ok {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var found *deployment
	for name, s := range r.deployments {
		if s.placement() == placeEdge && fromEdge(q) {
			continue
		}
		if name.service == service && edge.Matches(name.path, q.URL.EscapedPath()) && (found == nil || edge.Closer(name.path, found.name.path)) {
			found = s
		}
	}
	return found
}

// fromEdge reports whether an edge of perto has forwarded a request (RFC 8586).
func fromEdge(q *http.Request) bool {
	for _, line := range q.Header.Values("CDN-Loop") {
		for id := range strings.SplitSeq(line, ",") {
			if strings.HasPrefix(strings.TrimSpace(id), "perto-") {
				return true
			}
		}
	}
	return false
}

// placement returns the placement of the desired version.
func (s *deployment) placement() string {
	f := s.wanted()
	return placementOf(&f)
}

// sourceOf returns the client's address: the last one in X-Forwarded-For, which the edge
// writes, or the peer's.
func sourceOf(q *http.Request) netip.AddrPort {
	if via := q.Header.Values("X-Forwarded-For"); len(via) > 0 {
		last := via[len(via)-1]
		last = strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:])
		if a, err := netip.ParseAddr(last); err == nil {
			return netip.AddrPortFrom(a.Unmap(), 0)
		}
	}
	a, _ := netip.ParseAddrPort(q.RemoteAddr)
	return a
}

func headerFields(h http.Header) fields.Header {
	var out fields.Header
	for name, values := range h {
		for _, v := range values {
			out = append(out, fields.Field{Name: []byte(name), Value: []byte(v)})
		}
	}
	slices.SortFunc(out, func(a, b fields.Field) int { return bytes.Compare(a.Name, b.Name) })
	return out
}

// serveTo runs a handler for a request that a function lets pass.
func serveTo(q *http.Request, shop http.Handler, ask *functions.Request) (*functions.Response, error) {
	next, err := http.NewRequestWithContext(q.Context(), ask.Method, "http://"+q.Host+ask.URI, bytes.NewReader(ask.Body))
	if err != nil {
		return nil, err
	}
	next.RemoteAddr = q.RemoteAddr
	for _, f := range ask.Header {
		if !fields.Equal(f.Name, "host") && !fields.Equal(f.Name, "range") && !strings.HasPrefix(strings.ToLower(string(f.Name)), "if-") {
			next.Header.Add(string(f.Name), string(f.Value))
		}
	}
	w := &recorder{header: make(http.Header)}
	shop.ServeHTTP(w, next)
	if w.over {
		return nil, &edge.FunctionError{Status: http.StatusBadGateway, Detail: "fn-input-too-large", Err: errors.New("the response for the function is too large")}
	}
	w.WriteHeader(http.StatusOK)
	if ask.Method != http.MethodHead {
		w.header.Del("Content-Length")
	} else if w.body.Len() > 0 { // the handler writes a body that net/http would discard
		w.header.Set("Content-Length", strconv.Itoa(w.body.Len()))
		w.body.Reset()
	}
	return &functions.Response{Status: w.status, Header: headerFields(w.header), Body: w.body.Bytes()}, nil
}

// recorder records the response of a handler.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
	over   bool
}

func (r *recorder) Header() http.Header { return r.header }

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
}

func (r *recorder) Write(p []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	if r.body.Len()+len(p) > maxOriginResponse {
		r.over = true
		return 0, io.ErrShortWrite
	}
	return r.body.Write(p)
}

// serviceOfHost returns the service that a host name at an origin belongs to.
func serviceOfHost(w *config.World, host string) (perto.Service, bool) {
	for _, s := range w.Services {
		if string(s.Name) == host || slices.Contains(s.Aliases, host) {
			return s.Name, true
		}
		for _, o := range s.Origins {
			if u, err := url.Parse(o.URL); err == nil && u.Hostname() == host || o.Host == host {
				return s.Name, true
			}
		}
	}
	return "", false
}
