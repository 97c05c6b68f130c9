package access

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/netip"
	"strings"
	"sync"
	"time"

	"perto/internal/urlmap"
)

// Web is an HTTP server that shows a site as a client sees it, to browsers without
// proxy settings. Each request resolves the site's name at the client's resolver, and
// goes from the client to the edge in the answer. Bodies stream in both directions.
//
// The site stays as it is, with these exceptions:
//
//   - URLs and cookies of the site's name in reply fields get the name of the Web, and
//     Origin and Referer in requests get the name of the site.
//   - Pages of this machine may show the site in a frame (see frame).
//   - Server-Timing has more entries: dns, connect, first-byte and cache.
//
// URLs in bodies are not changed.
type Web struct {
	client    *Client
	site      string
	transport *http.Transport
	proxy     *httputil.ReverseProxy

	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup
}

// NewWeb returns a Web that shows the site with a host name.
func NewWeb(client *Client, site string) *Web {
	d := &Web{client: client, site: site}
	d.transport = &http.Transport{
		DisableCompression:  true, // the browser accepts codings, or does not
		IdleConnTimeout:     30 * time.Second,
		MaxIdleConnsPerHost: 6, // as browsers
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			v, _ := ctx.Value(visitKey{}).(*visit)
			return client.DialAddrs(ctx, network, v.addrs, 80)
		},
	}
	d.proxy = &httputil.ReverseProxy{
		Rewrite: d.rewrite, Transport: d.transport, ModifyResponse: modify, ErrorHandler: d.failed,
		FlushInterval: -1, // server-sent events arrive one by one
		ErrorLog:      log.New(io.Discard, "", 0),
	}
	return d
}

// visit is one request of a browser, with its times.
type visit struct {
	host   string // the Host of the browser's request
	site   string
	target string
	addrs  []netip.Addr // of the edges, as the resolver orders them

	dns time.Duration

	mu                 sync.Mutex // the request may still be on its way when the reply comes
	wanted, sent       time.Time  // the connection was wanted, the request was sent
	connect, firstByte time.Duration
}

// trace measures the times of the exchange.
func (v *visit) trace() *httptrace.ClientTrace {
	locked := func(f func()) {
		v.mu.Lock()
		defer v.mu.Unlock()
		f()
	}
	return &httptrace.ClientTrace{
		GetConn: func(string) { locked(func() { v.wanted = time.Now() }) },
		GotConn: func(httptrace.GotConnInfo) {
			locked(func() { v.sent, v.connect = time.Now(), time.Since(v.wanted) })
		},
		WroteRequest:         func(httptrace.WroteRequestInfo) { locked(func() { v.sent = time.Now() }) },
		GotFirstResponseByte: func() { locked(func() { v.firstByte = time.Since(v.sent) }) },
	}
}

// timing returns the times for Server-Timing.
func (v *visit) timing(cache string) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return fmt.Sprintf("dns;dur=%.1f, connect;dur=%.1f, first-byte;dur=%.1f, cache;desc=%q", ms(v.dns), ms(v.connect), ms(v.firstByte), cache)
}

type visitKey struct{}

// ServeHTTP passes a request on. It rejects a request for another host: a web page of a
// foreign name could otherwise point this name at 127.0.0.1 and read the site (DNS
// rebinding).
func (d *Web) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !d.begin() {
		panic(http.ErrAbortHandler) // the connection is closed
	}
	defer d.running.Done()
	if !d.isOwn(r) {
		http.Error(w, fmt.Sprintf("this is the door of vantage %s to %s; ask by its own address", d.client.Station.Name, d.site), http.StatusMisdirectedRequest)
		return
	}
	if r.Method == http.MethodConnect {
		http.Error(w, "this is no proxy; the SOCKS doors are", http.StatusMethodNotAllowed)
		return
	}
	v := &visit{host: r.Host, site: d.site, target: r.RequestURI}
	var err error
	if v.addrs, v.dns, err = d.client.Lookup(r.Context(), d.site); err != nil {
		d.failed(w, r, err)
		return
	}
	_ = http.NewResponseController(w).EnableFullDuplex() // a reply may begin before the request's end
	ctx := context.WithValue(r.Context(), visitKey{}, v)
	d.proxy.ServeHTTP(&webWriter{w, v}, r.WithContext(httptrace.WithClientTrace(ctx, v.trace())))
}

