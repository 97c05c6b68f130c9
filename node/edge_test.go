package node

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"perto/config"
)

// edgeOnly turns the node of testConfig into an edge with data in its zone.
func edgeOnly(t *testing.T, origin, more string) Config {
	cfg := testConfig(t, func(src string) string {
		src = strings.Replace(src, `origin "http://127.0.0.1:1" {}`, "origin \""+origin+"\" {}\n"+more, 1)
		return strings.Replace(src, `service "shop`, "service \"*.tenants.cdn.example\" {\n  origin \""+origin+"\" {}\n}\nservice \"shop", 1)
	})
	for i := range cfg.World.Zones {
		cfg.World.Zones[i].Data = append(cfg.World.Zones[i].Data, "\nblog IN CNAME shop\n*.wild IN CNAME shop\nelse IN CNAME other.example.\n"...)
	}
	return cfg
}

// started returns a running node, which ends with the test.
func started(t *testing.T, cfg Config) *Node {
	t.Helper()
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

// askEdge requests a target of a host and returns the response.
func askEdge(t *testing.T, n *Node, host, target string) *http.Response {
	t.Helper()
	c, err := net.Dial("tcp", n.edge.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", target, host)
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, res.Body)
	res.Body.Close()
	return res
}

// TestEdgeServesAllHosts: services, wildcard services, aliases and CNAMEs of the zones.
func TestEdgeServesAllHosts(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { io.WriteString(w, q.Host) }))
	defer origin.Close()
	n := started(t, edgeOnly(t, origin.URL, ""))
	for host, want := range map[string]int{
		"shop.cdn.example": 200, "www.shop.example": 200, "anna.tenants.cdn.example": 200, "a.b.tenants.cdn.example": 200,
		"blog.cdn.example": 200, "x.wild.cdn.example": 200,
		"tenants.cdn.example": 421, "else.cdn.example": 421, "other.cdn.example": 421,
	} {
		if got := askEdge(t, n, host, "/").StatusCode; got != want {
			t.Errorf("%s: %d, want %d", host, got, want)
		}
	}
}

// TestCookieRulesReachTheEdge: the configuration's keys take effect.
func TestCookieRulesReachTheEdge(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=60")
		w.Header().Set("Set-Cookie", "a=b")
	}))
	defer origin.Close()
	n := started(t, edgeOnly(t, origin.URL, "cookies = \"strip\"\npath \"/account/*\" {\n  cookies = \"pass\"\n}\n"))
	for target, want := range map[string]bool{"/a.css": false, "/account/me": true} {
		if got := askEdge(t, n, "shop.cdn.example", target).Header.Get("Set-Cookie") != ""; got != want {
			t.Errorf("%s: cookie delivered: %v, want %v", target, got, want)
		}
	}
}

// limitsOrigin is an origin whose replies have 2,000 bytes and can be stored. It never
// answers /slow.
func limitsOrigin(t *testing.T) *httptest.Server {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path == "/slow" {
			<-q.Context().Done()
			return
		}
		w.Header().Set("Cache-Control", "max-age=60")
		io.WriteString(w, strings.Repeat("x", 2000))
	}))
	t.Cleanup(origin.Close)
	return origin
}

// TestLimitsReachTheEdge: keys of the limits block take effect.
func TestLimitsReachTheEdge(t *testing.T) {
	origin := limitsOrigin(t)
	cfg := edgeOnly(t, origin.URL, "")
	cfg.Local.Limits.Object, cfg.Local.Limits.OriginFirstByte = 1000, 100*time.Millisecond
	n := started(t, cfg)
	if got := askEdge(t, n, "shop.cdn.example", "/large").Header.Get("Cache-Status"); !strings.Contains(got, "detail=too-large") {
		t.Errorf("object: Cache-Status %q", got)
	}
	if res := askEdge(t, n, "shop.cdn.example", "/slow"); res.StatusCode != 504 {
		t.Errorf("origin_first_byte: status %d", res.StatusCode)
	}
	// Every key of the file reaches a field of the edge's or the name server's
	// configuration.
	var l config.Limits
	v := reflect.ValueOf(&l).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.Uint64:
			f.SetUint(uint64(i) + 1)
		default:
			f.SetInt(int64(i) + 1)
		}
	}
	cfg.Local.Limits = l
	text := fmt.Sprintf("%+v %+v {DrainWait:%v}", edgeConfig(&cfg, 0, n.functions, n), dnsLimits(&l), l.DrainWait) // DrainWait: TestLeaveWaitsOnlyWhereItHelps
	for i := range v.NumField() {
		value := fmt.Sprint(i + 1)
		if v.Field(i).Type() == reflect.TypeFor[time.Duration]() {
			value = time.Duration(i + 1).String()
		}
		if !regexp.MustCompile(`:` + value + `[ }]`).MatchString(text) {
			t.Errorf("%s does not reach the edge: %s", v.Type().Field(i).Name, text)
		}
	}
}

// TestProbeOfWildcardUsesHost: "*" is no host name, and with it all edges would fail the
// probe.
func TestProbeOfWildcardUsesHost(t *testing.T) {
	s := &config.Service{Name: "*.tenants.cdn.example", Probes: []config.Probe{{Kind: "http", Path: "/"}, {Kind: "http", Path: "/", Name: "a.tenants.cdn.example"}}}
	got := probesOf(s, 80)
	if got[0].Host != "perto-probe.tenants.cdn.example" || got[1].Host != "a.tenants.cdn.example" {
		t.Errorf("got %q and %q", got[0].Host, got[1].Host)
	}
}
