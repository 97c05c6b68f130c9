package functions

import (
	"bytes"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"perto/internal/fields"
)

// variables returns the environment of a command for a request.
func variables(q *Request) map[string]string {
	out := make(map[string]string)
	for _, v := range commandEnv(q) {
		name, value, _ := strings.Cut(v, "=")
		out[name] = value
	}
	return out
}

// TestCommandVariablesAreUnambiguous: "_" in the name of a field would make it the
// variable of the field with "-".
func TestCommandVariablesAreUnambiguous(t *testing.T) {
	for _, header := range [][]string{
		{"X-Real-Ip", "good", "X_Real_Ip", "evil"}, {"X_Real_Ip", "evil", "X-Real-Ip", "good"},
		{"X-Real-Ip", "good", "X-Real_Ip", "evil"}, {"X-Real_Ip", "evil"}, {"x_real_ip", "evil"},
	} {
		q := &Request{Method: "GET", URI: "/", Source: netip.MustParseAddrPort("192.0.2.7:1"), Header: fields.Of(header...)}
		want := ""
		if fields.Of(header...).Has("x-real-ip") {
			want = "good"
		}
		if got := variables(q); got["HTTP_X_REAL_IP"] != want || strings.Contains(strings.Join(commandEnv(q), "\n"), "evil") {
			t.Errorf("%q: got %q", header, got)
		}
	}
}

// TestCommandVariables: as RFC 3875 defines them.
func TestCommandVariables(t *testing.T) {
	q := &Request{Method: "POST", URI: "/a%20b/%C3%A9%2F?q=%20", Protocol: "HTTP/1.1", Source: netip.MustParseAddrPort("[2001:db8::7]:1"), Body: []byte("in"),
		Header: fields.Of("Host", "shop.example:8080", "Cookie", "a=1", "cookie", "b=2; c=3", "X-Two", "a", "x-two", "b", "Content-Type", "text/plain", "Authorization", "secret")}
	got := variables(q)
	for name, want := range map[string]string{
		"PATH_INFO": "/a b/\u00e9/", "REQUEST_URI": q.URI, "QUERY_STRING": "q=%20", "SCRIPT_NAME": "", "REQUEST_METHOD": "POST",
		"SERVER_NAME": "shop.example", "SERVER_PORT": "8080", "SERVER_PROTOCOL": "HTTP/1.1", "SERVER_SOFTWARE": "perto", "GATEWAY_INTERFACE": "CGI/1.1",
		"REMOTE_ADDR": "2001:db8::7", "CONTENT_LENGTH": "2", "CONTENT_TYPE": "text/plain",
		"HTTP_COOKIE": "a=1; b=2; c=3", "HTTP_X_TWO": "a, b", "HTTP_HOST": "shop.example:8080",
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s is %q, want %q", name, v, want)
		}
	}
	for _, none := range []string{"HTTP_AUTHORIZATION"} {
		if v, ok := got[none]; ok {
			t.Errorf("%s is %q", none, v)
		}
	}
	bare := variables(&Request{Method: "GET", URI: "/%zz%00"})
	for _, none := range []string{"CONTENT_LENGTH", "CONTENT_TYPE"} { // only with a body, only with the field
		if v, ok := bare[none]; ok {
			t.Errorf("%s is %q", none, v)
		}
	}
	if bare["PATH_INFO"] != "/%zz%00" || bare["REMOTE_ADDR"] != "" || bare["SERVER_NAME"] != "localhost" || bare["SERVER_PORT"] != "80" {
		t.Errorf("without a client: %q", bare)
	}
	for host, want := range map[string]string{"[::1]:81": "[::1] 81", "[::1]": "[::1] 80", "a:": "a 80", "a": "a 80"} {
		if name, port := serverOf(fields.Of("Host", host)); name+" "+port != want {
			t.Errorf("host %s: %s %s, want %s", host, name, port, want)
		}
	}
}

// TestQueryWords: arguments of RFC 3875, section 4.4.
func TestQueryWords(t *testing.T) {
	for uri, want := range map[string][]string{
		"/": nil, "/?": nil, "/?a=b": nil, "/?one+two": {"one", "two"}, "/?a%20b+%2Bc%3D": {"a b", "+c="}, "/?a%zz": nil, "/?a+%00": nil, "/?a++b": nil, "/?-x": {"-x"},
	} {
		if got := queryWords(uri); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", uri, got, want)
		}
	}
}

func TestCommand(t *testing.T) {
	var logged bytes.Buffer
	m := load(t, "command", HostConfig{Limits: Limits{Wall: time.Minute, Response: 1 << 20}, Logger: slog.New(slog.NewTextHandler(&logged, nil))}, ModuleOptions{Activation: Singleton})
	if m.ABI != WAGI || m.pool.activation != PerRequest {
		t.Errorf("got %s, %s", m.ABI, m.pool.activation)
	}
	q := get("/a?b=c")
	q.Method, q.Body = "PUT", []byte("in")
	r, err := m.Handle(t.Context(), q, nil)
	if err != nil || r.Status != 201 || field(r.Header, "content-type") != "text/plain" || string(r.Body) != `PUT /a?b=c a, b "in" proxy="" args=[]` {
		t.Errorf("got %+v, %v: %s", r, err, r.Body)
	}
	if r, err := m.Handle(t.Context(), get("/a?one+two"), nil); err != nil || !strings.Contains(string(r.Body), `args=["one" "two"]`) {
		t.Errorf("arguments: got %s, %v", r.Body, err)
	}
	if r, err := m.Handle(t.Context(), get("/moved"), nil); err != nil || r.Status != 302 {
		t.Errorf("a location: got %v, %v", r, err)
	}
	if r, err := m.Handle(t.Context(), get("/file"), nil); err != nil || !strings.Contains(string(r.Body), "open /etc/passwd") {
		t.Errorf("a file: got %v, %v", r, err)
	}
	for uri, want := range map[string]string{"/silent": "does not begin with header fields", "/fail": "ended with code 3", "/big": ErrResponse.Error()} {
		if r, err := m.Handle(t.Context(), get(uri), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, %v; want %q", uri, r, err, want)
		}
	}
	if !strings.Contains(logged.String(), "no luck today") {
		t.Errorf("logged %q", logged.String())
	}
}