// isOwn reports whether the request is for an address or a name of the server itself:
// 127.0.0.1, localhost, or VANTAGE.localhost. Browsers keep one set of cookies for all
// ports of a host. The names below localhost give each vantage its own.
func (d *Web) isOwn(r *http.Request) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return false
	}
	host, port, err := net.SplitHostPort(r.Host)
	localHost, localPort, lerr := net.SplitHostPort(local.String())
	if err != nil || lerr != nil || port != localPort {
		return false
	}
	return host == localHost || host == "localhost" || host == d.client.Station.Name+".localhost"
}

// rewrite makes the request to the edge.
func (d *Web) rewrite(p *httputil.ProxyRequest) {
	v := p.In.Context().Value(visitKey{}).(*visit)
	out := p.Out
	// Connections are kept by the first address of the answer. When the answer changes,
	// the next request gets a new connection.
	out.URL.Scheme, out.URL.Host, out.Host = "http", netip.AddrPortFrom(v.addrs[0], 80).String(), v.site
	out.URL.RawQuery = p.In.URL.RawQuery
	if path, _, _ := strings.Cut(v.target, "?"); strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "//") {
		out.URL.Opaque = path // byte for byte
	}
	for _, name := range []string{"Origin", "Referer"} {
		if rest, ok := strings.CutPrefix(out.Header.Get(name), "http://"+v.host); ok && (rest == "" || rest[0] == '/') {
			out.Header.Set(name, "http://"+v.site+rest)
		}
	}
}

// modify changes the fields of a reply.
func modify(resp *http.Response) error {
	v := resp.Request.Context().Value(visitKey{}).(*visit)
	v.mapURLs(resp.Header)
	frame(resp.Header)
	cache := "none" // the edge made the reply
	switch status := resp.Header.Get("Cache-Status"); {
	case strings.Contains(status, "; hit"):
		cache = "hit"
	case strings.Contains(status, "; fwd="):
		cache = "miss"
	}
	resp.Header.Add("Server-Timing", v.timing(cache))
	return nil
}

// mapURLs maps the URLs of the site to the host of the browser's request.
func (v *visit) mapURLs(h http.Header) {
	m := urlmap.Map{Own: []urlmap.Server{{Scheme: "http", Authority: v.site}}, Client: urlmap.Server{Scheme: "http", Authority: v.host}, Target: v.target}
	for _, name := range urlmap.Fields {
		values := h[http.CanonicalHeaderKey(name)]
		for i := range values {
			values[i] = m.Field(name, values[i])
		}
	}
}

// frameAncestors allows pages of this machine to show the site in a frame.
const frameAncestors = "frame-ancestors http://127.0.0.1:* http://localhost:* http://*.localhost:*"

// frame replaces the site's rules for frames, because the page of the lab shows the site
// in frames. The page has another port than the site, so it is another origin, which
// most rules forbid. A site without such rules gets none. Other directives of a
// Content-Security-Policy stay.
func frame(h http.Header) {
	restricted := h.Get("X-Frame-Options") != ""
	h.Del("X-Frame-Options")
	const field = "Content-Security-Policy"
	var policies []string
	for _, line := range h[field] {
		for policy := range strings.SplitSeq(line, ",") {
			var kept []string
			for directive := range strings.SplitSeq(policy, ";") {
				name, _, _ := strings.Cut(strings.TrimSpace(directive), " ")
				if strings.EqualFold(name, "frame-ancestors") {
					restricted = true
				} else if name != "" {
					kept = append(kept, strings.TrimSpace(directive))
				}
			}
			if len(kept) > 0 {
				policies = append(policies, strings.Join(kept, "; "))
			}
		}
	}
	h.Del(field)
	if restricted {
		policies = append(policies, frameAncestors)
	}
	for _, p := range policies {
		h.Add(field, p)
	}
}

// failed replies when no edge did.
func (d *Web) failed(w http.ResponseWriter, r *http.Request, err error) {
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, fmt.Sprintf("%s gets no reply for %s: %v", d.client.Station.Name, d.site, err), http.StatusBadGateway)
}

func (d *Web) begin() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	d.running.Add(1)
	return true
}

// Close waits for the end of the requests and closes the connections to edges. The
// caller must end the contexts of the requests before.
func (d *Web) Close() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.running.Wait()
	d.transport.CloseIdleConnections()
}

// webWriter changes heads that the proxy does not show to modify.
type webWriter struct {
	http.ResponseWriter
	visit *visit
}

// WriteHeader maps the fields of interim replies. A final reply without Content-Type
// stays without: the server would guess one.
func (w *webWriter) WriteHeader(status int) {
	h := w.Header()
	if status < 200 {
		w.visit.mapURLs(h)
	} else if len(h["Content-Type"]) == 0 {
		h["Content-Type"] = nil
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap gives the proxy the other methods of the writer.
func (w *webWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
