package vantage

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"perto"
	"perto/config"
	"perto/internal/api"
	"perto/internal/netx"
	"perto/lab/access"
	"perto/mapping"
	"perto/node"
)

// viaLoopback dials a port of 127.0.0.1 for every address, so that servers of a test
// can use other ports than 53 and 80.
type viaLoopback struct {
	netx.OS
	udp, tcp string
}

func (v *viaLoopback) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if strings.HasPrefix(network, "udp") {
		return v.OS.DialContext(ctx, network, v.udp)
	}
	return v.OS.DialContext(ctx, network, v.tcp)
}

// TestRemote runs a client with its API, like in a container, and a page that calls it.
// It checks the edge of the client, the site from its place, and the errors.
func TestRemote(t *testing.T) {
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, `<title>`+r.Host+`</title><a href="/x">`)
	}))
	t.Cleanup(site.Close)
	p, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	names := &dns.Server{PacketConn: p, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) {
		m := new(dns.Msg).SetReply(r)
		if r.Question[0].Qtype == dns.TypeA && strings.HasSuffix(r.Question[0].Name, "shop.example.") {
			rr, _ := dns.NewRR(r.Question[0].Name + " 20 IN A 192.0.2.11")
			m.Answer = append(m.Answer, rr)
		} else {
			m.Rcode = dns.RcodeNameError
		}
		w.WriteMsg(m)
	})}
	go names.ActivateAndServe()
	t.Cleanup(func() { names.Shutdown() })

	where := perto.Place{Name: "Recife", Country: "BR", Lat: -8.05, Lon: -34.9}
	single := &Single{Info: Info{Name: "recife", Place: where.String(), Where: where, Kind: "isp", Resolver: "192.0.2.53"},
		Client: &access.Client{Resolver: netip.MustParseAddr("192.0.2.53"), Station: &access.Station{
			Network: &viaLoopback{udp: p.LocalAddr().String(), tcp: site.Listener.Addr().String()}, Name: "recife", Addrs: []netip.Addr{netip.IPv4Unspecified()}}}}
	serve := func(w World, more func(*http.ServeMux)) string {
		mux := http.NewServeMux()
		(&API{World: w}).Register(mux)
		more(mux)
		s := httptest.NewServer(api.Guard(mux))
		t.Cleanup(s.Close)
		return s.Listener.Addr().String()
	}
	client := serve(single, func(mux *http.ServeMux) {
		mux.HandleFunc("GET /api/status", func(w http.ResponseWriter, r *http.Request) {
			api.WriteJSON(w, &node.Status{Name: "ns1", Replicas: []node.ReplicaStatus{{Name: "rec-1", Reason: "heartbeats"}}})
		})
		mux.HandleFunc("GET /api/explain", func(w http.ResponseWriter, r *http.Request) {
			api.WriteJSON(w, &mapping.Explanation{Answer: &mapping.Answer{PoP: "rec", Replicas: []perto.Replica{"rec-1"}}, Why: "resolver " + r.FormValue("resolver")})
		})
	})
	world := &config.World{
		PoPs:     []config.PoP{{Name: "rec", Place: where, Edges: []config.Edge{{Name: "rec-1", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.11")}}}}},
		Services: []config.Service{{Name: "shop.example", Aliases: []string{"www.shop.example"}}},
	}
	remote := &Remote{Clients: []string{client, "127.0.0.1:1"}, Console: client, World: world}
	pages, err := remote.Pages()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pages.Close)
	page := serve(remote, func(mux *http.ServeMux) {
		mux.Handle("/", remote.Handler())
		pages.Register(mux)
	})

	get := func(path string) (int, string) {
		resp, err := http.Get("http://" + page + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	for path, want := range map[string]string{
		"/":                 "recife, Recife, BR: served by rec, 0 km away",
		"/vantage/recife":   "resolver 192.0.2.53",
		"/visit?url=/":      "<td>200, ",
		"/api/lab/vantages": `"name": "recife"`,
		"/api/status":       `"name": "ns1"`, // forwarded to the name server
		"/api/lab/dig?from=recife&name=www.shop.example":                                  `"data": "192.0.2.11"`,
		"/api/lab/fetch?from=recife&url=" + url.QueryEscape("http://www.shop.example/"):   `"status": 200`,
		"/api/lab/compare?url=" + url.QueryEscape("http://www.shop.example/"):             `"vantage": "recife"`,
		"/api/lab/fetch?from=atlantis&url=" + url.QueryEscape("http://www.shop.example/"): "no such vantage",
		"/api/lab/fetch?from=recife&url=" + url.QueryEscape("http://none.example/"):       "NXDOMAIN",
		"/api/lab/dig?from=recife&name=www.shop.example&type=NONSENSE":                    "record type",
	} {
		if status, got := get(path); !strings.Contains(got, want) {
			t.Errorf("%s: got %d %.600s, want %q", path, status, got, want)
		}
	}
}
